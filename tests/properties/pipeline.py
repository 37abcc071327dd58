"""The back half of the pipeline on one program: every stage run and compared with the one before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from gradc.codegen.numba_cpu import module_text
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.loop import evaluate as loops
from gradc.ir.loop.nodes import Kernel
from gradc.ir.loop.verify import verify as verify_kernel
from gradc.lowering.nest import lower
from gradc.schedule.fuse import fuse

Compare = Callable[[object, object, str], None]


def same_numbers(got: object, expected: object, where: str) -> None:
    """Equal shapes, dtypes and numbers; the sign of zero may depend on the order of a sum."""
    assert np.asarray(got).dtype == np.asarray(expected).dtype, where
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected), err_msg=where)


def within(rtol: float) -> Compare:
    """Equal up to rounding: for sums in another order, and functions that have another implementation."""

    def compare(got: object, expected: object, where: str) -> None:
        size = np.abs(np.asarray(expected, float)).max(initial=1.0)
        np.testing.assert_allclose(
            np.asarray(got, float), np.asarray(expected, float), rtol=rtol, atol=rtol * size, err_msg=where
        )

    return compare


def kernel_of(program: Program) -> Kernel:
    """The verified kernel of a program."""
    return verify_kernel(lower(program, fuse(program), name="kernel"))


def plain_function(kernel: Kernel) -> Callable[..., tuple]:
    """The printed module's function, as plain Python."""
    namespace: dict = {}
    exec(compile(module_text(kernel), "<kernel>", "exec"), namespace)

    def run(*arguments: object) -> tuple:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = namespace[kernel.name](*arguments)
        return found if isinstance(found, tuple) else (found,)

    return run


def arguments_of(program: Program, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Arrays of the declared dtypes, scalars as NumPy numbers."""
    return [np.asarray(inputs[name], program.types[name].dtype.numpy)[()] for name in program.inputs]


def check_back_end(
    program: Program, inputs: Mapping[str, np.ndarray], compare: Compare = same_numbers
) -> None:
    """Index interpreter, loop interpreter and printed Python agree."""
    kernel, arguments = kernel_of(program), arguments_of(program, inputs)
    expected = evaluate(program, inputs)
    by_loops = loops.evaluate(kernel, dict(zip(program.inputs, arguments, strict=True)))
    printed = plain_function(kernel)(*arguments)
    for name, one, two, three in zip(program.outputs, expected, by_loops, printed, strict=True):
        assert two.dtype == program.types[name].dtype.numpy, name
        compare(two, one, f"{name} by loops")
        compare(np.asarray(three, np.asarray(two).dtype), two, f"{name} printed")  # numbers may be Python's
