"""Derivations: numbers of the lecture, local rules, sums of contributions."""

import numpy as np
import pytest
from tests.unit.explain.mathematics import braces
from tests.unit.explain.mathematics.samples import SAMPLES, sample

import gradc
from gradc.autodiff.rules import PREDICATES
from gradc.explain.gates import gates
from gradc.explain.mathematics.derivation import derivation, local_rule
from gradc.explain.mathematics.separate import operands_of
from gradc.explain.mathematics.showing import show_derivation
from gradc.ir.functions import FUNCTIONS
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access
from gradc.ir.types import DType


def test_the_neuron_of_the_lecture():
    steps = derivation(*sample("neuron")).steps
    assert [step.gate for step in steps] == ["v8", "v7", "v6", "v5", "v4", "v3", "v2", "v1"]
    upstream = {step.gate: round(float(step.upstream), 2) for step in steps}
    assert upstream == {
        "v8": 1,
        "v7": -0.53,
        "v6": -0.53,
        "v5": -0.2,
        "v4": 0.2,
        "v3": 0.2,
        "v2": 0.2,
        "v1": 0.2,
    }
    found = {part.operand: round(float(part.total), 2) for step in steps for part in step.contributions}
    wanted = {"w0": -0.2, "x0": 0.39, "w1": -0.39, "x1": -0.59, "w2": 0.2}
    assert {name: found[name] for name in wanted} == wanted
    assert all(step.replaced for step in steps[:4])
    assert not any(step.replaced for step in steps[4:])


def test_a_contribution_is_upstream_times_local():
    for step in derivation(*sample("neuron")).steps:
        for part in step.contributions:
            assert part.value == pytest.approx(step.upstream * part.local_value, rel=1e-14)


def test_sums_of_contributions_are_shown():
    text = show_derivation(derivation(*sample("twice")))
    assert "∂v2/∂x = cos(x) = -0.989992   ∂L/∂x = 1 · (-0.989992) = -0.989992" in text
    assert "operand 1: ∂v1/∂x = x = 3   adds 1 · 3 = 3" in text
    assert "∂L/∂x = -0.989992 + 3 = 2.01001" in text
    assert "∂L/∂x = 2.01001 + 3 = 5.01001" in text


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_ends_in_its_gradient(name: str):
    program, inputs = sample(name)
    found = derivation(program, inputs)
    totals = {part.operand: part.total for step in found.steps for part in step.contributions}
    for gate in gates(program, inputs):
        if gate.name in totals:
            np.testing.assert_allclose(totals[gate.name], gate.gradient, rtol=1e-12, atol=1e-14)
        else:
            assert gate.gradient is None or gate.name == program.outputs[0]
    assert show_derivation(found)
    braces.check(show_derivation(found, "latex"))


ONE_PER_GATE = {
    "exp": "∂L/∂a = L",
    "mul": "∂L/∂a = b",
    "div": "∂L/∂a = 1 / b",
    "tanh": "∂L/∂a = 1 - L²",
    "log": "∂L/∂a = 1 / a",
    "sqrt": "∂L/∂a = 1 / (2 L)",
    "expit": "∂L/∂a = L σ(-a)",
    "square": "∂L/∂a = 2 a",
    "sin": "∂L/∂a = cos(a)",
    "erf": "∂L/∂a = 2 exp(-a²) / √(π)",
    "hypot": "∂L/∂a = {0 if L = 0; a / L otherwise}",
    "floor": "∂L/∂a = 0",
    "exp2": "∂L/∂a = log(2) L",
    "maximum": "∂L/∂a = {0 if a < b; 1 if b < a; 1 / 2 otherwise}",
}


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - set(PREDICATES) - {"select"}))
def test_a_local_rule(name: str):
    builder = Builder("f")
    operands = [builder.input(letter, DType.F64, ()) for letter in "abc"[: FUNCTIONS[name].arity]]
    out = builder.assign(name, tuple(Access(operand, ()) for operand in operands), (), DType.F64)
    program = builder.finish((out,))
    for position, operand in enumerate(operands):
        rule = local_rule(program.equations[0], position, program)
        assert rule.plain.startswith(f"∂L/∂{operand} = ")
        braces.check(rule.latex)
    if name in ONE_PER_GATE:
        assert local_rule(program.equations[0], 0, program).plain == ONE_PER_GATE[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_gate_of_every_sample_has_a_rule(name: str):
    program, _ = sample(name)
    for equation in program.equations:
        for position, tensor in operands_of(equation):
            if program.types[tensor].dtype.is_float:
                braces.check(local_rule(equation, position, program).latex)


def test_what_a_matrix_gets():
    program, _ = sample("solve")
    number, equation = next((n, e) for n, e in enumerate(program.equations) if len(list(operands_of(e))) == 2)
    assert [local_rule(equation, at, program).plain for at in range(2)] == [
        "∂L/∂a = -a⁻ᵀ (∂L/∂v2) v2ᵀ",
        "∂L/∂v1 = a⁻ᵀ (∂L/∂v2)",
    ]
    assert number == 1


def test_arrays_have_shapes_instead_of_numbers():
    lines = show_derivation(derivation(*sample("network"))).splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert "∂p_ik/∂W_jk = h_ij" in words
    assert any(line.startswith("∂loss/∂W_jk = Σ_i (∂loss/∂p_ik) h_ij [") for line in words)
    assert any(line.startswith("upstream ∂loss/∂p [4, 2] from ") for line in words)


def test_an_element_that_is_read_often_gets_a_sum():
    parts = {
        part.operand: part for step in derivation(*sample("convolution")).steps for part in step.contributions
    }
    assert str(parts["x"].formula) == "∂L/∂x_{j,r+k,s+l} += Σ_i (∂L/∂y_irs) w_ijkl"
    assert str(parts["w"].formula) == "∂L/∂w_ijkl = Σ_rs (∂L/∂y_irs) x_{j,r+k,s+l}"


def test_the_gradient_of_the_output_is_not_a_factor():
    first, second, *_ = derivation(*sample("neuron")).steps
    assert [str(part.formula) for part in first.contributions] == ["∂L/∂v7 = -L / v7"]
    assert [str(part.formula) for part in second.contributions] == ["∂L/∂v6 = ∂L/∂v7"]


def test_many_gates_lose_the_middle_and_keep_their_sums():
    def chain(x: float) -> float:
        for _ in range(300):
            x = x * 1.01 + 0.0001 * x
        return x

    program, inputs = gradc.differentiate(chain).at(1.0).program_and_inputs()
    whole, part = derivation(program, inputs, most=10_000), derivation(program, inputs, most=20)
    assert (len(part.steps), part.left_out, part.gap) == (20, len(whole.steps) - 20, 10)
    assert part.steps[-1].contributions[-1].total == whole.steps[-1].contributions[-1].total
    assert f"... {part.left_out} gates left out ..." in show_derivation(part)


def test_a_derivation_shows_values_of_arms_that_are_not_taken():
    function = gradc.differentiate(lambda x: np.where(x > 9, 0.0, np.exp(x)).sum())
    with np.errstate(over="ignore"):
        steps = derivation(*function.at(np.array([1.0, 2000.0])).program_and_inputs()).steps
    exp = next(step for step in steps if step.equation.plain.partition(" = ")[2].startswith(("exp", "e^")))
    assert exp.value[1] == np.inf
    assert [part.value[1] for part in exp.contributions] == [0.0]
