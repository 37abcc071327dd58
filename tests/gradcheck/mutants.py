"""Seeded faults: rules, programs and kernels that are wrong in one place, each with the equation to be named."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import sympy

from gradc.autodiff.rules import RULES
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Accumulate, Assign, Const, Equation, Program, Reduce
from gradc.ir.index.numbers import MachineNumbers
from gradc.ir.index.templates import composite, placeholder, template
from gradc.ir.types import DType

F64 = DType.F64
BY_DEFINITION = ("stop_gradient", "passive", "attach_gradient")
DISCRETE = {("sinc_derivative", 0), ("polygamma", 0), ("select", 0)}

Change = Callable[[sympy.Expr, tuple[sympy.Expr, ...]], sympy.Expr]


def _stale(partial: sympy.Expr, operands: tuple[sympy.Expr, ...]) -> sympy.Expr:
    """Read the first operand where the rule reads the result."""
    return partial.xreplace({operands[-1]: operands[0]})


def _swapped(partial: sympy.Expr, operands: tuple[sympy.Expr, ...]) -> sympy.Expr:
    if len(operands) < 3:
        return partial
    first, second = operands[-3], operands[-2]
    return partial.xreplace({first: second, second: first})


CHANGES: dict[str, Change] = {
    "sign": lambda p, a: -p,
    "factor 2": lambda p, a: 2 * p,
    "factor 1 + 1e-6": lambda p, a: p * sympy.Rational(1000001, 1000000),
    "offset": lambda p, a: p + sympy.Rational(1, 1000),
    "squared": lambda p, a: p * p,
    "times an operand": lambda p, a: p * a[0],
    "dropped": lambda p, a: sympy.Integer(0),
    "stale value": _stale,
    "swapped operands": _swapped,
}


@dataclass(frozen=True)
class RuleFault:
    """One partial derivative of one row, changed."""

    function: str
    position: int
    change: str

    def __str__(self) -> str:
        return f"{self.function}[{self.position}] {self.change}"


def rule_faults() -> list[RuleFault]:
    """Every change of every partial derivative that makes it another function.

    `copy` is left out: sums are reductions of copies, so its faults would be everywhere.
    """
    found = []
    for name, row in RULES.items():
        if row.partials is None or name in (*BY_DEFINITION, "select", "copy"):
            continue
        for position in range(FUNCTIONS[name].arity):
            if not is_discrete(name, position):
                found += [
                    RuleFault(name, position, change)
                    for change in CHANGES
                    if _differs(name, position, change)
                ]
    return found


def _differs(name: str, position: int, change: str) -> bool:
    """Whether the change alters the partial at some of the points that `program_of` uses."""
    symbols = (*(placeholder(k) for k in range(FUNCTIONS[name].arity)), sympy.Symbol("y", real=True))
    partials = RULES[name].partials
    assert partials is not None
    before = partials(*symbols)[position]
    _, inputs = program_of(name)
    operands = [inputs[f"a{k}"] for k in range(FUNCTIONS[name].arity)]
    numbers = MachineNumbers()
    points = dict(zip(symbols, (*operands, numbers.function(template(name))(*operands)), strict=True))

    def at_points(expression: sympy.Expr) -> np.ndarray:
        used = tuple(symbol for symbol in symbols if symbol in expression.free_symbols)
        if not used:
            return np.full(5, float(expression))
        body = composite(expression, used)
        return np.broadcast_to(numbers.function(body)(*(points[symbol] for symbol in used)), 5)

    with np.errstate(all="ignore"):
        return not np.allclose(
            at_points(before), at_points(CHANGES[change](before, symbols)), rtol=1e-8, atol=0
        )


@contextmanager
def seeded(fault: RuleFault) -> Iterator[None]:
    """The table with the fault in it, and nothing derived from either table kept."""
    row = RULES[fault.function]
    body = template(fault.function)
    kept = dict(body.cache)

    def changed(partials: Callable[..., tuple[sympy.Expr, ...]]) -> Callable[..., tuple[sympy.Expr, ...]]:
        def wrong(*operands: sympy.Expr) -> tuple[sympy.Expr, ...]:
            found = list(partials(*operands))
            found[fault.position] = CHANGES[fault.change](found[fault.position], operands)
            return tuple(found)

        return wrong

    assert row.partials is not None
    lone = changed(row.lone) if row.lone is not None else None
    RULES[fault.function] = replace(row, partials=changed(row.partials), lone=lone)
    body.cache.clear()
    try:
        yield
    finally:
        RULES[fault.function] = row
        body.cache.clear()
        body.cache.update(kept)


def is_discrete(name: str, position: int) -> bool:
    """Whether an operand is an order, which has no derivative."""
    return (name, position) in DISCRETE


def program_of(name: str) -> tuple[Program, dict[str, np.ndarray]]:
    """``sum(w * sin(function(a, b)))`` on five points of the row's domain: the gate in the middle of others."""
    row, count = RULES[name], FUNCTIONS[name].arity
    generator = np.random.default_rng([7, *name.encode()])
    builder = Builder("mutant")
    inputs: dict[str, np.ndarray] = {}
    operands: list[str] = []
    for position in range(count):
        low, high = row.domain[position]
        inputs[f"a{position}"] = generator.uniform(low, high, 5)
        if is_discrete(name, position):
            inputs[f"a{position}"] = np.ones(5)
        operands.append(builder.input(f"a{position}", F64, (5,)))
    gate = builder.pointwise(name, *operands, name="gate")
    bent = builder.pointwise("tanh" if name == "arctan" else "arctan", gate, name="bent")
    weights = builder.input("w", F64, (5,))
    inputs["w"] = generator.uniform(0.5, 1.5, 5)
    weighted = builder.pointwise("mul", bent, weights)
    access = (builder.access(weighted),)
    total = builder.assign("copy", access, (5,), F64, rank=0, reduce=Reduce("sum", F64))
    return builder.finish((total,)), inputs


# --- faults of passes ---------------------------------------------------------------------------------------


def pass_faults(program: Program) -> Iterator[tuple[str, Program]]:
    """Derived programs with one equation changed, and the tensor whose equation it is."""
    for number, equation in enumerate(program.equations):
        for changed in _changed(equation):
            equations = (*program.equations[:number], *changed, *program.equations[number + 1 :])
            out = equation.out if isinstance(equation, Assign | Accumulate) else ""
            yield out, replace(program, equations=equations)


def _changed(equation: Equation) -> Iterator[tuple[Equation, ...]]:
    if isinstance(equation, Accumulate):
        yield (equation, equation)  # added twice
    if not isinstance(equation, Assign | Accumulate):
        return
    name = equation.template.name
    swaps = {
        "mul": "add",
        "add": "sub",
        "sub": "add",
        "exp": "expm1",
        "lt": "le",
        "div": "mul",
        "tanh": "sin",
    }
    if name in swaps and name != "lt":
        yield (replace(equation, template=template(swaps[name])),)
    for at, operand in enumerate(equation.operands):
        if (
            isinstance(operand, Access)
            and len(operand.indices) == 2
            and operand.indices[0] != operand.indices[1]
        ):
            continue
        if isinstance(operand, Const) and operand.dtype.is_float:
            other = replace(operand, value=float(operand.value) + 1.0)
            yield (
                replace(equation, operands=(*equation.operands[:at], other, *equation.operands[at + 1 :])),
            )
    if isinstance(equation, Assign) and equation.reduce is not None and equation.reduce.op == "sum":
        yield (replace(equation, reduce=replace(equation.reduce, op="max")),)


# --- faults of kernels --------------------------------------------------------------------------------------

CALLS = {
    "exp": "expm1",
    "tanh": "sin",
    "cosh": "exp",
    "log": "log1p",
    "sin": "cos",
    "cos": "sin",
    "expit": "tanh",
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True)
class KernelFault:
    """A generated module with one change, and the equations of which any is rightly blamed for it."""

    change: str
    source: str
    equations: tuple[str, ...]


def kernel_faults(source: str) -> Iterator[KernelFault]:
    """A generated module with one expression or statement changed at a time."""
    lines = source.splitlines()
    for change, mutate in KERNEL_CHANGES.items():
        sites = len([node for node in ast.walk(ast.parse(source)) if mutate(copy.deepcopy(node)) is not None])
        for site in range(sites):
            tree = ast.parse(source)
            changed = _Changed(mutate, site)
            mutant = ast.fix_missing_locations(changed.visit(tree))
            yield KernelFault(
                change, ast.unparse(mutant), _equations_near(lines, changed.first, changed.last)
            )


class _Changed(ast.NodeTransformer):
    """Applies a change to the one node whose turn it is."""

    def __init__(self, mutate: Callable[[ast.AST], ast.AST | None], site: int) -> None:
        self.order = site
        self.mutate = mutate
        self.first = self.last = 0

    def visit(self, node: ast.AST) -> ast.AST:
        new = self.mutate(copy.deepcopy(node))
        if new is None:
            return self.generic_visit(node)
        self.order -= 1
        if self.order == -1:
            self.first, self.last = node.lineno, node.end_lineno  # pyright: ignore[reportAttributeAccessIssue]
            return ast.copy_location(new, node)
        return self.generic_visit(node)


def _equations_near(lines: list[str], first: int, last: int) -> tuple[str, ...]:
    """The equations in the comments before and within lines, or the next one after a line that has none."""
    notes = [(at, line.strip()[2:]) for at, line in enumerate(lines, 1) if line.strip().startswith("# ")]
    before = [text for at, text in notes if at == first - 1]
    within = [text for at, text in notes if first <= at <= last]
    after = [text for at, text in notes if at > last][:1]
    return tuple(before + within) or tuple(after)


def _value(node: ast.AST, make: Callable[[ast.expr], ast.expr]) -> ast.AST | None:
    """Change the value that a statement assigns."""
    if not isinstance(node, ast.Assign) or isinstance(node.value, ast.Constant | ast.Attribute):
        return None
    text = ast.unparse(node.value)
    if "shape" in text or text.startswith("np."):
        return None
    node.value = make(node.value)
    return node


def _times(factor: float) -> Callable[[ast.AST], ast.AST | None]:
    return lambda node: _value(node, lambda v: ast.BinOp(v, ast.Mult(), ast.Constant(factor)))


def _operator(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        node.op = OPERATORS[type(node.op)]()
        return node
    return None


def _swapped_operands(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div):
        node.left, node.right = node.right, node.left
        return node
    return None


def _other_call(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        return ast.parse(
            f"__import__('numpy').{CALLS[node.func.id]}({ast.unparse(node.args[0])})", mode="eval"
        ).body
    return None


def _not_summed(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "plus":
        return node.args[1]
    return None


def _not_added(node: ast.AST) -> ast.AST | None:
    return ast.Assign([node.target], node.value) if isinstance(node, ast.AugAssign) else None


def _one_less(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.For) and isinstance(node.iter, ast.Call):
        node.iter.args.insert(0, ast.Constant(1))
        return node
    return None


def _transposed(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
        node.slice.elts.reverse()
        return node
    return None


def _other_arm(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
        return node
    return None


KERNEL_CHANGES: dict[str, Callable[[ast.AST], ast.AST | None]] = {
    "sign": _times(-1.0),
    "factor 2": _times(2.0),
    "factor 1 + 1e-6": _times(1.000001),
    "operator": _operator,
    "swapped operands": _swapped_operands,
    "other function": _other_call,
    "missing reduction": _not_summed,
    "stored, not added": _not_added,
    "first of the loop left out": _one_less,
    "axes swapped": _transposed,
    "other arm": _other_arm,
}
