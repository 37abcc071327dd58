"""Whole modules for CUDA: what is said of a kernel beside its statements, and which sums round once."""

import importlib

import pytest
from tests.unit.loop.build import BOOL, F32, F64, I64
from tests.unit.loop.grid_build import THREAD

from gradc.codegen.numba_cuda import MODULES, module_text
from gradc.ir.index.calls import CALLS
from gradc.ir.loop.nodes import (
    AddTo,
    Allocate,
    Expr,
    Kernel,
    Launch,
    Let,
    Parameter,
    Share,
    Statement,
    Update,
    apply,
    load,
    number,
)
from gradc.ir.types import DType


def text_of(*body: Statement, threads: int = 256, dtype: DType = F64) -> str:
    """The module of one launch over ``x`` and ``y``."""
    parameters = (Parameter("x", dtype, 1), Parameter("y", dtype, 1))
    launch = Launch("elements_1", "block", "thread", number(1), threads, body)
    return module_text(Kernel("k", parameters, (launch,), ("y",)))


def at(tensor: str, dtype: DType = F64) -> Expr:
    return load(tensor, (THREAD,), dtype)


# --- sums ---------------------------------------------------------------------------------------------------


def sums(value: Expr, dtype: DType = F64) -> str:
    return text_of(Let("s", number(0, dtype)), Update("s", "sum", value), dtype=dtype)


def test_a_product_is_added_in_one_operation():
    assert "s = cuda.fma(x[thread] + 1.0, y[thread], s)" in sums(
        apply("mul", apply("add", at("x"), number(1.0, F64)), at("y"))
    )


def test_nothing_but_a_product_of_floats_is():
    assert "s = s + (x[thread] + y[thread])" in sums(apply("add", at("x"), at("y")))
    assert "s = s + x[thread] * y[thread]" in sums(apply("mul", at("x", I64), at("y", I64)), I64)


def test_an_element_that_grows_is_rounded_twice():
    """A cotangent to which what it holds is added with the other sign becomes 0, as on the CPU."""
    product = apply("mul", at("x"), at("x"))
    assert "y[thread] += x[thread] * x[thread]" in text_of(AddTo("y", (THREAD,), "sum", product))
    own = Allocate("own", F64, (number(8),), local=True)
    assert "own[0] += x[thread] * x[thread]" in text_of(own, AddTo("own", (number(0),), "sum", product))


def test_the_sums_of_a_tile_are_rounded_once():
    tile, own = Share("tile", F64, (2, 8)), Allocate("own", F64, (number(8),), local=True)
    product = apply("mul", load("tile", (number(0), number(1)), F64), at("x"))
    text = text_of(
        tile, own, AddTo("own", (number(0),), "sum", product), AddTo("y", (THREAD,), "sum", product)
    )
    assert "own[0] = cuda.fma(tile[0, 1], x[thread], own[0])" in text
    assert "y[thread] += tile[0, 1] * x[thread]" in text
    largest = text_of(tile, own, AddTo("own", (number(0),), "max", product))
    assert "own[0] = larger(own[0], tile[0, 1] * x[thread])" in largest


# --- heads --------------------------------------------------------------------------------------------------


def own_array(dtype: DType, *sizes: int) -> Allocate:
    return Allocate("own", dtype, tuple(map(number, sizes)), local=True)


@pytest.mark.parametrize(
    ("array", "threads", "bounds"),
    [
        (own_array(F32, 8, 8), 256, ", launch_bounds=(256, 2)"),
        (own_array(F64, 8, 4), 256, ", launch_bounds=(256, 2)"),
        (own_array(F32, 9, 7), 256, ""),
        (own_array(F64, 8), 256, ""),
        (own_array(F32, 8, 8), 32, ", launch_bounds=(32, 16)"),
        (own_array(F32, 8, 8), 1024, ", launch_bounds=(1024, 1)"),
    ],
)
def test_kernels_whose_threads_have_many_numbers_are_bound(array: Allocate, threads: int, bounds: str):
    assert f'@kernel("float64[::1]"{bounds})\n' in text_of(
        array, AddTo("y", (THREAD,), "sum", number(1.0, F64)), threads=threads
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "alignment"),
    [
        (F32, (16, 132), ", alignment=16"),
        (F32, (16, 130), ""),
        (F64, (16, 130), ", alignment=16"),
        (BOOL, (3, 32), ", alignment=16"),
        (F64, (256,), ""),
    ],
)
def test_rows_that_can_start_at_16_bytes_do(dtype: DType, shape: tuple[int, ...], alignment: str):
    name = "bool_" if dtype is BOOL else dtype.value
    size = f"({', '.join(map(str, shape))})" if len(shape) > 1 else str(*shape)
    assert f"tile = cuda.shared.array({size}, np.{name}{alignment})\n" in text_of(Share("tile", dtype, shape))


def test_every_name_a_module_may_import_exists():
    pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
    for module, names in MODULES.items():
        imported = importlib.import_module(f"gradc_runtime.{module}")
        assert [name for name in names if not hasattr(imported, name)] == []
    assert set(CALLS) <= {name for names in MODULES.values() for name in names}
