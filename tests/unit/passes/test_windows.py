"""Which sums into windows that overlap become sums for each place, and that these have the same values."""

import numpy as np
import pytest

from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Access, Index, Program, affine
from gradc.ir.index.show import show_equation
from gradc.ir.index.templates import template
from gradc.ir.index.verify import verify
from gradc.ir.types import DType
from gradc.passes.equations.gather import gather
from gradc.passes.equations.windows import without_overlaps

F64 = DType.F64
N, M = symbol("n"), symbol("m")
DEPTHWISE = ((N, M, 4, 3), (0, affine({1: 1, 3: 1}, 0), 2), (0, 1, 2), (2, 3))


def scattered(
    space: tuple[Size, ...], target: tuple[Index, ...], y: tuple[Index, ...], w: tuple[Index, ...], size: Size
) -> Program:
    """``x[target] += y[...] * w[...]``, with `size` places along the second axis of the result."""
    build = Builder()
    shapes = [tuple(space[index] for index in read if isinstance(index, int)) for read in (y, w)]
    factors = [build.input(name, F64, shape) for name, shape in zip("yw", shapes, strict=True)]
    shape = tuple(space[i] if isinstance(i, int) else size for i in target)
    x = build.declare("x", F64, shape)
    reads = (Access(factors[0], y), Access(factors[1], w))
    build.accumulate(x, template("mul"), reads, space, target)
    return verify(build.finish((x,)))


def test_the_input_gradient_of_a_depthwise_convolution_is_summed_for_each_place():
    program = scattered(*DEPTHWISE, M + 2)
    found = verify(without_overlaps(program))
    assert [show_equation(equation) for equation in found.equations] == [
        "y_around[i, j + 2, k] += y[i, j, k]",
        "x[i, j, k] += y_around[i, j - l + 2, k] * w[k, l]",
    ]
    rng = np.random.default_rng(1)
    given = {"y": rng.normal(size=(2, 5, 4)), "w": rng.normal(size=(4, 3))}
    np.testing.assert_allclose(evaluate(found, given)[0], evaluate(program, given)[0], rtol=1e-14)


def test_what_is_summed_for_each_place_is_assigned():
    assert show_equation(gather(scattered(*DEPTHWISE, M + 2)).equations[1]) == (
        "x[i, j, k] = sum[l] y_around[i, j - l + 2, k] * w[k, l]"
    )


def test_windows_along_two_axes_of_which_one_is_dilated():
    target = (0, affine({1: 1, 3: 2}, 0), affine({2: 1, 4: 1}, 0), 5)
    program = Builder()
    y, w = program.input("y", F64, (N, 6, M, 4)), program.input("w", F64, (4, 3, 2))
    x = program.declare("x", F64, (N, 10, M + 1, 4))
    reads = Access(w, (5, 3, 4)), Access(y, (0, 1, 2, 5))
    program.accumulate(x, template("mul"), reads, (N, 6, M, 3, 2, 4), target)
    before = program.finish((x,))
    after = verify(without_overlaps(before))
    assert [show_equation(equation) for equation in after.equations] == [
        "y_around[i, j + 4, k + 1, l] += y[i, j, k, l]",
        "x[i, j, k, q] += w[q, l, p] * y_around[i, j - 2*l + 4, k - p + 1, q]",
    ]
    rng = np.random.default_rng(1)
    given = {"y": rng.normal(size=(2, 6, 3, 4)), "w": rng.normal(size=(4, 3, 2))}
    np.testing.assert_allclose(evaluate(after, given)[0], evaluate(before, given)[0], rtol=1e-14)


def test_the_longer_factor_of_a_window_and_its_way_gets_the_zeros():
    _, target, y, w = DEPTHWISE
    assert [
        show_equation(e) for e in without_overlaps(scattered((N, 2, 4, 3), target, y, w, 4)).equations
    ] == [
        "w_around[i, j + 1] += w[i, j]",
        "x[i, l, k] += y[i, j, k] * w_around[k, -j + l + 1]",
    ]


STAYS = {
    "windows that move by two": ((N, M, 4, 3), (0, affine({1: 2, 3: 1}, 0), 2), (0, 1, 2), (2, 3), 2 * M + 1),
    "places behind the last window": (*DEPTHWISE, M + 3),
    "long windows": ((N, M, 4, 9), (0, affine({1: 1, 3: 1}, 0), 2), (0, 1, 2), (2, 3), M + 8),
    "windows of one element": ((N, M, 4, 1), (0, affine({1: 1, 3: 1}, 0), 2), (0, 1, 2), (2, 3), M),
    "no channels": ((M, N, 3), (1, affine({0: 1, 2: 1}, 0)), (1, 0), (2,), M + 2),
    "matrix products": (
        *((N, M, 2, 3, 64, 64), (0, affine({1: 1, 3: 1}, 0), 2, 4)),
        *((0, 1, 2, 5), (2, 5, 4, 3)),
        M + 2,
    ),
    "both factors move": ((N, M, 4, 3), (0, affine({1: 1, 3: 1}, 0), 2), (0, 1, 2), (2, 3, 1), M + 2),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays(name):
    program = scattered(*STAYS[name])
    assert without_overlaps(program).equations == program.equations


def test_a_tensor_with_another_contribution_stays():
    build = Builder()
    space, target, y, w = DEPTHWISE
    names = build.input("y", F64, (N, M, 4)), build.input("w", F64, (4, 3))
    x = build.declare("x", F64, (N, M + 2, 4))
    reads = Access(names[0], y), Access(names[1], w)
    for _ in range(2):
        build.accumulate(x, template("mul"), reads, space, target)
    program = build.finish((x,))
    assert without_overlaps(program).equations == program.equations
