"""Every stage of the compiler by hand, on the lecture's circuit (x + y) * z: printed and asserted."""

from gradc.autodiff.vjp import gradient
from gradc.codegen.numba_cpu import module_text
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.show import show, show_left
from gradc.ir.index.verify import verify
from gradc.ir.schedule import show_schedule
from gradc.ir.types import DType
from gradc.lowering.nest import lower
from gradc.passes.equations.gather import gather
from gradc.passes.equations.simplify import simplify
from gradc.pipeline import Derivation, Options, artifact_of, compile_program
from gradc.schedule.fuse import fuse
from gradc_runtime.numba_backend import compile_kernel, load

point = {"x": -2.0, "y": 5.0, "z": -4.0}


def title(text: str) -> None:
    print(f"\n--- {text} ---")


# 1. A front end would do this: a program is a list of equations.
builder = Builder("circuit")
for name in point:
    builder.input(name, DType.F64, ())
q = builder.pointwise("add", "x", "y", name="q")
f = builder.pointwise("mul", q, "z", name="f")
program = verify(builder.finish((f,)))
title("program")
print(show(program))

# 2. The slow interpreter defines what a program means.
(value,) = evaluate(program, point)
assert value == -12.0

# 3. Reverse mode: the gradient is a program in the same notation. Gradients add up where a value branches.
adjoint = verify(gradient(program, ("x", "y", "z")))
title("adjoint")
print(show(adjoint))
assert evaluate(adjoint, point) == (-12.0, -4.0, -4.0, 3.0)

# 4. Passes return programs again: accumulations become equations, copies and constants disappear.
optimised = verify(simplify(gather(adjoint)))
title("optimised")
print(show(optimised))
assert evaluate(optimised, point) == evaluate(adjoint, point)
assert len(optimised.equations) < len(adjoint.equations)

# 5. A schedule says which equations share a loop nest; scalars need no loop.
schedule = fuse(optimised)
title("schedule")
print(show_schedule(schedule, {at: show_left(e) for at, e in enumerate(optimised.equations)}))

# 6. Lowering leaves SymPy behind; a printer turns loop nests into a Python module.
kernel = lower(optimised, schedule, name="circuit_value_and_grad", header=("The lecture's circuit.",))
source = module_text(kernel)
title("source")
print(source)

# 7. The module runs as plain Python, and Numba compiles it.
stages = compile_program(program, Derivation("value_and_grad", ("x", "y", "z")), Options(verify=True))
loaded = load(artifact_of(stages))
assert loaded.function(*point.values()) == (-12.0, (-4.0, -4.0, 3.0))
compiled = compile_kernel(loaded)
assert compiled(*point.values()) == (-12.0, (-4.0, -4.0, 3.0))
title("result")
print("value -12, gradient (-4, -4, 3): interpreter, plain Python and machine code agree")
