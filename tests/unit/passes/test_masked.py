"""Columns behind a causal mask are left out where they change nothing, and only there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Clear,
    Contract,
    Expr,
    Extent,
    For,
    From,
    Kernel,
    Let,
    Parameter,
    Statement,
    Store,
    Update,
    apply,
    load,
    number,
    var,
)
from gradc.ir.loop.show import show
from gradc.ir.loop.verify import verify
from gradc.ir.types import DType
from gradc.passes.loops import join
from gradc.passes.loops.masked import without_masked_columns
from gradc.passes.loops.share import share_out

F64 = DType.F64
M, D, HEIGHT = var("m"), var("d"), var("height")
BLOCK, START, ROWS, ROW, J, K = (var(name) for name in ("block", "start", "rows", "row", "j", "k"))
LOWEST, ZERO = number(-np.inf, F64), number(0.0, F64)
HERE, S, E = (ROW, K), load("s", (ROW, K), F64), load("e", (ROW, K), F64)


def over_rows(*body: Statement) -> For:
    return For("row", ROWS, (Let("j", apply("add", START, ROW)), *body))


def over_columns(*body: Statement) -> For:
    return For("k", M, body)


def score(out: str = "s") -> Contract:
    """``s[j, k] = q[j] r[k]`` for the rows of a block."""
    return Contract(out, "j k", "q", "j l", "r", "k l", (ROWS, M, D), False, ((), (From(START),), ()))


def weigh(value: Expr, *more: Statement) -> For:
    return over_rows(over_columns(Store("e", HERE, value), *more))


def masked(mask: Expr, value: Expr = S, otherwise: Expr = LOWEST) -> Expr:
    return apply("exp", apply("select", mask, value, otherwise))


def lowest_where(mask: Expr) -> Expr:
    return apply("exp", apply("select", mask, LOWEST, S))


CAUSAL = apply("le", K, J)
WEIGHED = weigh(masked(CAUSAL))
# y[j] = e[j, k] v[k] for the rows of a block, z[k] = e[j, k] c[j] summed over blocks
MEAN = Contract("y", "j l", "e", "j k", "v", "k l", (ROWS, M, D), False, ((From(START),), (), ()))
BACK = Contract(
    *("z", "k l", "e", "j k", "c", "j l", (ROWS, M, D), True, ((), (), (From(START),))),
    again=apply("ne", BLOCK, number(0)),
)
ADDED = Contract("z", "k l", "e", "j k", "c", "j l", (ROWS, M, D), True, ((), (), (From(START),)))


def kernel(
    *body: Statement,
    results: tuple[str, ...] = ("y",),
    zeroed: bool = False,
    after: tuple[Statement, ...] = (),
) -> Kernel:
    """Blocks of two rows."""
    parameters = tuple(Parameter(name, F64, 2) for name in "qrvc")
    sizes = (load("q.shape", (number(axis),), DType.INT64) for axis in (0, 1))
    up = apply("floor_divide", apply("add", M, apply("sub", HEIGHT, number(1))), HEIGHT)
    loop = For(
        "block",
        var("blocks"),
        (
            Let("start", apply("mul", BLOCK, HEIGHT)),
            Let("rows", apply("minimum", HEIGHT, apply("sub", M, START))),
            *body,
        ),
    )
    head: list[Statement] = [Extent(name, size) for name, size in zip("md", sizes, strict=True)]
    head += [Extent("height", number(2)), Extent("blocks", up), Let("total", ZERO), Let("largest", LOWEST)]
    head += [Allocate(name, F64, (HEIGHT, M)) for name in "se"] + [Allocate("row_", F64, (M,))]
    head += [Allocate("y", F64, (M, D)), Allocate("z", F64, (M, D), zeroed)]
    head += [Allocate("deep", F64, (number(1), HEIGHT, M)), Allocate("square", F64, (M, M))]
    head += [Allocate("order", DType.INT64, (M,))]
    head += [Allocate("mixed", F64, (HEIGHT, M)), Allocate("wide", F64, (HEIGHT, D, D))]
    return verify(Kernel("k", parameters, (*head, loop, *after), results))


def same(before: Kernel, lengths: tuple[int, ...] = (0, 1, 2, 5, 6)) -> Kernel:
    """The kernel with shorter loops; every element that is read has been written."""
    found = verify(without_masked_columns(before))
    for many in lengths:
        rng = np.random.default_rng(many)
        given = {name: rng.standard_normal((many, 3)) for name in "qrvc"}
        if many == 0 and "z" in before.results:
            continue  # nothing begins the sum
        for kernel_ in (found, verify(share_out(found))):
            for one, two in zip(evaluate(kernel_, given), evaluate(before, given), strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-13)
    return found


TOTAL, LARGEST = Update("total", "sum", E), Update("largest", "max", load("row_", (K,), F64))
OF_ROW = over_columns(
    Let("seen", CAUSAL), Store("row_", (K,), apply("select", var("seen", DType.BOOL), S, LOWEST)), LARGEST
)
NORMAL = over_columns(
    Let("scaled", apply("sub", load("row_", (K,), F64), var("largest", F64))),
    Store("e", HERE, apply("exp", var("scaled", F64))),
    TOTAL,
)
SHORTER: dict[str, Kernel] = {
    "exponentials": kernel(score(), WEIGHED, MEAN),
    "a sum that blocks begin": kernel(score(), WEIGHED, MEAN, BACK, results=("y", "z")),
    "a sum of zeros and more": kernel(score(), WEIGHED, ADDED, results=("z",), zeroed=True),
    "rows": kernel(score(), over_rows(OF_ROW, NORMAL), MEAN, results=("y", "total", "largest")),
    "products": kernel(score(), weigh(apply("mul", apply("select", CAUSAL, S, ZERO), S)), MEAN),
    "quotients": kernel(score(), weigh(apply("div", apply("select", CAUSAL, S, ZERO), S)), MEAN),
    "added infinities": kernel(
        score(), weigh(apply("exp", apply("add", S, apply("select", CAUSAL, ZERO, LOWEST)))), MEAN
    ),
    "not behind": kernel(score(), weigh(masked(apply("logical_not", apply("gt", K, J)))), MEAN),
    "from the other side": kernel(score(), weigh(masked(apply("ge", J, K))), MEAN),
    "a column before": kernel(score(), weigh(masked(apply("lt", K, apply("sub", J, number(2))))), MEAN),
    "columns that are counted from one": kernel(
        score(), weigh(masked(apply("le", apply("add", K, number(1)), apply("add", number(1), J)))), MEAN
    ),
    "before the next row": kernel(score(), weigh(masked(apply("lt", K, apply("add", J, number(1))))), MEAN),
    "the diagonal": kernel(score(), weigh(masked(apply("eq", K, J))), MEAN),
    "off the diagonal, lowest": kernel(
        score(), weigh(apply("exp", apply("select", apply("ne", J, K), LOWEST, S))), MEAN
    ),
    "from the next row on": kernel(
        score(),
        weigh(apply("exp", apply("select", apply("ge", K, apply("add", J, number(1))), LOWEST, S))),
        MEAN,
    ),
    "the other arm": kernel(
        score(), weigh(apply("exp", apply("select", apply("lt", J, K), LOWEST, S))), MEAN
    ),
    "another condition beside it": kernel(
        score(), weigh(masked(apply("logical_and", CAUSAL, apply("gt", S, ZERO)))), MEAN
    ),
    "zeros in both arms": kernel(
        score(), weigh(masked(CAUSAL), Store("e", HERE, apply("select", apply("gt", S, ZERO), E, E))), MEAN
    ),
    "a sum that nobody sees": kernel(score(), WEIGHED, MEAN, BACK),
    "an array with an axis more": kernel(
        score(),
        over_rows(over_columns(Store("deep", (number(0), ROW, K), masked(CAUSAL)))),
        replace(MEAN, left="deep", views=((From(START),), (number(0),), ())),
    ),
    "zeros that gain zeros": kernel(
        score(), weigh(masked(CAUSAL), AddTo("e", HERE, "sum", apply("select", CAUSAL, S, ZERO))), MEAN
    ),
    "elements that gain nothing": kernel(
        *(score(), weigh(masked(CAUSAL), AddTo("z", (K, number(0)), "sum", E)), MEAN),
        results=("y", "z"),
        zeroed=True,
    ),
}
FIRST = load("order", (number(0),), DType.INT64)
LARGE = apply("select", CAUSAL, S, number(-1e9, F64))
FULL = Contract("y", "j l", "s", "j k", "v", "k l", (ROWS, M, D), False, ((From(START),), (), ()))
WHOLE = Contract("z", "k l", "e", "j k", "c", "j l", (ROWS, M, D), False, ((), (), (From(START),)))
KEPT: dict[str, Kernel] = {
    "no mask": kernel(score(), weigh(apply("exp", S)), MEAN),
    "the other half": kernel(score(), weigh(masked(apply("ge", K, J))), MEAN),
    "one column more": kernel(score(), weigh(masked(apply("le", K, apply("add", J, number(1))))), MEAN),
    "before the row after the next": kernel(
        score(), weigh(masked(apply("lt", K, apply("add", J, number(2))))), MEAN
    ),
    "the next row": kernel(score(), weigh(masked(apply("eq", apply("sub", K, number(1)), J))), MEAN),
    "a product with a column": kernel(score(), weigh(masked(apply("le", apply("mul", K, K), J))), MEAN),
    "zero times infinity": kernel(
        score(),
        weigh(apply("mul", apply("select", CAUSAL, S, ZERO), apply("select", CAUSAL, S, LOWEST))),
        MEAN,
    ),
    "zero by zero": kernel(
        score(), weigh(apply("div", apply("select", CAUSAL, S, ZERO), apply("select", CAUSAL, E, ZERO))), MEAN
    ),
    "scores that are large only": kernel(score(), weigh(apply("exp", apply("sub", LARGE, S))), MEAN),
    "ones": kernel(score(), weigh(masked(CAUSAL, otherwise=ZERO)), MEAN),
    "a sum of what is not zero": kernel(
        score(), weigh(masked(CAUSAL), Update("total", "sum", S)), MEAN, results=("y", "total")
    ),
    "a product of zeros": kernel(
        score(), weigh(masked(CAUSAL), Update("total", "prod", E)), MEAN, results=("y", "total")
    ),
    "elements that gain something": kernel(
        *(score(), weigh(masked(CAUSAL), AddTo("z", (K, number(0)), "sum", S)), MEAN),
        results=("y", "z"),
        zeroed=True,
    ),
    "scores that are used": kernel(score(), WEIGHED, MEAN, FULL),
    "weights that are a result": kernel(score(), WEIGHED, MEAN, results=("y", "e")),
    "a column that is read by itself": kernel(
        score(), WEIGHED, over_rows(Update("total", "sum", load("e", (ROW, number(0)), F64))), MEAN
    ),
    "columns that are read the other way round": kernel(
        score(),
        WEIGHED,
        over_rows(
            over_columns(
                Update("total", "sum", load("e", (ROW, apply("sub", M, apply("add", K, number(1)))), F64))
            )
        ),
        MEAN,
        results=("y", "total"),
    ),
    "what an earlier block has left": kernel(
        over_rows(over_columns(Store("row_", (K,), load("s", (number(0), K), F64)))), score(), WEIGHED, MEAN
    ),
    "the weights of the block before": kernel(MEAN, score(), WEIGHED),
    "what is read after the blocks": kernel(
        *(score(), WEIGHED, MEAN),
        after=(For("k", M, (Update("total", "sum", load("e", (number(0), K), F64)),)),),
    ),
    "from the row after the next on": kernel(
        score(), weigh(lowest_where(apply("ge", K, apply("add", J, number(2))))), MEAN
    ),
    "behind the next row": kernel(
        score(), weigh(lowest_where(apply("gt", K, apply("add", J, number(1))))), MEAN
    ),
    "all but the next row": kernel(
        score(), weigh(lowest_where(apply("ne", K, apply("add", J, number(1))))), MEAN
    ),
    "rows that are none": kernel(
        score(), For("row", ROWS, (Let("j", M), over_columns(Store("e", HERE, masked(CAUSAL))))), MEAN
    ),
    "rows of another loop": kernel(
        *(score(), WEIGHED),
        For(
            "row",
            D,
            (Let("j", apply("add", START, ROW)), over_columns(Store("e", (number(0), K), masked(CAUSAL)))),
        ),
        MEAN,
    ),
    "a number that grows": kernel(
        score(),
        over_rows(
            over_columns(
                *(Let("grown", ZERO), Update("grown", "sum", S)),
                Store("e", HERE, apply("select", CAUSAL, S, var("grown", F64))),
            )
        ),
        MEAN,
    ),
    "a number of the same name": kernel(
        score(),
        over_rows(
            over_columns(Let("w", ZERO)),
            Let("w", load("q", (J, number(0)), F64)),
            over_columns(Store("e", HERE, apply("select", CAUSAL, S, var("w", F64)))),
        ),
        MEAN,
    ),
    "a number that grows by one element": kernel(
        *(score(), WEIGHED, MEAN),
        over_rows(
            over_columns(
                *(Let("grown", ZERO), Update("grown", "sum", load("e", (ROW, number(0)), F64))),
                Store("row_", (K,), var("grown", F64)),
            )
        ),
    ),
    "additions at an index that is read by itself": kernel(
        *(score(), WEIGHED, MEAN),
        over_rows(over_columns(Store("order", (K,), K)), over_columns(AddTo("z", (FIRST, FIRST), "sum", E))),
        results=("y", "z"),
        zeroed=True,
    ),
    "rows at an index that is read by itself": kernel(
        *(score(), WEIGHED, MEAN),
        over_rows(over_columns(Store("order", (K,), K)), over_columns(Store("square", (FIRST, K), E))),
    ),
    "an index that is read by itself": kernel(
        score(),
        over_rows(
            over_columns(Store("order", (K,), K)),
            over_columns(Store("e", HERE, apply("select", CAUSAL, load("q", (FIRST, FIRST), F64), ZERO))),
        ),
        MEAN,
    ),
    "zero or one": kernel(
        *(score(), WEIGHED),
        weigh(apply("select", apply("gt", S, ZERO), E, number(1.0, F64))),
        MEAN,
    ),
    "one element all over": kernel(score(), weigh(masked(CAUSAL), Store("e", (ROW, number(0)), ZERO)), MEAN),
    "a diagonal": kernel(score(), weigh(masked(CAUSAL), Store("e", (K, K), ZERO)), MEAN),
    "columns as rows": kernel(score(), weigh(masked(CAUSAL), Store("e", (K, ROW), ZERO)), MEAN),
    "columns on two axes": kernel(
        *(score(), WEIGHED, MEAN),
        over_rows(
            over_columns(Store("square", (K, ROW), ZERO)),
            over_columns(Store("square", (number(0), K), ZERO)),
            over_columns(Store("row_", (K,), load("square", (apply("sub", M, number(1)), K), F64))),
        ),
    ),
    "columns by columns": kernel(
        *(score(), WEIGHED, MEAN),
        Contract("mixed", "j l", "e", "j k", "square", "k l", (ROWS, M, M), False),
    ),
    "weights that grow": kernel(score(), WEIGHED, replace(score("e"), add=True), MEAN),
    "weights the other way round": kernel(score(), WEIGHED, MEAN, replace(MEAN, first="k j")),
    "weights of neighbours": kernel(
        *(score(), WEIGHED, MEAN),
        Contract("wide", "j l p", "e", "j k+l", "v", "k p", (ROWS, M, D, D), False),
    ),
    "an element that is written by itself": kernel(
        score(), WEIGHED, over_rows(Store("e", (ROW, number(0)), ZERO)), MEAN
    ),
    "what is cleared": kernel(score(), WEIGHED, Clear("e"), MEAN),
    "a loop in the loop": kernel(
        score(), over_rows(over_columns(Store("e", HERE, masked(CAUSAL)), For("l", D, (TOTAL,)))), MEAN
    ),
    "two columns": kernel(score(), weigh(masked(CAUSAL), Store("e", (ROW, apply("sub", K, K)), E)), MEAN),
    "a result that is written as a whole": kernel(score(), WEIGHED, MEAN, WHOLE, results=("y", "z")),
    "nothing but loops": kernel(score(), over_rows(over_columns(Let("seen", CAUSAL))), results=("s",)),
}


@pytest.mark.parametrize("name", SHORTER)
def test_columns_behind_the_mask_are_left_out(name: str):
    found = same(SHORTER[name])
    text = show(found)
    assert "for k < unmasked" in text
    assert "for k < m" not in text
    assert "over (rows, unmasked, d)" in text
    assert "over (rows, m, d)" not in text
    begins = "let unmasked: i64 = select((block == 0), m, (start + rows))"
    ends = "let unmasked: i64 = minimum(m, (start + rows))"
    assert (begins if "or = unless" in text else ends) in text


@pytest.mark.parametrize("name", KEPT)
def test_columns_that_make_a_difference_stay(name: str):
    assert without_masked_columns(KEPT[name]) == KEPT[name]


def test_what_others_see_is_computed_to_its_end():
    """Scores that are a result have all of their columns; what is made of them has not."""
    text = show(same(kernel(score(), WEIGHED, MEAN, results=("y", "s")), (2, 6)))
    assert "contract s[j k] = q[start:][j l] * r[k l] over (rows, m, d)" in text
    assert "contract y[start:][j l] = e[j k] * v[k l] over (rows, unmasked, d)" in text


# --- attention ----------------------------------------------------------------------------------------------


def places(length: int) -> tuple[Any, Any]:
    row = np.arange(length)
    return row[:, None], row


MASKS: dict[str, tuple[Callable[[Any, int], Any], bool]] = {
    "tril": (lambda s, n: np.where(np.tril(np.ones((n, n), bool)), s, -np.inf), True),
    "triu": (lambda s, n: np.where(np.triu(np.ones((n, n), bool), 1), -np.inf, s), True),
    "indices": (lambda s, n: np.where(places(n)[0] >= places(n)[1], s, -np.inf), True),
    "an added mask": (lambda s, n: s + np.where(places(n)[0] < places(n)[1], -np.inf, 0.0), True),
    "neighbours": (lambda s, n: np.where(places(n)[0] >= places(n)[1] - 1, s, -np.inf), False),
    "the future": (lambda s, n: np.where(places(n)[0] <= places(n)[1], s, -np.inf), False),
    "a large number": (lambda s, n: np.where(np.tril(np.ones((n, n), bool)), s, -1e9), False),
}


def attention(mask: Callable[[Any, int], Any]) -> Callable[..., Any]:
    def loss(q: Any, k: Any, v: Any) -> Any:
        scores = mask(q @ k.swapaxes(-1, -2), q.shape[-2])
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.square(powers / powers.sum(axis=-1, keepdims=True) @ v).sum()

    return loss


@pytest.mark.parametrize("shape", [(2, 7, 3), (7, 3)], ids=str)
@pytest.mark.parametrize("name", MASKS)
def test_masks_of_attention(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(join, "BLOCK_ROWS", 2)
    monkeypatch.setattr(join, "BLOCK_BYTES", 1)
    mask, half = MASKS[name]
    given = np.random.default_rng(3).standard_normal((3, *shape))
    loss: Any = gradc.differentiate(attention(mask), wrt=("q", "k", "v"))
    value, gradient = loss.value_and_grad(*given)
    kernel_ = loss.inspect(*given).stages.kernel
    assert ("unmasked" in show(kernel_)) == half, show(kernel_)
    wanted, of_wanted = loss.with_options(target="interpret").value_and_grad(*given)
    assert value == pytest.approx(wanted, rel=1e-12)
    for one, two in zip(gradient, of_wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)
    plain = loss.with_options(stabilise=False)
    assert "unmasked" not in show(plain.inspect(*given).stages.kernel)


def test_an_infinite_number_behind_the_mask_does_not_enter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(join, "BLOCK_ROWS", 2)
    monkeypatch.setattr(join, "BLOCK_BYTES", 1)
    q, k, v = np.random.default_rng(4).standard_normal((3, 6, 3))
    v[-1] = np.inf

    def means(q: Any, k: Any, v: Any) -> Any:
        scores = MASKS["tril"][0](q @ k.T, len(q))
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True) @ v

    found = gradc.differentiate(means)(q, k, v)
    assert np.isfinite(found[:4]).all()
    assert np.isinf(found[-1]).all()
