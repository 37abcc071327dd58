"""Random numbers: the same bits from NumPy, both interpreters and compiled kernels, and numbers that look random."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import stats

import gradc
from gradc.ir.index.evaluate import evaluate
from gradc.ir.loop.evaluate import evaluate as run
from gradc.ir.random_bits import exact_random_bits, random_bits
from gradc_runtime.random_bits import random_bits as compiled_bits
from gradc_runtime.simd import vector_bytes

random = gradc.random
KEYS = (0, 1, -1, 12345, 2**62, -(2**63), 2**63 - 1)


# --- bits ---------------------------------------------------------------------------------------------------


def squares64(counter: int, key: int) -> int:
    """The generator as its author prints it (arXiv:2004.06278, squares64)."""
    word = 2**64
    y = x = counter * key % word
    z = (y + key) % word
    for added in (y, z, y):
        x = (x * x + added) % word
        x = (x >> 32) | (x << 32) % word
    t = x = (x * x + z) % word
    x = (x >> 32) | (x << 32) % word
    return t ^ ((x * x + y) % word >> 32)


def splitmix64(state: int) -> int:
    """The first number of SplitMix64 with this seed."""
    word = 2**64
    z = (state + 0x9E3779B97F4A7C15) % word
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % word
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % word
    return z ^ (z >> 31)


def test_splitmix64_has_its_published_number():
    assert splitmix64(1234567) == 6457827717110365317


@njit
def several(key: int, counters: np.ndarray, count: int, out: np.ndarray) -> None:
    for at in range(counters.size):
        out[at] = compiled_bits(key, counters[at], count)


@pytest.mark.parametrize("count", [1, 24, 52, 53, 64])
def test_the_four_spellings_of_the_generator_agree(count: int):
    counters = np.array([0, 1, 2, 3, 7, 2**31, 2**32, 2**40 + 5, 2**63 - 1, -1, -2, -(2**40)])
    out = np.empty(counters.size, np.int64)
    for key in KEYS:
        several(key, counters, count, out)
        published = [squares64(int(at) % 2**64, splitmix64(key % 2**64) | 1) >> 64 - count for at in counters]
        assert [int(bits) % 2**64 for bits in out] == published
        assert out.tolist() == random_bits(key, counters, count).tolist()
        assert out.tolist() == [exact_random_bits(key, int(at), count) for at in counters]


# --- kernels ------------------------------------------------------------------------------------------------


def drawn(x: Any, key: Any) -> Any:
    like = random.uniform_like(key, x)
    first, second = random.split(key)
    return (
        x + like,
        np.where(like < 0.5, x, 1.0),
        random.normal(first, x.shape, x.dtype) + x,
        random.bernoulli(second, 0.3, x.shape),
        random.uniform(key) + random.uniform(random.fold_in(key, 3)),
    )


KERNEL = gradc.differentiate(drawn, wrt="x")
SLOW = gradc.differentiate(drawn, wrt="x", target="interpret")


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 17), (64, 33), (0, 4), (400, 500)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_kernels_draw_the_bits_of_numpy(dtype: type, shape: tuple[int, ...], threads: int):
    """Rows and tails of every length, long enough for several threads."""
    x = np.zeros(shape, dtype)
    with gradc.num_threads(threads):
        for key in KEYS[2:5]:
            found = KERNEL(x, np.int64(key))
            first, second = random.split(key)
            like = random.uniform_like(key, x)
            expected = (
                like,
                np.where(like < 0.5, x, dtype(1)),
                random.normal(first, shape, dtype),
                random.bernoulli(second, 0.3, shape),
                random.uniform(key) + random.uniform(random.fold_in(key, 3)),
            )
            for got, wanted in zip(found, expected, strict=True):
                assert np.asarray(got).dtype == np.asarray(wanted).dtype
                assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


def test_both_interpreters_draw_the_same_bits():
    x = np.zeros((3, 5))
    stages = SLOW.at(x, np.int64(7)).inspect(of="value").stages
    fast = KERNEL(x, np.int64(7))
    inputs = {"x": x, "key": np.int64(7)}
    for results in (evaluate(stages.program, inputs), run(stages.kernel, inputs), SLOW(x, np.int64(7))):
        for got, wanted in zip(results, fast, strict=True):
            assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


def test_fifty_digits_draw_the_same_numbers():
    loss = gradc.differentiate(lambda x, key: x * random.uniform(key, (2, 3)), wrt="x", target="interpret")
    program = loss.at(1.0, 5).inspect(of="value").stages.program
    (found,) = evaluate(program, {"x": 1.0, "key": np.int64(5)}, numbers="mp")
    assert np.array_equal(found.astype(float), random.uniform(5, (2, 3)))


def test_the_error_bound_of_what_is_drawn_is_its_own_rounding():
    loss = gradc.differentiate(lambda x, key: x * random.uniform(key, (2, 3)), wrt="x", target="interpret")
    program = loss.at(1.0, 5).inspect(of="value").stages.program
    _, (error,) = evaluate(program, {"x": 1.0, "key": np.int64(5)}, bound=True)
    assert (error < 1e-15).all()


def test_masks_of_gradients_are_those_of_values_on_threads():
    """The mask is drawn again in another loop, in other parts; a mask that differed would show."""

    def loss(w: Any, x: Any, key: Any) -> Any:
        hidden = np.tanh(x * w)
        dropped = np.where(random.uniform_like(key, hidden) < 0.5, 2 * hidden, 0.0)
        return np.sum(np.square(dropped - dropped.mean(axis=0)))

    compiled = gradc.differentiate(loss, wrt="w")
    w, x = np.ones((500, 300)), np.random.default_rng(0).normal(size=(500, 300))
    mask = 2.0 * (random.uniform(9, w.shape) < 0.5)
    dropped = np.tanh(x) * mask
    exact = 2 * (dropped - dropped.mean(axis=0)) * mask * x / np.cosh(x) ** 2
    for threads in (1, 4):
        with gradc.num_threads(threads):
            np.testing.assert_allclose(compiled.grad(w, x, 9), exact, rtol=1e-9, atol=1e-12)
            compiled.grad(w, x, 10)
    assert compiled.cache_info().variants == 1


@pytest.mark.skipif(vector_bytes() < 64, reason="AVX2 has no product of 64-bit integers")
def test_draws_fill_vector_registers():
    """Many products of eight 64-bit integers: a loop over single numbers has none."""
    text = gradc.differentiate(lambda x, key: x * random.uniform_like(key, x), wrt="x").at(np.ones(9), 1)
    assert len(re.findall(r"vpmullq\s.*%zmm", text.inspect(of="value").asm)) >= 5


# --- numbers ------------------------------------------------------------------------------------------------

COUNT = 10**6
LIKELY = 4.5  # standard deviations; a correct generator fails one such test in 150,000, and keys are fixed


def score(counts: np.ndarray) -> float:
    """Standard score of the chi-square statistic of equally likely outcomes."""
    wanted = counts.sum() / counts.size
    return (np.square(counts - wanted).sum() / wanted - (counts.size - 1)) / np.sqrt(2 * (counts.size - 1))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Standard score of the correlation of two samples of [0, 1)."""
    return float(np.mean((a - 0.5) * (b - 0.5)) * 12 * np.sqrt(a.size))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("key", KEYS)
def test_a_million_uniform_numbers(key: int, dtype: type):
    numbers = random.uniform(key, COUNT, dtype).astype(float)
    assert 0 <= numbers.min() < 1e-5
    assert 1 - 1e-5 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < LIKELY / np.sqrt(12 * COUNT)
    assert abs(numbers.var() - 1 / 12) < LIKELY / np.sqrt(180 * COUNT)
    assert abs(score(np.bincount((numbers * 1000).astype(int), minlength=1000))) < LIKELY
    low = (numbers * 2.0 ** (24 if dtype is np.float32 else 53)).astype(np.int64) & 255
    assert abs(score(np.bincount(low, minlength=256))) < LIKELY
    pairs = (numbers[::2] * 32).astype(int) * 32 + (numbers[1::2] * 32).astype(int)
    assert abs(score(np.bincount(pairs, minlength=1024))) < LIKELY
    for lag in (1, 2, 3, 8, 1000):
        assert abs(correlation(numbers[:-lag], numbers[lag:])) < LIKELY


@pytest.mark.parametrize("key", KEYS[:5])
def test_neighbouring_keys_and_folded_ones_are_not_correlated(key: int):
    numbers = random.uniform(key, COUNT // 4)
    for other in (key + 1, key ^ 1, key ^ 2**32, int(random.fold_in(key, 0)), int(random.fold_in(key, 1))):
        assert abs(correlation(numbers, random.uniform(other, numbers.size))) < LIKELY
        assert abs(correlation(numbers[1:], random.uniform(other, numbers.size)[:-1])) < LIKELY


@pytest.mark.parametrize("element", [0, 1, 1000])
def test_one_element_of_many_keys_is_random(element: int):
    """A step counter as the key: the first elements of all steps are a sample too."""
    for keys in (np.arange(COUNT // 4), random.split(3, COUNT // 4)):
        numbers = random_bits(keys, element, 53) * 2.0**-53
        assert abs(score(np.bincount((numbers * 1000).astype(int), minlength=1000))) < LIKELY
        assert abs(correlation(numbers[:-1], numbers[1:])) < LIKELY


def test_every_bit_is_a_fair_coin_and_changes_with_its_neighbour():
    words = random_bits(5, np.arange(COUNT // 4), 64)
    for sample in (words, words[1:] ^ words[:-1]):
        ones = np.array([np.count_nonzero(sample >> bit & 1) for bit in range(64)])
        assert (np.abs(ones - sample.size / 2) < LIKELY * np.sqrt(sample.size / 4)).all()


def test_keys_made_of_a_key_differ():
    assert np.unique(random.split(0, 10**5)).size == 10**5
    assert np.unique([random.fold_in(key, 3) for key in range(1000)]).size == 1000


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_million_normal_numbers(dtype: type):
    numbers = random.normal(6, COUNT, dtype)
    assert numbers.dtype == dtype
    assert np.isfinite(numbers).all()
    assert stats.kstest(numbers.astype(float), "norm").pvalue > 1e-5
    assert abs(numbers.mean(dtype=float)) < LIKELY / np.sqrt(COUNT)
    assert abs(numbers.var(dtype=float) - 1) < LIKELY * np.sqrt(2 / COUNT)
    assert abs(stats.kurtosis(numbers.astype(float))) < LIKELY * np.sqrt(24 / COUNT)


def test_bernoulli_is_true_as_often_as_it_should():
    for p in (0.01, 0.5, 0.9):
        share = random.bernoulli(8, p, COUNT).mean()
        assert abs(share - p) < LIKELY * np.sqrt(p * (1 - p) / COUNT)
