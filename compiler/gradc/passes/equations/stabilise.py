"""Replace spellings that overflow, cancel or lack a derivative by stable ones, before anything is differentiated.

A closed, numbered list.  Each rewrite is a pattern on the def-use graph: it looks through copies, broadcasts and
commutative operands, and leaves intermediates alone that others use.  This is the one pass that may change rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradc.ir.functions import COMMUTATIVE
from gradc.ir.index.build import IDENTITY, Builder
from gradc.ir.index.nodes import Access, Assign, Const, Equation, Index, Operand, Program
from gradc.ir.index.rewrite import compose_index
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import root_of_squares, template
from gradc.ir.stages import Applied
from gradc.passes.equations.shifts import free_shifts

Pattern = tuple["Pattern | str | float", ...]
Bindings = dict[str, Operand]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """``pattern -> result``: both are nested tuples of a function's name and its operands.

    A string is a variable, a number is that constant; a variable that occurs twice must be the same operand.
    """

    number: int
    law: str
    pattern: Pattern
    result: Pattern


# Ordered: longer spellings before the shorter ones that they contain.
REWRITES: tuple[Rewrite, ...] = (
    Rewrite(1, "1 / (1 + exp(-x)) = expit(x)", ("div", 1, ("add", 1, ("exp", ("neg", "x")))), ("expit", "x")),
    Rewrite(2, "1 / (1 + exp(x)) = expit(-x)", ("div", 1, ("add", 1, ("exp", "x"))), ("expit", ("neg", "x"))),
    Rewrite(3, "exp(x) / (1 + exp(x)) = expit(x)", ("div", ("exp", "x"), ("add", 1, ("exp", "x"))), ("expit", "x")),
    Rewrite(4, "exp(x) / (exp(x) + 1) = expit(x)", ("div", ("exp", "x"), ("add", ("exp", "x"), 1)), ("expit", "x")),
    Rewrite(5, "1 - expit(x) = expit(-x)", ("sub", 1, ("expit", "x")), ("expit", ("neg", "x"))),
    Rewrite(6, "log(expit(x)) = log_expit(x)", ("log", ("expit", "x")), ("log_expit", "x")),
    Rewrite(7, "log(1 + exp(x)) = softplus(x)", ("log", ("add", 1, ("exp", "x"))), ("softplus", "x")),
    Rewrite(8, "log1p(exp(x)) = softplus(x)", ("log1p", ("exp", "x")), ("softplus", "x")),
    Rewrite(
        9,
        "log(exp(x) + exp(y)) = logaddexp(x, y)",
        ("log", ("add", ("exp", "x"), ("exp", "y"))),
        ("logaddexp", "x", "y"),
    ),
    Rewrite(10, "log(exp(x) / y) = x - log(y)", ("log", ("div", ("exp", "x"), "y")), ("sub", "x", ("log", "y"))),
    Rewrite(11, "log(1 + x) = log1p(x)", ("log", ("add", 1, "x")), ("log1p", "x")),
    Rewrite(12, "log(1 - x) = log1p(-x)", ("log", ("sub", 1, "x")), ("log1p", ("neg", "x"))),
    Rewrite(13, "exp(x) - 1 = expm1(x)", ("sub", ("exp", "x"), 1), ("expm1", "x")),
    Rewrite(14, "x * log(x) = xlogy(x, x)", ("mul", "x", ("log", "x")), ("xlogy", "x", "x")),
    Rewrite(
        15,
        "sqrt(x**2 + y**2) = hypot(x, y)",
        ("sqrt", ("add", ("square", "x"), ("square", "y"))),
        ("hypot", "x", "y"),
    ),
)  # fmt: skip

SUM_OF_SQUARES = "sqrt(sum(x**2)) = norm(x), with derivative 0 at 0"
LOG_SUM_EXP = "log(sum(exp(x))) = max(x) + log(sum(exp(x - max(x))))"
SHIFTED = "exp(x) / sum(exp(x)) = exp(x - max(x)) / sum(exp(x - max(x)))"

OWN_SHIFT = "exp(x - m) / sum(exp(x - m)) does not depend on m, which has no derivative here"


class _Stabiliser:
    def __init__(self, program: Program) -> None:
        self.builder = Builder.resume(replace(program, equations=()))
        self.definitions: dict[str, Assign] = {}
        self.applied: list[Applied] = []
        self.shifted: dict[str, tuple[str, str, str]] = {}
        self.shifts_due = _shifts(program)
        self.free_shifts = free_shifts(program)

    def visit(self, equation: Equation) -> None:
        if isinstance(equation, Assign):
            equation = self._rewritten(equation)
            self.definitions[equation.out] = equation
        self.builder.equations.append(equation)

    def _rewritten(self, equation: Assign) -> Assign:
        if equation.reduce is not None or not self.builder.types[equation.out].dtype.is_float:
            return equation
        for special in (self._norm, self._log_sum_exp, self._softmax, self._own_shift):
            found = special(equation)
            if found is not None:
                return found
        view = self._as_quotient(equation)
        for rewrite in REWRITES:
            bindings: Bindings = {}
            if rewrite.pattern[0] == view.template.name and self._match_all(rewrite.pattern, view, bindings):
                result = self._emit(rewrite.result, bindings, equation)
                self._note(rewrite.number, rewrite.law, equation, result)
                return result
        return equation

    def _as_quotient(self, equation: Assign) -> Assign:
        """``reciprocal(x)`` seen as ``1 / x``, so that one pattern serves both."""
        if equation.template.name != "reciprocal":
            return equation
        one = Const(1.0, self.builder.types[equation.out].dtype)
        return replace(equation, template=template("div"), operands=(one, *equation.operands))

    def _note(self, number: int, law: str, before: Assign, after: Assign) -> None:
        self.applied.append(Applied(number, law, show_equation(before), show_equation(after)))

    # --- matching ---------------------------------------------------------------------------------------

    def definition(self, operand: Operand) -> Assign | None:
        """The elementwise equation behind an access, its operands written in the access's indices."""
        for _ in range(8):
            if not isinstance(operand, Access) or operand.tensor not in self.definitions:
                return None
            found = self.definitions[operand.tensor]
            if found.reduce is not None:
                return None
            operands = tuple(_through(inner, operand.indices) for inner in found.operands)
            if any(inner is None for inner in operands):
                return None
            if not found.template.is_copy or self._dtype_changes(found):
                return replace(found, operands=operands)  # pyright: ignore[reportArgumentType]
            operand = operands[0]  # pyright: ignore[reportAssignmentType]
        return None

    def _dtype_changes(self, equation: Assign) -> bool:
        first = equation.operands[0]
        if not isinstance(first, Access):
            return not isinstance(first, Const)
        return self.builder.types[first.tensor].dtype is not self.builder.types[equation.out].dtype

    def resolved(self, operand: Operand) -> Operand:
        """An operand seen through copies and broadcasts."""
        for _ in range(8):
            if not isinstance(operand, Access) or operand.tensor not in self.definitions:
                return operand
            found = self.definitions[operand.tensor]
            if found.reduce is not None or not found.template.is_copy or self._dtype_changes(found):
                return operand
            inner = _through(found.operands[0], operand.indices)
            if inner is None:
                return operand
            operand = inner
        return operand

    def _match_all(self, pattern: Pattern, equation: Assign, bindings: Bindings) -> bool:
        orders = [equation.operands]
        if equation.template.name in COMMUTATIVE:
            orders.append(equation.operands[::-1])
        for operands in orders:
            trial = dict(bindings)
            if all(self._match(inner, o, trial) for inner, o in zip(pattern[1:], operands, strict=True)):
                bindings.update(trial)
                return True
        return False

    def _match(self, pattern: Pattern | str | float, operand: Operand, bindings: Bindings) -> bool:
        operand = self.resolved(operand)
        if isinstance(pattern, str):
            return bindings.setdefault(pattern, operand) == operand
        if isinstance(pattern, int | float):
            return isinstance(operand, Const) and operand.value == pattern
        found = self.definition(operand)
        if found is None:
            return False
        return found.template.name == pattern[0] and self._match_all(pattern, found, bindings)

    # --- results ----------------------------------------------------------------------------------------

    def _emit(self, result: Pattern, bindings: Bindings, root: Assign) -> Assign:
        """The equation for `result` in the place of `root`; inner applications become equations of their own."""
        operands = tuple(self._operand(inner, bindings, root) for inner in result[1:])
        return replace(root, template=template(str(result[0])), operands=operands)

    def _operand(self, result: Pattern | str | float, bindings: Bindings, root: Assign) -> Operand:
        if isinstance(result, str):
            return bindings[result]
        dtype = self.builder.types[root.out].dtype
        if isinstance(result, int | float):
            return Const(result, dtype)
        operands = tuple(self._operand(inner, bindings, root) for inner in result[1:])
        name = self.builder.assign(str(result[0]), operands, root.space, dtype, origin=root.origin)
        self.definitions[name] = self._last()
        return Access(name, IDENTITY[len(root.space)])

    def _last(self) -> Assign:
        equation = self.builder.equations[-1]
        assert isinstance(equation, Assign)
        return equation

    # --- reductions -------------------------------------------------------------------------------------

    def _reduction(self, operand: Operand) -> Assign | None:
        operand = self.resolved(operand)
        found = self.definitions.get(operand.tensor) if isinstance(operand, Access) else None
        return found if found is not None and found.reduce is not None and found.reduce.op == "sum" else None

    def _norm(self, equation: Assign) -> Assign | None:
        if equation.template.name != "sqrt":
            return None
        total = self._reduction(equation.operands[0])
        if total is None or not self._sums_squares(total):
            return None
        result = replace(equation, template=root_of_squares())
        self._note(16, SUM_OF_SQUARES, equation, result)
        return result

    def _sums_squares(self, total: Assign) -> bool:
        if total.template.name == "square" or (
            total.template.name == "mul" and len(set(total.operands)) == 1
        ):
            return True
        inner = self.definition(total.operands[0]) if total.template.is_copy else None
        if inner is None:
            return False
        name = inner.template.name
        return name == "square" or (name == "mul" and len({self.resolved(o) for o in inner.operands}) == 1)

    def _log_sum_exp(self, equation: Assign) -> Assign | None:
        if equation.template.name != "log":
            return None
        operand = self.resolved(equation.operands[0])
        total = self._reduction(operand)
        if total is None or total.out not in self.shifts_due or not isinstance(operand, Access):
            return None
        _, top, shifted_total = self._shift(total)
        low = self.builder.assign(
            "log",
            (Access(shifted_total, operand.indices),),
            equation.space,
            self.builder.types[equation.out].dtype,
        )
        self.definitions[low] = self._last()
        operands = (Access(top, operand.indices), Access(low, IDENTITY[len(equation.space)]))
        result = replace(equation, template=template("add"), operands=operands)
        self._note(17, LOG_SUM_EXP, equation, result)
        return result

    def _softmax(self, equation: Assign) -> Assign | None:
        if equation.template.name != "div":
            return None
        below = self.resolved(equation.operands[1])
        total = self._reduction(below)
        if total is None or total.out not in self.shifts_due or not isinstance(below, Access):
            return None
        above = self.resolved(equation.operands[0])
        if not isinstance(above, Access) or not self._is_same(above.tensor, self._exponential(total)):
            return None
        powers, _, shifted_total = self._shift(total)
        operands = (Access(powers, above.indices), Access(shifted_total, below.indices))
        result = replace(equation, operands=operands)
        self._note(18, SHIFTED, equation, result)
        return result

    def _own_shift(self, equation: Assign) -> Assign | None:
        """The shift of a softmax that the user wrote: usually the maximum, which derivatives need not go through."""
        shift = equation.operands[-1]
        if equation.out not in self.free_shifts or not isinstance(shift, Access):
            return None
        held = self.builder.pointwise("stop_gradient", shift.tensor, origin=equation.origin)
        self.definitions[held] = self._last()
        result = replace(equation, operands=(equation.operands[0], Access(held, shift.indices)))
        self._note(19, OWN_SHIFT, equation, result)
        return result

    def _is_same(self, name: str, other: str) -> bool:
        """Whether two tensors are one, or spelled twice: the same function of the same operands."""
        if name == other:
            return True
        first, second = self.definitions.get(name), self.definitions.get(other)
        if first is None or second is None:
            return False
        return (first.template, first.operands, first.space) == (
            second.template,
            second.operands,
            second.space,
        )

    def _exponential(self, total: Assign) -> str:
        operand = total.operands[0]
        return operand.tensor if isinstance(operand, Access) else ""

    def _shift(self, total: Assign) -> tuple[str, str, str]:
        """Equations for ``exp(x - max(x))``, ``max(x)`` and the shifted sum; made once per sum."""
        if total.out in self.shifted:
            return self.shifted[total.out]
        powers = self.definitions[self._exponential(total)]
        x, dtype = powers.operands[0], self.builder.types[total.out].dtype
        read = total.operands[0]
        assert isinstance(read, Access)
        inner = _through(x, read.indices)
        assert inner is not None
        assert total.reduce is not None
        add, origin, rank = self.builder, total.origin, total.rank
        # The result does not depend on the shift, so it carries no derivative; an infinite maximum shifts by 0.
        peak = add.assign(
            "copy",
            (inner,),
            total.space,
            dtype,
            rank=rank,
            reduce=replace(total.reduce, op="max"),
            origin=origin,
        )
        finite = add.pointwise("isfinite", peak, origin=origin)
        held = add.pointwise("select", finite, peak, Const(0.0, dtype), origin=origin)
        top = add.pointwise("stop_gradient", held, origin=origin)
        down = add.assign("sub", (inner, Access(top, IDENTITY[rank])), total.space, dtype, origin=origin)
        power = add.assign(
            "exp", (Access(down, IDENTITY[len(total.space)]),), total.space, dtype, origin=origin
        )
        operands = (Access(power, IDENTITY[len(total.space)]),)
        low = add.assign("copy", operands, total.space, dtype, rank=rank, reduce=total.reduce, origin=origin)
        # Readers of the old exponentials use their own axes: give them the shifted ones in the same order.
        back = add.assign(
            "copy",
            (Access(power, _inverse(read.indices, len(total.space))),),
            powers.space,
            dtype,
            origin=origin,
        )
        for equation in self.builder.equations[-8:]:
            if isinstance(equation, Assign):
                self.definitions[equation.out] = equation
        self.shifted[total.out] = (back, top, low)
        return self.shifted[total.out]


def _inverse(indices: tuple[Index, ...], rank: int) -> tuple[int, ...]:
    """Where each index of the summing space is found among the axes of what it sums."""
    return tuple(indices.index(position) for position in range(rank))


def _through(operand: Operand, indices: tuple[Index, ...]) -> Operand | None:
    """An operand of an equation, with the equation's indices replaced by `indices`."""
    if isinstance(operand, Access):
        composed = tuple(compose_index(index, indices) for index in operand.indices)
        return None if any(index is None for index in composed) else Access(operand.tensor, composed)  # pyright: ignore[reportArgumentType]
    if isinstance(operand, Const):
        return operand
    return None  # values of indices and extents are not looked through


def _shifts(program: Program) -> set[str]:
    """Sums of exponentials whose only readers take the logarithm of the sum, or divide the same exponentials by it."""
    definitions = {equation.out: equation for equation in program.equations if isinstance(equation, Assign)}
    found = {total.out for total in definitions.values() if _sums_exponentials(total, definitions)}
    return found


def _sums_exponentials(total: Assign, definitions: dict[str, Assign]) -> bool:
    if total.reduce is None or total.reduce.op != "sum" or not total.template.is_copy:
        return False
    read = total.operands[0]
    if not isinstance(read, Access) or sorted(map(str, read.indices)) != [
        str(i) for i in range(len(total.space))
    ]:
        return False
    inner = definitions.get(read.tensor)
    if inner is None or inner.template.name != "exp" or inner.reduce is not None:
        return False
    argument = definitions.get(inner.operands[0].tensor) if isinstance(inner.operands[0], Access) else None
    return argument is None or not _is_shifted(argument, definitions)


def _is_shifted(argument: Assign, definitions: dict[str, Assign]) -> bool:
    """Whether the exponent already is ``x - max(x)``, perhaps in an arm of a choice: such code needs no help."""
    if argument.template.name == "select":
        arms = (definitions.get(o.tensor) for o in argument.operands[1:] if isinstance(o, Access))
        return any(arm is not None and arm.reduce is None and _is_shifted(arm, definitions) for arm in arms)
    if argument.template.name != "sub" or not isinstance(argument.operands[1], Access):
        return False
    below = definitions.get(argument.operands[1].tensor)
    through = {
        "copy": 0,
        "stop_gradient": 0,
        "select": 1,
    }  # an infinite maximum is replaced by 0 with a select
    while below is not None and below.reduce is None and below.template.name in through:
        inner = below.operands[through[below.template.name]]
        below = definitions.get(inner.tensor) if isinstance(inner, Access) else None
    return below is not None and below.reduce is not None and below.reduce.op == "max"


def stabilise(program: Program) -> tuple[Program, tuple[Applied, ...]]:
    """Apply the rewrites; returns the program and what was applied where.

    Requires: `program` is valid and not yet differentiated.  Ensures: the same function of the inputs up to rounding
    where the old spelling was finite; intermediates that others use stay.

        v1 = exp(x);  v2 = 1.0 + v1;  y = log(v2)     ->  v1 = exp(x);  v2 = 1.0 + v1;  y = softplus(x)
    """
    walk = _Stabiliser(program)
    for equation in program.equations:
        walk.visit(equation)
    result = replace(program, equations=tuple(walk.builder.equations), types=walk.builder.types)
    return result, tuple(walk.applied)
