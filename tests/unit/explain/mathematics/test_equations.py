"""Every kind of equation in both spellings: all functions of the inventory, all library operations."""

import itertools

import pytest
from tests.unit.explain.mathematics import braces

from gradc.explain.mathematics.programs import equation_latex, equation_plain, latex, plain
from gradc.ir.extents import symbol
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.calls import CALLS
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Affine,
    Const,
    ExtentValue,
    IndexValue,
    Lookup,
    Operand,
    Reduce,
)
from gradc.ir.index.templates import template
from gradc.ir.types import DType

F64, I64 = DType.F64, DType.INT64
N, M = symbol("n"), symbol("m")

WRITTEN = {
    "add": ("a + b", "a + b"),
    "sub": ("a - b", "a - b"),
    "mul": ("a b", "a b"),
    "div": ("a / b", r"\frac{a}{b}"),
    "square": ("a²", "a^{2}"),
    "reciprocal": ("1 / a", r"\frac{1}{a}"),
    "abs": ("|a|", r"\left|a\right|"),
    "floor_divide": ("⌊a / b⌋", r"\left\lfloor \frac{a}{b}\right\rfloor"),
    "pow": ("a^b", "a^{b}"),
    "sqrt": ("√(a)", r"\sqrt{a}"),
    "cbrt": ("∛(a)", r"\sqrt[3]{a}"),
    "exp": ("exp(a)", "e^{a}"),
    "exp2": ("2^a", "2^{a}"),
    "expm1": ("exp(a) - 1", "e^{a} - 1"),
    "log1p": ("log(1 + a)", r"\log(1 + a)"),
    "logaddexp": ("log(exp(a) + exp(b))", r"\log(e^{a} + e^{b})"),
    "hypot": ("√(a² + b²)", r"\sqrt{a^{2} + b^{2}}"),
    "expit": ("σ(a)", r"\sigma(a)"),
    "softplus": ("log(1 + exp(a))", r"\log(1 + e^{a})"),
    "log_expit": ("log(σ(a))", r"\log(\sigma(a))"),
    "xlogy": ("a log(b)", r"a \log(b)"),
    "maximum": ("max(a, b)", r"\max(a, b)"),
    "ndtr": ("Φ(a)", r"\Phi(a)"),
    "inverse_mills": ("φ(a) / Φ(a)", r"\frac{\varphi(a)}{\Phi(a)}"),
    "gammaln": ("log(|Γ(a)|)", r"\log\left(\left|\Gamma(a)\right|\right)"),
    "polygamma": ("polygamma(a, b)", r"\psi^{(a)}(b)"),
    "le": ("[a ≤ b]", r"\left[a \le b\right]"),
    "logical_not": ("[¬a]", r"\left[\lnot a\right]"),
    "logical_and": ("[a ∧ b]", r"\left[a \land b\right]"),
    "select": (
        "{b if a; c otherwise}",
        r"\begin{cases} b & \text{if } a \\ c & \text{otherwise} \end{cases}",
    ),
    "stop_gradient": ("a", "a"),
    "attach_gradient": ("a", "a"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_the_inventory(name: str):
    builder = Builder("f")
    operands = [builder.input(letter, F64, ()) for letter in "abc"[: FUNCTIONS[name].arity]]
    out = builder.assign(name, tuple(Access(operand, ()) for operand in operands), (), F64, name="y")
    program = builder.finish((out,))
    (equation,) = program.equations
    shown, typeset = equation_plain(equation, program), equation_latex(equation, program)
    braces.check(typeset)
    if name in WRITTEN:
        assert (shown, typeset) == (f"y = {WRITTEN[name][0]}", f"y = {WRITTEN[name][1]}")
    assert all(operand in shown for operand in operands[: 1 if name == "attach_gradient" else None])


MATRICES = {
    "reshape": ((("x", (N, M)),), {"shape": (M, N)}, "y = reshape_{m×n}(x)"),
    "argsort": ((("x", (N, M)),), {"axis": 1}, "y = argsort_{1}(x)"),
    "arg_extreme": ((("x", (N, M)),), {"axis": 1, "largest": True}, "y_i = argmax_j x_ij"),
    "affine_scan": (
        (("a", (N, M)), ("b", (N, M))),
        {"axis": 1, "reverse": False},
        "y_ij = a_ij y_{i,j-1} + b_ij",
    ),
    "solve": ((("a", (N, N)), ("b", (N, M))), {}, "y = a⁻¹ b"),
    "inv": ((("a", (N, N)),), {}, "y = a⁻¹"),
    "det": ((("a", (N, N)),), {}, "y = det(a)"),
    "cofactor": ((("a", (N, N)),), {}, "y = cofactor(a)"),
    "slogdet": ((("a", (N, N)),), {}, "y = sgn(det(a)); y_2 = log(|det(a)|)"),
    "cholesky": ((("a", (N, N)),), {}, "y = cholesky(a)"),
    "solve_triangular": (
        (("a", (N, N)), ("b", (N, M))),
        {"lower": True, "transposed": True},
        "y = tril(a)⁻ᵀ b",
    ),
    "external": (
        (("x", (N,)),),
        {"dtypes": "float64", "name": "solver", "number": 1, "pullback": 0, "shape_0": (M,)},
        "y = solver(x)",
    ),
}


def test_every_library_operation_is_tested():
    assert set(MATRICES) == set(CALLS)


@pytest.mark.parametrize("operation", MATRICES)
def test_a_library_operation(operation: str):
    inputs, attributes, wanted = MATRICES[operation]
    builder = Builder("f")
    names = tuple(builder.input(name, F64, shape) for name, shape in inputs)
    count = 2 if operation == "slogdet" else 1
    outs = builder.call(operation, names, attributes, hints=("y",) * count)
    program = builder.finish(outs)
    (equation,) = program.equations
    assert equation_plain(equation, program) == wanted
    braces.check(equation_latex(equation, program))


def test_joined_tensors():
    builder = Builder("f")
    parts = [builder.input(name, F64, (N, M)) for name in "ab"]
    program = builder.finish((builder.assemble(1, tuple(parts), name="y"),))
    assert plain(program) == "y = concatenate_{1}(a, b)\n"
    braces.check(latex(program))


INDEXED = [
    ((Access("x", (Affine(((1, 0),), 1),)), Access("x", (0,))), "y_i = x_{i+1} x_i"),
    ((Access("x", (Affine(((2, 0),), -1),)), Const(2.0, F64)), "y_i = 2 x_{2i-1}"),
    ((Access("x", (Lookup("labels", (0,)),)), Const(1.0, F64)), "y_i = x_{labels_i}"),
    ((Access("x", (0,)), IndexValue(0)), "y_i = x_i i"),
    ((Access("x", (0,)), IndexValue(Affine(((1, 0),), 1))), "y_i = x_i (i+1)"),
    ((Access("x", (0,)), ExtentValue(N + M)), "y_i = x_i (m + n)"),
    ((Access("x", (Affine((), 0),)), Const(-1.0, F64)), "y_i = -x_{0}"),
]


@pytest.mark.parametrize(("operands", "wanted"), INDEXED)
def test_operands(operands: tuple[Operand, ...], wanted: str):
    builder = Builder("f")
    builder.input("x", F64, (N,))
    builder.input("labels", I64, (N,))
    program = builder.finish((builder.assign("mul", operands, (N,), F64, name="y"),))
    assert equation_plain(program.equations[0], program) == wanted
    braces.check(equation_latex(program.equations[0], program))


@pytest.mark.parametrize(
    ("function", "sign", "typeset"),
    [
        ("sum", "Σ", r"\sum"),
        ("prod", "Π", r"\prod"),
        ("max", "max", r"\max"),
        ("min", "min", r"\min"),
        ("any", "\N{N-ARY LOGICAL OR}", r"\bigvee"),
        ("all", "⋀", r"\bigwedge"),
    ],
)
def test_a_reduction(function: str, sign: str, typeset: str):
    builder = Builder("f")
    x = builder.input("x", F64, (N, M))
    operands = (Access(x, IDENTITY[2]),)
    out = builder.assign("copy", operands, (N, M), F64, rank=1, reduce=Reduce(function, F64), name="y")
    program = builder.finish((out,))
    assert equation_plain(program.equations[0], program) == f"y_i = {sign}_j x_ij"
    assert equation_latex(program.equations[0], program) == f"y_{{i}} = {typeset}_{{j}} x_{{ij}}"


def test_contributions_that_no_access_solves_are_added():
    builder = Builder("f")
    x = builder.input("x", F64, (N,))
    labels = builder.input("labels", I64, (N,))
    y = builder.declare("y", F64, (M,))
    builder.accumulate(y, template("copy"), (Access(x, (0,)),), (N,), (Lookup(labels, (0,)),))
    program = builder.finish((y,))
    assert isinstance(program.equations[0], Accumulate)
    assert equation_plain(program.equations[0], program) == "y_{labels_i} += x_i"
    assert equation_latex(program.equations[0], program) == r"y_{\mathrm{labels}_{i}} \mathrel{+}= x_{i}"


def test_many_lines_lose_the_middle_in_linear_time():
    builder = Builder("f")
    name = builder.input("x", F64, ())
    for number in range(20_000):
        name = builder.assign("sin", (Access(name, ()),), (), F64, name=f"u{number}")
    lines = plain(builder.finish((name,))).splitlines()
    assert len(lines) == 401
    assert lines[199:202] == ["u199 = sin(u198)", "... 19600 lines left out ...", "u19800 = sin(u19799)"]
    assert list(itertools.islice(lines, 1)) == ["u0 = sin(x)"]
