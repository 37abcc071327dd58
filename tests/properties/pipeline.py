"""The back half of the pipeline on one program: every stage run and compared with the one before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gradc.codegen.numba_cpu import module_text
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.loop import evaluate as loops
from gradc.ir.loop.nodes import Allocate, CheckIndices, Kernel, Library, Parameter, Product, number
from gradc.ir.loop.verify import verify as verify_kernel
from gradc.ir.loop.workspace import workspace, workspace_bytes
from gradc.ir.types import FROM_NUMPY
from gradc.lowering.nest import lower
from gradc.passes.loops.into import into
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
    """Index interpreter, loop interpreter and printed Python agree, the latter also on arrays of the caller's."""
    kernel, arguments = kernel_of(program), arguments_of(program, inputs)
    expected = evaluate(program, inputs)
    by_loops = loops.evaluate(kernel, dict(zip(program.inputs, arguments, strict=True)))
    printed = plain_function(kernel)(*arguments)
    for name, one, two, three in zip(program.outputs, expected, by_loops, printed, strict=True):
        assert two.dtype == program.types[name].dtype.numpy, name
        compare(two, one, f"{name} by loops")
        compare(np.asarray(three, np.asarray(two).dtype), two, f"{name} printed")  # numbers may be Python's
    check_in_place(kernel, dict(zip(program.inputs, arguments, strict=True)), by_loops, printed)
    check_workspace(kernel, dict(zip(program.inputs, arguments, strict=True)))


def check_workspace(kernel: Kernel, inputs: Mapping[str, np.ndarray]) -> None:
    """Kept to the end, the arrays that a kernel makes need the bytes that they have when it runs."""
    made = [s.tensor for s in kernel.body if isinstance(s, Allocate)]
    made += [s.out for s in kernel.body if isinstance(s, Product)]
    made += [name for s in kernel.body if isinstance(s, Library) for name in s.outs]
    found = loops.evaluate(replace(kernel, results=tuple(made)), inputs)
    held = (*kernel.body, *(CheckIndices(name, number(1)) for name in made))
    total = workspace(replace(kernel, body=held, results=()), inputs)
    assert total.bytes == sum(array.nbytes for array in found if np.ndim(array))
    assert total.arrays == sum(np.ndim(array) > 0 for array in found)
    assert workspace_bytes(kernel, inputs) <= total.bytes


def check_in_place(
    kernel: Kernel, inputs: Mapping[str, np.ndarray], by_loops: Sequence[object], printed: Sequence[object]
) -> None:
    """The kernel that writes its arrays to those of the caller gives the same bits, either way."""
    shapes = {name: np.asarray(value) for name, value in zip(kernel.results, by_loops, strict=True)}
    outs = [
        Parameter(name, FROM_NUMPY[value.dtype], value.ndim) for name, value in shapes.items() if value.ndim
    ]
    changed = verify_kernel(into(kernel, outs))
    written = [parameter.name for parameter in changed.parameters if parameter.written]
    for way, results in (("by loops", by_loops), ("printed", printed)):
        given = [np.full_like(shapes[out.name], 7) for out in outs]
        everything = {**inputs, **dict(zip(written, given, strict=True))}
        if way == "printed":
            plain_function(changed)(*everything.values())
        else:
            loops.evaluate(changed, everything)
        expected = dict(zip(kernel.results, results, strict=True))
        for out, array in zip(outs, given, strict=True):
            assert array.tobytes() == np.asarray(expected[out.name]).tobytes(), f"{out.name} in place {way}"
