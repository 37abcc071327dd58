"""The rows of the operator table: calls of every differentiable operation, and the user functions made of them.

The calls themselves are those of `tests.numeric.operations`; here are only the ones written there as handlers
(indexing, masks, functions of one triangle) and what a row adds: which arrays are moved, which results count.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from tests.numeric.operations import (
    test_contractions,
    test_creation,
    test_elementwise,
    test_gathering,
    test_indexing,
    test_linalg,
    test_masked,
    test_reductions,
    test_shapes,
    test_special,
)
from tests.numeric.operations.support import Case, describe, leaves, reference

from gradc.lang.operations import key_of

Arrays = Sequence[np.ndarray]
Call = Callable[..., Any]
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Row:
    """One call as a function of all its arrays.

    Attributes
    ----------
    name, family, operation : str
        A name of its own, the module its rows come from, and the operation's name in the table.
    call : callable
        Takes the arrays, returns the result of NumPy or a tree of results.
    arrays : tuple of ndarray
        Every array of the call, integers and masks included; the float64 ones are differentiated.
    keys : frozenset
        The operations of gradc's tables that the row exercises.
    """

    name: str
    family: str
    operation: str
    call: Call
    arrays: tuple[np.ndarray, ...]
    keys: frozenset[Hashable] = frozenset()
    smooth: bool = True  # whether differences of NumPy mean something: no kink, no NaN, no float32 inside

    def inputs(self, dtype: Any) -> list[np.ndarray]:
        """Copies of the arrays, the differentiated ones in `dtype`."""
        return [np.array(a, dtype if a.dtype == np.float64 else a.dtype) for a in self.arrays]

    def results(self, arrays: Arrays) -> list[np.ndarray]:
        """Return what plain NumPy gives: the floating-point leaves."""
        found = leaves(self.call(*arrays))
        return [np.array(found[at]) for at in self.floating]  # copies: a view would follow its array

    @functools.cached_property
    def floating(self) -> tuple[int, ...]:
        """The positions of the floating-point leaves of the result."""
        found = leaves(self.call(*self.inputs(np.float64)))
        return tuple(at for at, leaf in enumerate(found) if np.asarray(leaf).dtype.kind == "f")

    def weights(self, arrays: Arrays, seed: int = 3) -> list[np.ndarray]:
        """One weight per element of the results, in their dtype."""
        rng = np.random.default_rng(seed)
        return [np.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype) for leaf in self.results(arrays)]

    def accepts(self, arrays: Arrays) -> bool:
        """Whether NumPy defines the call for these arrays, without a warning, with as many results."""
        with warnings.catch_warnings(action="error"), np.errstate(all="raise"):
            try:
                kinds = _kinds(self.call(*arrays))
            except (ValueError, IndexError, TypeError, ArithmeticError, Warning, np.linalg.LinAlgError):
                return False
        with np.errstate(all="ignore"):
            return kinds == _kinds(self.call(*self.inputs(np.float64)))


@dataclass(frozen=True)
class Slot:
    """The place of an array among the arguments of a call."""

    number: int


def _slots(tree: Any, places: dict[int, Slot]) -> Any:
    """`tree` with a slot for every array."""
    if isinstance(tree, list | tuple):
        return type(tree)([_slots(item, places) for item in tree])
    return places.get(id(tree), tree)


def _filled(tree: Any, arrays: Sequence[Any]) -> Any:
    """`tree` with an array for every slot."""
    if isinstance(tree, list):
        return [_filled(item, arrays) for item in tree]
    if isinstance(tree, tuple):
        return tuple([_filled(item, arrays) for item in tree])
    return arrays[tree.number] if isinstance(tree, Slot) else tree


def _row(family: str, case: Case) -> Row:
    found = leaves([*case.arguments, *case.options.values()])
    arrays = tuple({id(a): a for a in found if isinstance(a, np.ndarray)}.values())
    places = {id(a): Slot(number) for number, a in enumerate(arrays)}
    function, arguments = case.function, _slots(case.arguments, places)
    options = {name: _slots(value, places) for name, value in case.options.items()}

    def call(*given: Any) -> Any:
        return function(
            *_filled(arguments, given), **{name: _filled(value, given) for name, value in options.items()}
        )

    scalars = getattr(function, "__module__", "") == "math"
    return Row(
        str(case),
        family,
        operation_name(function),
        _of_numbers(call) if scalars and function is not math.prod else call,
        arrays,
        frozenset([key_of(function)]),
        case.smooth and not any(x is np.float32 for x in (function, *arguments, *options.values())),
    )


def _of_numbers(call: Call) -> Call:
    """Call `math` with Python numbers where the arguments are arrays, as they must be outside a trace."""

    def called(*given: Any) -> Any:
        return call(*[a.tolist() if isinstance(a, np.ndarray) else a for a in given])

    return called


def operation_name(function: Any) -> str:
    """Return a short name: the module where that tells operations apart."""
    module = (getattr(function, "__module__", "") or "").split(".")[0]
    name = getattr(function, "__name__", str(function))
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        name = f"{owner.__name__}.{name}"
    return f"math.{name}" if module == "math" else name


def _kinds(tree: Any) -> list[str]:
    return [np.asarray(leaf).dtype.kind for leaf in leaves(tree)]


# --- user functions -----------------------------------------------------------------------------------------


def weighted(row: Row) -> Call:
    """Make the loss function of one row: the weighted sum of its results.

    It holds no arrays: those of a closure would become inputs.
    """
    call, floating = row.call, row.floating

    def loss(arrays: Any, weights: Any) -> Any:
        found, total = leaves(call(*arrays)), 0.0
        for at, weight in zip(floating, weights, strict=True):
            total = total + np.sum(found[at] * weight)
        return total

    return loss


def family_function(name: str, rows: Sequence[Row]) -> Call:
    """Make one loss function of many rows: the sum of the squares of all results.

    The cotangent of a result is then twice the result: the gradients show every value.
    """
    parts = [(row.call, row.floating, len(row.arrays)) for row in rows]

    def body(*given: Any) -> Any:
        total, at = 0.0, 0
        for call, floating, count in parts:
            found = leaves(call(*given[at : at + count]))
            at += count
            for leaf in floating:
                total = total + np.sum(np.square(found[leaf]))
        return total

    parameters = ", ".join(f"x{number}" for number in range(sum(count for _, _, count in parts)))
    namespace: dict[str, Any] = {"body": body}
    exec(
        f"def {name}({parameters}):\n    return body({parameters})", namespace
    )  # a plain signature: no *args
    return namespace[name]


# --- rows that are written as handlers elsewhere ------------------------------------------------------------


def _plain(family: str, name: str, call: Call, *arrays: np.ndarray, of: Iterable[Any] = ()) -> Row:
    operation = name.replace("a[mask]", "mask").split("[")[0].split("(")[0]
    return Row(name, family, operation, call, arrays, frozenset(map(key_of, of)))


def _written(array: Any, index: Any, new: Any) -> Any:
    array = array.copy()
    array[index] = new
    return array


def _indexing() -> Iterator[Row]:
    x = test_indexing.x
    for shape, index in test_indexing.BASIC:
        if not shape:
            continue  # what has no axes is a number in a traced function: it has no items
        a = x(*shape)
        new = x(*np.shape(a[index]))
        yield _plain("indexing", f"getitem[{describe(a)}-{index}]", lambda a, at=index: a[at], a)
        yield _plain(
            "indexing", f"setitem[{describe(a)}-{index}]", lambda a, b, at=index: _written(a, at, b), a, new
        )
    for number, (shape, index, first, second) in enumerate(test_indexing.GATHERS):
        a, i, j = x(*shape), test_indexing.ints(3, *first), test_indexing.ints(3, *second)
        new = x(*np.shape(a[index(i, j)]))
        name = f"[{describe(a)}-{number}]"
        yield _plain("indexing", f"getitem{name}", lambda a, i, j, at=index: a[at(i, j)], a, i, j)
        yield _plain(
            "indexing",
            f"setitem{name}",
            lambda a, i, j, b, at=index: _written(a, at(i, j), b),
            *(a, i, j, new),
        )
    for shape, mask in test_masked.MASKS:
        a = x(*shape)
        for name in ("sum", "prod", "mean", "max", "min"):
            yield _plain(
                "indexing", f"a[mask].{name}({describe(a)})", lambda a, m, f=name: getattr(a[m], f)(), a, mask
            )
        yield _plain("indexing", f"a[mask]=({describe(a)})", lambda a, m: _written(a, m, 1.5), a, mask)


def _triangles() -> Iterator[Row]:
    """Functions that read one triangle or one sign: differentiated as functions of the whole matrix."""
    a, b = test_linalg.positive(3, 3), test_linalg.x(3)
    for upper in (False, True):
        yield _plain(
            "linalg",
            f"cholesky(upper={upper})",
            lambda a, u=upper: np.linalg.cholesky(a + a.T, upper=u),
            a,
            of=[np.linalg.cholesky],
        )
        yield _plain(
            "linalg",
            f"scipy.cholesky(lower={upper})",
            lambda a, u=upper: scipy.linalg.cholesky(a + a.T, lower=u),
            a,
            of=[scipy.linalg.cholesky],
        )
    yield _plain(
        "linalg",
        "cho_solve()",
        lambda a, b: scipy.linalg.cho_solve(scipy.linalg.cho_factor(a + a.T), b),
        *(a, b),
        of=[scipy.linalg.cho_solve, scipy.linalg.cho_factor],
    )


# --- all of them --------------------------------------------------------------------------------------------

STEPS = (np.floor, np.ceil, np.trunc, np.rint, np.sign, np.fix, np.round, np.around)


def _elementwise() -> Iterator[Case]:
    values, floats = test_elementwise.values, (np.float64, np.float64)
    shapes = ((2, 3), (3,))
    for function in (*test_elementwise.UNARY, *test_elementwise.UNARY_FUNCTIONS, *test_elementwise.BINARY):
        if function in STEPS or test_elementwise.is_smooth(function):
            count = getattr(function, "nin", 1)
            yield values(function, *floats[:count], shapes=shapes[:count])


def _cases() -> Iterator[tuple[str, Case]]:
    for case in (*_elementwise(), *test_elementwise.CASES):
        yield "elementwise", case
    for ufunc in test_special.UFUNCS:
        yield "special", test_special.values(ufunc, *((2, 3), (3,))[: ufunc.nin])
    for case in test_special.CASES:
        yield "special", case
    for function in (*test_reductions.MANY_AXES, *test_reductions.SCANS, np.median, np.average):
        yield "reductions", Case(function, (test_reductions.drawn((2, 3)),))
    for family, cases in (
        ("reductions", (*test_reductions.CASES, *test_reductions.SMOOTH)),
        ("contractions", test_contractions.CASES),
        ("creation", test_creation.CASES),
        ("gathering", test_gathering.CASES),
        ("linalg", [c for c in test_linalg.CASES if c.function not in TRIANGLES]),
        ("shapes", test_shapes.CASES),
    ):
        for case in cases:
            yield family, case


TRIANGLES = (np.linalg.cholesky, scipy.linalg.cholesky)


def _is_differentiable(case: Case) -> bool:
    found = leaves([*case.arguments, *case.options.values()])
    if not any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in found):
        return False
    return any(np.asarray(leaf).dtype.kind == "f" for leaf in leaves(reference(case)))


def _all() -> list[Row]:
    with np.errstate(all="ignore"):
        made = [_row(family, case) for family, case in _cases() if _is_differentiable(case)]
    result: dict[str, Row] = {}
    for row in (*made, *_indexing(), *_triangles()):
        name, number = row.name, 1
        while name in result:
            number += 1
            name = f"{row.name}#{number}"
        result[name] = replace(row, name=name)
    return list(result.values())


ROWS = _all()
