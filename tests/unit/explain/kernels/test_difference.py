"""Two compilations side by side."""

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError
from gradc.explain.kernels.difference import STAGES, difference

X = np.linspace(-1.0, 1.0, 7)


def softmax(x):
    e = np.exp(x)
    return (e / e.sum() * x).sum()


def stages_of(x: Any = X, of: str = "value_and_grad", **options: Any) -> Any:
    return gradc.differentiate(softmax).with_options(**options).at(x).inspect(of).stages


def table(text: str) -> dict[str, str]:
    rows = text.partition("\n\n")[0].splitlines()
    return {row[:18].strip(): row[18:].strip() for row in rows}


@pytest.mark.parametrize("stage", STAGES)
def test_a_compilation_differs_in_nothing_from_itself(stage: str):
    stages = stages_of()
    assert difference(stages, stages, stage).endswith(f"The text of {stage} is the same.\n")


def test_two_options_differ_in_their_rewrites_and_in_the_text():
    text = difference(stages_of(), stages_of(stabilise=False), names=("stable", "as written"))
    assert table(text)["rewrites"].split() == ["1", "0"]
    assert "--- stable source" in text
    assert any(line.startswith("-") and "larger(" in line for line in text.splitlines())


def test_the_head_of_a_module_and_the_name_of_the_kernel_are_left_out():
    text = difference(stages_of(), stages_of(of="grad"))
    assert "gradc 0" not in text
    assert "softmax_" not in text
    assert " def kernel(x):" in difference(stages_of(), stages_of(stabilise=False))


def test_wider_columns_are_no_difference():
    one, two = stages_of(), stages_of(of="grad")
    text = difference(
        one, two, "t", text=lambda s: "  a = b  : f64\n" if s is one else "  a = b      : f64\n"
    )
    assert text.endswith("The text of t is the same.\n")


def test_formulas_stand_where_the_extents_are_the_same():
    same = difference(stages_of(), stages_of(X.astype(np.float32)), "program")
    assert "200*x_n0" in table(same)["bytes, one by one"]
    other = gradc.differentiate(lambda y: np.exp(y).sum()).at(X).inspect("value").stages
    assert "operations" not in table(difference(stages_of(), other, "program"))


def test_the_text_may_come_from_the_caller():
    one, two = stages_of(), stages_of(of="grad")
    text = difference(one, two, "asm", ("a", "b"), lambda stages: "x\n" if stages is one else "y\n")
    assert text.endswith("--- a asm\n+++ b asm\n@@ -1 +1 @@\n-x\n+y\n")


def test_a_stage_that_is_none_is_refused():
    with pytest.raises(ArgumentError, match="no text of the stage 'poem'"):
        difference(stages_of(), stages_of(), "poem")
