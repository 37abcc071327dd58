"""What the derivatives read of the function's own values, and how it gets there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.explain.figures import MOST_ROWS
from gradc.explain.kernels.residuals import Residual, derivative_tensors, residuals, show_residuals
from gradc.ir.loop.nodes import Allocate
from gradc.ir.loop.walk import every
from gradc.ir.stages import Stages

rng = np.random.default_rng(5)


def vector(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def stages_of(function: Callable[..., Any], *arguments: Any, of: str = "value_and_grad") -> Stages:
    return gradc.differentiate(function).at(*arguments).inspect(of).stages


def found(stages: Stages) -> dict[str, Residual]:
    return {row.name: row for row in residuals(stages)}


def network(w1, w2, x):
    h = np.tanh(x @ w1)
    return np.square(h @ w2).sum()


def attention(q, k, v):
    s = np.einsum("bip,bjp->bij", q, k)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    a = e / e.sum(axis=-1, keepdims=True)
    return np.square(np.einsum("bij,bjp->bip", a, v)).sum()


def test_a_value_that_one_loop_makes_and_reads_stays_in_a_register():
    rows = found(stages_of(lambda x: np.tanh(np.exp(x)).sum(), vector(5)))
    assert {row.how for row in rows.values()} == {"register"}
    assert all(row.bytes == "" and row.array == "" for row in rows.values())


def test_a_hidden_layer_is_kept_in_an_array_of_its_size():
    rows = found(stages_of(network, vector(3, 4), vector(4, 2), vector(5, 3)))
    assert (rows["h"].how, rows["h"].array, rows["h"].type) == ("array", "h", "f64[x_n0, w1_n1]")
    assert rows["h"].bytes == "8*x_n0*w1_n1"
    assert "w2_bar" in rows["h"].readers


def test_float32_takes_half_the_bytes():
    arguments = [vector(*shape).astype(np.float32) for shape in ((3, 4), (4, 2), (5, 3))]
    assert found(stages_of(network, *arguments))["h"].bytes == "4*x_n0*w1_n1"


def test_what_is_cheap_is_computed_again():
    rows = found(stages_of(lambda x: np.square(x - x.mean()).sum(), vector(5)))
    assert [row.how for row in rows.values() if row.type.endswith("[x_n0]")] == ["recomputed"]


def test_what_blocks_of_rows_keep_counts_once_for_every_thread():
    stages = stages_of(attention, *(vector(4, 200, 32) for _ in range(3)))
    rows = found(stages)
    assert rows["e"].bytes == "8*threads*height*k_n1"
    made = {s.tensor for s in every(stages.kernel.body) if isinstance(s, Allocate)}
    assert {row.array for row in rows.values() if row.how == "array"} <= made


def test_a_value_has_no_residuals_and_a_second_derivative_has():
    assert residuals(stages_of(network, vector(3, 4), vector(4, 2), vector(5, 3), of="value")) == ()
    rows = found(stages_of(lambda x: np.exp(np.sin(x)).sum(), vector(5), of="hessian"))
    assert rows
    assert not any(reader in rows for row in rows.values() for reader in row.readers)


def test_arguments_are_no_residuals_and_are_named():
    stages = stages_of(lambda x, y: (x * y).sum(), vector(5), vector(5))
    assert residuals(stages) == ()
    assert show_residuals(stages).splitlines()[-1] == "They also read the arguments x, y."


@pytest.mark.parametrize("of", ["value_and_grad", "grad", "hessian"])
def test_a_name_that_looks_like_a_cotangent_is_the_functions_own(of: str):
    def function(x):
        mean_bar = np.exp(x)
        return np.square(mean_bar).sum()

    stages = stages_of(function, vector(5), of=of)
    assert "mean_bar" not in derivative_tensors(stages)
    assert "mean_bar" in found(stages)


def test_winners_of_a_maximum_are_values_of_the_function():
    stages = stages_of(lambda x: (x * x).max(), vector(5))
    derived = derivative_tensors(stages)
    names = {name for name in stages.optimised.types if name not in stages.stable.types} - derived
    assert any(stages.optimised.types[name].dtype.is_bool for name in names)


def test_a_cotangent_without_a_name_of_one_belongs_to_the_derivative():
    def function(x):
        one_name_that_has_so_many_characters_that_no_suffix_finds_room_ = np.exp(x)
        two_name_that_has_so_many_characters_that_no_suffix_finds_room_ = np.square(
            one_name_that_has_so_many_characters_that_no_suffix_finds_room_
        )
        six_name_that_has_so_many_characters_that_no_suffix_finds_room_ = (
            two_name_that_has_so_many_characters_that_no_suffix_finds_room_.sum()
        )
        return six_name_that_has_so_many_characters_that_no_suffix_finds_room_

    stages = stages_of(function, vector(5))
    assert not any("_bar" in name for name in set(stages.adjoint.types) - {"x_bar"})
    own = set(stages.optimised.types) - derivative_tensors(stages)
    assert own <= set(stages.stable.types)


def test_the_table_adds_up_the_arrays():
    text = show_residuals(stages_of(network, vector(3, 4), vector(4, 2), vector(5, 3)))
    assert "3 arrays of 16*w1_n1*x_n0 + 8*w2_n1*x_n0 bytes together." in text  # v1 or v2, h and the outputs
    assert "kept as" in text.splitlines()[2]


@pytest.mark.parametrize("of", ["value_and_grad", "grad"])
def test_a_part_of_a_cotangent_that_a_pass_splits_off_reads_no_cotangent_and_belongs_to_the_derivative(
    of: str,
):
    stages = stages_of(lambda x, y: np.sin(x * y) + np.exp(x) / y, 0.5, 1.5, of=of)
    own = set(stages.optimised.types) - derivative_tensors(stages)
    assert own <= set(stages.stable.types)
    late = set(stages.optimised.types) - set(stages.adjoint.types)
    assert late <= derivative_tensors(stages)
    assert late


def test_tangents_whose_seeds_are_gone_belong_to_the_derivative():
    stages = stages_of(lambda x: np.exp(np.sin(x)).sum(), vector(5), of="hessian")
    dots = {name for name in stages.optimised.types if "_dot" in name}
    assert dots
    assert dots <= derivative_tensors(stages)


def test_a_copy_of_an_argument_in_another_order_is_no_derivative():
    convolution = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")
    stages = stages_of(
        lambda w, x: np.tanh(convolution(w=w, x=x)).sum(), vector(8, 4, 3, 3), vector(6, 4, 20, 20)
    )
    assert found(stages)["x_last"].how == "array"


def test_of_very_many_residuals_the_middle_is_left_out():
    def chain(x):
        for _ in range(MOST_ROWS + 50):
            x = np.sin(x)
        return x

    stages = gradc.differentiate(chain).at(0.5).inspect().stages
    left_out = len(residuals(stages)) - MOST_ROWS
    assert left_out > 0
    lines = show_residuals(stages).splitlines()
    assert f"  ... {left_out} values left out ..." in lines
    assert len(lines) < MOST_ROWS + 20
