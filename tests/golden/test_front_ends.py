"""IR text of SymPy expressions, index equations and formulas."""

import sympy as sp

from gradc.autodiff.vjp import vjp
from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.show import show
from gradc.ir.types import DType
from gradc.lang.emit import Emitter, Value
from gradc.lang.equations import equation
from gradc.lang.expressions import read_expression
from gradc.lang.formula import lower_formula
from gradc.lang.parser import parse_expression


def emitter(name):
    return Emitter(Builder(name))


def finished(emit, result):
    return emit.finish([result] if isinstance(result, Value) else list(result))


def lowered(name, text, **shapes):
    emit = emitter(name)
    inputs = {
        tensor: emit.input(
            tensor, DType.F64, tuple(symbol(size) if size.isalpha() else int(size) for size in shape.split())
        )
        for tensor, shape in shapes.items()
    }
    return finished(emit, equation(text).lower(emit, **inputs))


def read(name, expression, *args):
    emit = emitter(name)
    shapes = {argument: getattr(argument, "shape", None) or () for argument in args}
    inputs = {
        argument: emit.input(
            argument.name, DType.F64, tuple(int(s) if s.is_number else symbol(str(s)) for s in shape)
        )
        for argument, shape in shapes.items()
    }
    result = read_expression(expression, args, emit, inputs)
    return finished(emit, result)


def test_convolution_with_its_gradient(golden):
    text = "y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * pad(x, 1)[n,c,p+i,q+j]"
    program = lowered("convolution", text, w="o c i j", x="n c h w")
    golden(show(vjp(program, ("w", "x"))))


def test_pooling(golden):
    golden(show(lowered("pooling", "y[n,p] = max[i] x[n,2*p+i] with i < 2", x="n h")))


def test_dense_softmax_layer(golden):
    text = """
        h[n,k] = sum[j] w[j,k]*x[n,j] + b[k]
        e[n,k] = exp(h[n,k] - max[l] h[n,l])
        y[n,k] = e[n,k] / sum[l] e[n,l]
    """
    emit = emitter("layer")
    n, j, k = symbol("n"), symbol("j"), symbol("k")
    inputs = {
        "w": emit.input("w", DType.F64, (j, k)),
        "x": emit.input("x", DType.F64, (n, j)),
        "b": emit.input("b", DType.F64, (k,)),
    }
    golden(show(finished(emit, equation(text).lower(emit, **inputs))))


def test_scalar_expression(golden):
    x, y = sp.symbols("x y")
    golden(show(read("scalar", (x - 2 * y) ** 3 * sp.exp(-x) / (y * sp.sqrt(x)) - sp.Rational(1, 3), x, y)))


def test_piecewise_with_a_point_arm(golden):
    x, k = sp.symbols("x k")
    expression = sp.Piecewise((k * x, sp.Eq(x, 0)), (k * sp.sin(x), x < 1), (sp.Max(x, k, 2), True))
    golden(show(read("arms", expression, x, k)))


def test_indexed_sum_and_matrices(golden):
    i, j, n, m = sp.symbols("i j n m", integer=True)
    w, v = sp.IndexedBase("w", shape=(n, m)), sp.IndexedBase("v", shape=(m,))
    golden(show(read("sums", sp.Sum(w[i, j] * v[j] ** 2, (j, 0, m - 1), (i, 1, n - 2)) / m, w, v)), "sum")
    a, b = sp.MatrixSymbol("A", n, n), sp.MatrixSymbol("B", n, m)
    golden(show(read("matrices", [a.inv() * b, sp.Trace(b * b.T * a), 2 * a - a.T], a, b)), "matrices")


def test_formula(golden):
    parsed = parse_expression("where(x > 0, relu(x*y)**3, -y) + clip(x, 0, 1)/2")
    emit = emitter("formula")
    inputs = {name: emit.input(name, DType.F64, (symbol("n"),)) for name in parsed.variables}
    golden(show(emit.finish([lower_formula(parsed, emit, inputs)])))
