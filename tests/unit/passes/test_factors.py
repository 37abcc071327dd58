"""Sums of products whose other factor does not vary are taken before the product."""

from collections.abc import Sequence

import numpy as np
import pytest

from gradc.ir.extents import symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Assign, Program, Reduce
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import composite, placeholder, template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.factors import without_fixed_factors

F64 = DType.F64
SIZES = {letter: symbol(letter) for letter in "nijk"}
LENGTHS = {"n": 5, "i": 3, "j": 4, "k": 2}


def program(
    product: str,
    total: str,
    *,
    sign: bool = False,
    returned: bool = False,
    op: str = "sum",
    square: bool = False,
    dtype: DType = F64,
) -> Program:
    """``v = a * b`` summed, and a sum of `v`: ``"nj=ni,ij"`` and ``"j=nj"`` in the letters of `SIZES`."""
    build = Builder()
    out, factors = product.split("=")
    left, right = factors.split(",")
    inputs = {
        "a": build.input("a", dtype, tuple(SIZES[letter] for letter in left)),
        "b": build.input("b", dtype, tuple(SIZES[letter] for letter in right)),
    }
    order = out + "".join(sorted({*left, *right} - {*out}))
    v = build.declare("v", dtype, tuple(SIZES[letter] for letter in out))
    operands = tuple(Access(inputs[name], at(text, order)) for name, text in (("a", left), ("b", right)))
    space = tuple(SIZES[letter] for letter in order)
    build.equations.append(Assign(v, space, len(out), Reduce("sum", dtype), template("mul"), operands))
    end, read = total.split("=")
    order = end + "".join(sorted({*read} - {*end}))
    s = build.declare("s", F64, tuple(SIZES[letter] for letter in end))
    zero = placeholder(0)
    body = composite(zero**2, (zero,)) if square else template("neg" if sign else "copy")
    space = tuple(SIZES[letter] for letter in order)
    build.equations.append(Assign(s, space, len(end), Reduce(op, F64), body, (Access(v, at(read, order)),)))
    return build.finish((s, v) if returned else (s,))


def at(letters: str, order: str) -> tuple[int, ...]:
    return tuple(order.index(letter) for letter in letters)


def shown(found: Program) -> list[str]:
    return [show_equation(equation) for equation in found.equations]


def values(found: Program, letters: Sequence[str]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    inputs = {
        name: rng.standard_normal(tuple(LENGTHS[letter] for letter in text))
        for name, text in zip("ab", letters, strict=True)
    }
    return [np.asarray(value) for value in evaluate(found, inputs)]


REWRITTEN = {
    "the first factor": ("nj=ni,ij", "j=nj", ["v1[i] = sum[j] a[j, i]", "s[i] = sum[j] v1[j] * b[j, i]"]),
    "the second factor": ("ij=in,nj", "i=ij", ["v1[i] = sum[j] b[i, j]", "s[i] = sum[j] a[i, j] * v1[j]"]),
    "both factors": (
        "ij=in,nj",
        "=ij",
        ["v1[i] = sum[j] a[j, i]", "v2[i] = sum[j] b[i, j]", "s = sum[i] v1[i] * v2[i]"],
    ),
    "one that both have stays": (
        "nki=nkj,kji",
        "i=nki",
        ["v1[i, j] = sum[k] a[k, i, j]", "s[i] = sum[j, k] v1[j, k] * b[j, k, i]"],
    ),
}


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("name", REWRITTEN)
def test_a_factor_is_summed_over_the_indices_that_it_has_alone(name, sign):
    product, total, expected = REWRITTEN[name]
    before = program(product, total, sign=sign)
    found = without_fixed_factors(before)
    verify(found)
    if not sign:
        assert shown(found) == expected
    letters = product.split("=")[1].split(",")
    for mine, theirs in zip(values(found, letters), values(before, letters), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "changes",
    [
        {"returned": True},
        {"op": "max"},
        {"square": True},
        {"dtype": DType.F32},  # the products are rounded to float32, their sum is taken in float64
        {"product": "nj=ni,nij", "total": "j=nj"},  # both factors vary
        {"product": "ij=in,nj", "total": "nij=ij"},  # nothing is summed
    ],
)
def test_other_sums_stay(changes):
    given = program(**{"product": "nj=ni,ij", "total": "j=nj", **changes})
    assert without_fixed_factors(given) == given
