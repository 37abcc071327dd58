"""The stable spellings: every rewrite has NumPy one-liners that must trigger it, and numbers that fail without it."""

import numpy as np
import pytest
import scipy.special

from gradc import differentiate
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.verify import verify
from gradc.passes.equations.gather import gather
from gradc.passes.equations.stabilise import REWRITES, stabilise
from gradc.pipeline import Derivation

BIG = np.array([800.0, -800.0, 0.5])
ROWS = np.array([[1000.0, 999.0, -5.0], [3.0, 2.0, 1.0]])
POSITIVE = np.array([1e-20, 0.5, 3.0])

# name, function, argument, numbers of the rewrites that apply, value at the argument to 1e-13
SPELLINGS = (
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), BIG, {1}, [1.0, 0.0, 0.6224593312018546]),
    ("sigmoid, sum the other way", lambda x: 1.0 / (np.exp(-x) + 1.0), BIG, {1}, [1.0, 0.0, 0.6224593312018546]),
    ("sigmoid by reciprocal", lambda x: np.reciprocal(1 + np.exp(-x)), BIG, {1}, [1.0, 0.0, 0.6224593312018546]),
    ("sigmoid by power", lambda x: (1 + np.exp(-x)) ** -1, BIG, {1}, [1.0, 0.0, 0.6224593312018546]),
    ("falling sigmoid", lambda x: 1 / (1 + np.exp(x)), BIG, {2}, [0.0, 1.0, 0.3775406687981454]),
    ("sigmoid from above", lambda x: np.exp(x) / (1 + np.exp(x)), BIG, {3}, [1.0, 0.0, 0.6224593312018546]),
    ("one minus sigmoid", lambda x: 1 - 1 / (1 + np.exp(-x)), BIG, {1, 5}, [0.0, 1.0, 0.3775406687981454]),
    ("log sigmoid", lambda x: np.log(1 / (1 + np.exp(-x))), BIG, {1, 6}, [0.0, -800.0, -0.4740769841801067]),
    ("softplus", lambda x: np.log(1 + np.exp(x)), BIG, {7}, [800.0, 0.0, 0.9740769841801067]),
    ("softplus by log1p", lambda x: np.log1p(np.exp(x)), BIG, {8}, [800.0, 0.0, 0.9740769841801067]),
    ("two terms", lambda x: np.log(np.exp(x) + np.exp(x - 1)), BIG, {9}, [800.3132616875182, -799.6867383124818, 0.8132616875182228]),  # noqa: E501
    ("log of 1 + x", lambda x: np.log(1 + x), POSITIVE, {11}, [1e-20, 0.4054651081081644, 1.3862943611198906]),
    ("log of 1 - x", lambda x: np.log(1 - x), POSITIVE[:2], {12}, [-1e-20, -0.6931471805599453]),
    ("exp - 1", lambda x: np.exp(x) - 1, POSITIVE, {13}, [1e-20, 0.6487212707001282, 19.085536923187668]),
    ("entropy", lambda x: x * np.log(x), np.array([0.0, 0.5]), {14}, [0.0, -0.34657359027997264]),
    ("hypotenuse", lambda x: np.sqrt(x**2 + np.square(2 * x)), np.array([1e200, 1.0]), {15}, [2.23606797749979e200, 2.23606797749979]),  # noqa: E501
    ("norm", lambda x: np.sqrt(np.sum(x**2)), np.zeros(3), {16}, 0.0),
    ("norm by products", lambda x: np.sqrt((x * x).sum()), np.zeros(3), {16}, 0.0),
    ("log-sum-exp", lambda x: np.log(np.exp(x).sum(axis=1)), ROWS, {17}, [1000.3132616875182, 3.4076059644443806]),
    ("softmax", lambda x: (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True))[:, 0], ROWS, {18}, [0.7310585786300049, 0.6652409557748219]),  # noqa: E501
    ("softmax with a shift of its own", lambda x: (np.exp(x - x.max(axis=1, keepdims=True)) / np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))[:, 0], ROWS, set(), [0.7310585786300049, 0.6652409557748219]),  # noqa: E501
    ("softmax with its maximum", lambda x: shifted_softmax(x)[:, 0], ROWS, {19}, [0.7310585786300049, 0.6652409557748219]),  # noqa: E501
    (
        "cross-entropy",
        lambda x: -np.log((np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True))[np.arange(2), np.array([2, 0])]),
        ROWS,
        {10, 18},
        [1005.3132616875182, 0.4076059644443803],
    ),
)  # fmt: skip


def shifted_softmax(x, axis=1, shift=np.max):
    powers = np.exp(x - shift(x, axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def exposed(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), powers


SHIFTS = {
    "the maximum": (lambda x: shifted_softmax(x), 1),
    "the mean": (lambda x: shifted_softmax(x, shift=np.mean), 1),
    "over the first axis": (lambda x: shifted_softmax(x, axis=0), 1),
    "of another axis": (
        lambda x: shifted_softmax(x, axis=0, shift=lambda x, axis, keepdims: x.max(axis=1, keepdims=True)),
        0,
    ),
    "what is read elsewhere": (lambda x: sum(exposed(x)), 0),
    "a sum that is read elsewhere": (lambda x: shifted_softmax(x) * np.exp(x - x.max()).sum(), 1),
    "a part of the sum": (lambda x: np.exp(x - x.max()) / (1 + np.exp(x - x.max()).sum()), 0),
    "returned exponentials": (lambda x: (lambda p: (p / p.sum(), p))(np.exp(x - x.max())), 0),
    "returned differences": (lambda x: (lambda d: (np.exp(d) / np.exp(d).sum(), d))(x - x.max()), 0),
}


@pytest.mark.parametrize("name", SHIFTS)
def test_only_shifts_that_change_nothing_lose_their_derivative(name):
    """With the derivatives of the program as it is written."""
    function, count = SHIFTS[name]
    argument = np.array([[0.3, -1.2, 0.8], [2.0, 0.1, -0.4]])
    program, _ = traced(function, argument)
    _, applied = stabilise(program)
    assert [item.number for item in applied if item.number == 19] == [19] * count
    found, wanted = (
        differentiate(function, target="interpret", stabilise=stable).jacobian(argument)
        for stable in (True, False)
    )
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, atol=1e-15)


def traced(function, argument):
    made = differentiate(function, target="interpret")
    variant, values, _ = made._prepare((argument,), {})
    program = variant.built.program
    return program, dict(zip(program.inputs, variant.inputs(values), strict=True))


@pytest.mark.parametrize(
    ("name", "function", "argument", "numbers", "expected"), SPELLINGS, ids=[s[0] for s in SPELLINGS]
)
def test_a_spelling_is_recognised_and_then_stable(name, function, argument, numbers, expected):
    program, inputs = traced(function, argument)
    stable, applied = stabilise(program)
    verify(stable)
    assert {item.number for item in applied} == numbers
    (value,) = evaluate(stable, inputs)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(
    ("name", "function", "argument", "numbers", "expected"), SPELLINGS, ids=[s[0] for s in SPELLINGS]
)
def test_the_gradient_of_a_stable_spelling_is_finite(name, function, argument, numbers, expected):
    gradient = differentiate(lambda x: function(x).sum(), target="interpret").grad(argument)
    if name == "entropy":
        assert gradient[0] == -np.inf  # one-sided slope at 0, see the conventions
        gradient = gradient[1:]
    assert np.isfinite(gradient).all()


def test_every_rewrite_has_a_spelling():
    covered = set().union(*(spelling[3] for spelling in SPELLINGS))
    assert covered | {4} == {
        *(rewrite.number for rewrite in REWRITES),
        16,
        17,
        18,
        19,
    }  # 4 is 3 with the sum turned round


def test_a_rewrite_leaves_intermediates_that_others_use():
    def both(x):
        grown = np.exp(x)
        return np.log(1 + grown) + grown

    program, inputs = traced(both, np.array([1.0, 2.0]))
    stable, applied = stabilise(program)
    assert [item.number for item in applied] == [7]
    np.testing.assert_allclose(evaluate(stable, inputs)[0], evaluate(program, inputs)[0], rtol=1e-15)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 / (2 + np.exp(-x)),
        lambda x: np.log(2 + np.exp(x)),
        lambda x: x * np.log(x + 1e-3),
        lambda x: np.exp(x) / np.exp(2 * x).sum(),
        lambda x: np.sqrt((x**3).sum()),
        scipy.special.logsumexp,
        lambda x: np.log(np.exp(x - x.max()).sum()),
    ],
    ids=[
        "2 + exp",
        "log(2 + exp)",
        "x log(x + e)",
        "other sum",
        "cubes",
        "shifted by SciPy",
        "shifted by hand",
    ],
)
def test_what_only_looks_alike_is_left_alone(function):
    program, inputs = traced(function, np.array([0.3, 0.7]))
    stable, applied = stabilise(program)
    assert applied == ()
    assert evaluate(stable, inputs)[0] is not None
    assert np.array_equal(evaluate(stable, inputs)[0], evaluate(program, inputs)[0])


def test_the_pass_can_be_turned_off():
    function = differentiate(lambda x: (1 / (1 + np.exp(-x))).sum(), stabilise=False)
    stages = function.inspect(np.array([1.0])).stages
    assert stages.applied == ()
    assert stages.stable is stages.program


def test_the_stable_program_differentiates_like_the_old_one_where_both_are_fine():
    x = np.array([[0.3, -0.2, 1.0], [0.1, 0.4, -0.7]])
    program, inputs = traced(lambda x: np.log(np.exp(x).sum(axis=1)).sum(), x)
    stable, _ = stabilise(program)
    from gradc.pipeline import DERIVATIONS  # noqa: PLC0415

    wrt = Derivation("grad", ("x",)).wrt
    old, new = (evaluate(gather(DERIVATIONS["grad"](p, wrt)), inputs)[0] for p in (program, stable))
    np.testing.assert_allclose(new, old, rtol=1e-14)
