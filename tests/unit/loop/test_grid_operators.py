"""What scalars of the loop IR mean."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.loop.build import BOOL, F32, F64

from gradc.errors import CompilerBug
from gradc.ir.functions import FUNCTIONS
from gradc.ir.loop.evaluate import evaluate
from gradc.ir.loop.meaning import OPERATORS, function, spelled
from gradc.ir.loop.nodes import Kernel, Let, Parameter, applied, load, number, var


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.bool_])
def test_operators_have_the_bits_of_numpy(name: str, dtype: type):
    """On scalars the operators that the interpreter calls are the functions that the inventory spells."""
    if dtype is np.bool_ and name in ("sub", "neg", "floor_divide", "mod"):
        return  # NumPy has none, or one of int8
    special: list[float] = [0, 1, -1, 2, 7, -7, 100]
    if np.issubdtype(dtype, np.floating):
        special += [-0.0, 0.5, 1e-40, 3e38, np.inf, -np.inf, np.nan]
    elif dtype in (np.int32, np.int64):
        limits = np.iinfo(np.int32 if dtype is np.int32 else np.int64)
        special += [limits.max, limits.min]
    numbers = np.array(special, dtype)
    with np.errstate(all="ignore"):
        for left in numbers:
            for right in numbers if FUNCTIONS[name].arity == 2 else numbers[:1]:
                given = (left, right)[: FUNCTIONS[name].arity]
                fast, slow = function(name)(*given), spelled(name)(*given)
                assert (fast.dtype, fast.tobytes()) == (slow.dtype, slow.tobytes()), given


WRONG = {
    "variable": (var("v", F32), "v is float64, not float32"),
    "element": (load("x", (number(0),), F32), r"x\[0\] is float64, not float32"),
    "result": (applied("exp", (var("v", F64),), F32), r"exp\(v\) is float64, not float32"),
    "choice": (
        applied("select", (number(True, BOOL), var("v", F64), var("v", F64)), F32),
        "is float64, not float32",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_of_another_dtype_is_a_bug(case: str):
    expression, message = WRONG[case]
    kernel = Kernel("k", (Parameter("v", F64, 0), Parameter("x", F64, 1)), (Let("y", expression),), ("y",))
    with pytest.raises(CompilerBug, match=message):
        evaluate(kernel, {"v": 1.0, "x": np.ones(1)})


@pytest.mark.parametrize("place", [(), (number(0), number(0))])
def test_an_element_at_too_many_or_too_few_places_is_a_bug(place: tuple):
    kernel = Kernel("k", (Parameter("x", F64, 1),), (Let("y", load("x", place, F64)),), ("y",))
    with pytest.raises(CompilerBug, match="is outside shape"):
        evaluate(kernel, {"x": np.ones(1)})
