"""The operations of the table as launches: thread by thread in the interpreter, which finds races."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.numeric.table.operations import Row, family_function
from tests.numeric.table.sweep import close
from tests.numeric.table.test_interpreted import FIRST, REST

from gradc import differentiate
from gradc.api.differentiated import Differentiated
from gradc.api.variant import Variant
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.nodes import Kernel
from gradc.ir.loop.verify import verify
from gradc.pipeline import Derivation

EVERY = 3  # rows of the table from one that runs every time to the next
LIMIT = 10**9
TOLERANCE = {np.float64: 1e-10, np.float32: 3e-4}
CELLS = [
    pytest.param(row, dtype, id=f"{row.name}-{dtype.__name__}", marks=() if is_run else pytest.mark.full)
    for at, row in enumerate((*FIRST, *REST))
    for dtype in TOLERANCE
    if (is_run := at < len(FIRST) and at % EVERY == 0 and dtype is np.float64) or True
]


def launched(
    function: Differentiated, arguments: list[Any], *, into: bool = False
) -> tuple[Kernel, list[Any]]:
    """The kernel of a value and its gradient, and what it takes but for arrays that gradients go to."""
    variant, values, _ = function._prepare(tuple(arguments), {})
    assert isinstance(variant, Variant)
    leaves = function._leaves(variant)
    stages = variant.compiled(Derivation("value_and_grad", variant.gradient_inputs(leaves), into=into))
    return verify(stages.kernel), variant.inputs(values)


@pytest.mark.parametrize(("row", "dtype"), CELLS)
@pytest.mark.filterwarnings("ignore:f does not depend on")
def test_launches_compute_what_the_program_says(row: Row, dtype: Any):
    arguments = row.inputs(dtype)
    if not row.accepts(arguments):
        pytest.skip("NumPy refuses this call")
    function = family_function("f", (row,))
    expected = differentiate(function, target="interpret").value_and_grad(*arguments)
    kernel, values = launched(differentiate(function, target="cuda"), arguments)
    inputs = {p.name: value for p, value in zip(kernel.parameters, values, strict=True)}
    gradients = expected[1] if isinstance(expected[1], tuple) else (expected[1],)
    wanted = [expected[0], *(one for one in gradients if one is not None)]
    tolerance = TOLERANCE[np.float32 if "float32" in row.name else dtype]
    for one, two in zip(wanted, evaluate(kernel, inputs, limit=LIMIT), strict=True):
        close(np.asarray(two).reshape(np.shape(one)), one, tolerance)
