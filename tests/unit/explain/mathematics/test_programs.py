"""Programs and gradients as a person would write them."""

from typing import Any

import numpy as np
import pytest
from tests.unit.explain.mathematics import braces
from tests.unit.explain.mathematics.samples import SAMPLES, sample

import gradc
from gradc.autodiff.vjp import gradient
from gradc.errors import GradcWarning
from gradc.explain.mathematics.programs import MOST_LINES, gradient_latex, gradient_plain, latex, plain
from gradc.explain.mathematics.separate import floats


def shown(name: str) -> list[str]:
    program, _ = sample(name)
    return gradient_plain(program, floats(program)).splitlines()


def test_the_gradient_of_a_layer_reads_as_in_a_textbook():
    assert shown("network") == [
        "p_ik = Σ_j h_ij W_jk",
        "loss = Σ_ik (p_ik - y_ik)²",
        "∂loss/∂y_ik = -2 (p_ik - y_ik)",
        "∂loss/∂h_ij = Σ_k 2 (p_ik - y_ik) W_jk",
        "∂loss/∂W_jk = Σ_i 2 (p_ik - y_ik) h_ij",
    ]
    program, _ = sample("network")
    line = r"\frac{\partial \mathrm{loss}}{\partial W_{jk}} &= \sum_{i} 2 (p_{ik} - y_{ik}) h_{ij}"
    assert line in gradient_latex(program, ["W"])


def test_an_output_without_a_name_is_called_l():
    assert shown("circuit") == ["L = (x + y) z", "∂L/∂z = x + y", "∂L/∂x = z", "∂L/∂y = z"]


def test_contributions_to_one_tensor_are_one_line():
    assert shown("twice")[-1] == "∂L/∂x = cos(x) + 2 x"
    assert shown("where") == [
        "L = Σ_i {x_i if x_i > 0; 0.1 x_i otherwise}",
        "∂L/∂x_i = {1 if x_i > 0; 0.1 otherwise}",
    ]


def test_contributions_at_shifted_places_are_added_up():
    lines = shown("convolution")
    assert lines[0] == "y_irs = Σ_jkl w_ijkl x_{j,r+k,s+l}"
    assert lines[-1] == "∂L/∂x_{j,r+k,s+l} += 2 y_irs w_ijkl"


def test_matrix_equations_are_written_with_inverses():
    lines = shown("solve")
    assert lines[0] == "v2 = a⁻¹ b"
    assert "v7 = a⁻ᵀ (∂L/∂v2)" in lines
    assert "∂L/∂a_ij = -v7_i v2_j" in lines


def test_the_two_spellings_of_tanh_are_one():
    program, _ = gradc.differentiate(lambda x: np.tanh(x)).at(0.5).program_and_inputs()
    assert gradient_plain(program, ["x"]) == "L = tanh(x)\n∂L/∂x = 1 - L²\n"


def test_several_outputs_have_cotangents_with_bars():
    program, _ = gradc.differentiate(lambda x, w: w @ x).at(np.ones(3), np.ones((2, 3))).program_and_inputs()
    lines = gradient_plain(program, ["w"]).splitlines()
    assert lines[-1] == "w̄_ji = v1_bar_j x_i" or lines[-1].startswith("w̄_")


def test_a_variable_called_i_is_no_index():
    def loss(i: np.ndarray) -> np.ndarray:
        return np.square(i).sum()

    program, _ = gradc.differentiate(loss).at(np.ones(3)).program_and_inputs()
    assert gradient_plain(program, ["i"]) == "L = Σ_j i_j²\n∂L/∂i_j = 2 i_j\n"


def test_what_does_not_matter_has_a_zero_gradient():
    with pytest.warns(GradcWarning):
        program, _ = gradc.differentiate(lambda x, y: x * 2).at(1.0, 2.0).program_and_inputs()
    assert gradient_plain(program, ["x", "y"]).splitlines()[1:] == ["∂L/∂x = 2", "∂L/∂y = 0"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_well_formed(name: str):
    program, _ = sample(name)
    wrt = floats(program)
    derived = gradient(program, wrt)
    for text in (gradient_latex(program, wrt), latex(derived), latex(derived, full=True)):
        braces.check(text)
    assert len(plain(derived, full=True).splitlines()) >= len(derived.equations)
    text = gradient_plain(program, wrt)
    for tensor in wrt:
        assert f"/∂{tensor}" in text


def test_the_full_form_has_a_line_per_equation():
    program, _ = sample("neuron")
    assert plain(program, full=True).splitlines() == [
        "v1 = w0 x0",
        "v2 = w1 x1",
        "v3 = v1 + v2",
        "v4 = v3 + w2",
        "v5 = -v4",
        "v6 = exp(v5)",
        "v7 = 1 + v6",
        "L = 1 / v7",
    ]


def test_a_line_does_not_grow_without_bound():
    def nested(x: Any) -> Any:
        return np.sin(np.cos(np.tanh(nested_deeper(x) * 3 - 1) * 2 - 7) / 5 + 4)

    def nested_deeper(x: Any) -> Any:
        return np.exp(np.sin(np.cos(np.exp(x * 3 - 1) * 2 - 7) / 5 + 4) * 3 - 1)

    program, _ = gradc.differentiate(nested).at(0.5).program_and_inputs()
    lines = plain(program).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) < 70
    assert len(gradient_plain(program, ["x"]).splitlines()) < MOST_LINES


def test_gradients_of_named_variables_have_lines_of_their_own():
    def loss(x: Any, V: Any, W: Any) -> Any:
        h = np.tanh(x @ V)
        return np.square(h @ W).sum()

    program, _ = (
        gradc.differentiate(loss).at(np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 5))).program_and_inputs()
    )
    lines = gradient_plain(program, ["V"]).splitlines()
    assert lines[0] == "h_ik = tanh(Σ_j x_ij V_jk)"
    assert "∂L/∂h_ik = Σ_l 2 v2_il W_kl" in lines
    assert lines[-1] == "∂L/∂V_jk = Σ_i (∂L/∂h_ik) (1 - h_ik²) x_ij"


def test_guards_against_infinities_are_not_shown():
    assert shown("cross entropy")[-2] == "∂L/∂z_ij = ∂L/∂logp_ij - (Σ_k ∂L/∂logp_ik) exp(z_ij) / v5_i"


@pytest.mark.parametrize("name", ["untaken", "overflow", "where"])
def test_the_program_stands_as_it_was_written(name: str):
    program, _ = sample(name)
    assert gradient_plain(program, floats(program)).startswith(
        plain(program).replace("v4 = ", "L = ").replace("v3 = ", "L = ")
    )
