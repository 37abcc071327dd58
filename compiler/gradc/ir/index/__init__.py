"""The index IR: a program is a list of equations over named tensors.

Program    := inputs, equations, outputs, types, guards
Equation   := Assign | Accumulate | Assemble | Call
Assign     := out[i] = reduce[k](op, acc) template(operands)
Accumulate := out[phi(i)] += template(operands)             summed over the whole space; out starts at zero
Assemble   := out = parts along one axis
Call       := outs = operation(ins; attributes)             a closed table
Operand    := Access(tensor, index...) | Const | IndexValue | ExtentValue
Index      := loop index (int) | Affine | Lookup
"""
