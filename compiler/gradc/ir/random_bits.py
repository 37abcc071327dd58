"""The random number generator of the inventory: element i of a stream is a function of its key and of i.

The generator is Squares with five rounds and 64 bits (B. Widynski, "Squares: A Fast Counter-Based RNG",
arXiv:2004.06278): six multiplications per number, which vectorise, and no state.  Its keys need irregular bits, users'
keys are 0, 1, 2, ...: SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast Splittable Pseudorandom Number Generators",
OOPSLA 2014), a bijection, makes the one of the other.

`random_bits` is its meaning on NumPy arrays and `exact_random_bits` that on Python's integers; kernels have
`gradc_runtime.random_bits`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_WORD = 2**64
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def random_bits(key: Any, counter: Any, count: Any) -> Any:
    """Return the `count` highest random bits, 1 to 64, of element `counter` of the stream `key`.

    Operands and result are int64 and broadcast; 64 bits wrap around to negative numbers.
    """
    words = (np.asarray(operand).astype(np.uint64) for operand in (key, counter, count))
    stream, at, kept = words
    with np.errstate(over="ignore"):  # products of scalars wrap as those of arrays do, but warn
        bits = _squares(_mixed(stream), at)
    return (bits >> (np.uint64(64) - kept)).astype(np.int64)[()]


def _mixed(word: Any) -> Any:
    word = word + np.uint64(_STEP)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(_FIRST)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(_SECOND)
    return word ^ (word >> np.uint64(31))


def _squares(word: Any, counter: Any) -> Any:
    half = np.uint64(32)
    key = word | np.uint64(1)
    even = counter * key
    odd = even + key
    bits = last = even
    for added in (even, odd, even, odd):
        last = bits * bits + added
        bits = (last >> half) | (last << half)
    return last ^ ((bits * bits + even) >> half)


def exact_random_bits(key: int, counter: int, count: int) -> int:
    """Return what `random_bits` gives, computed with Python's integers.

    Examples
    --------
    >>> exact_random_bits(0, 1, 53), int(random_bits(0, 1, 53))
    (1100360274010902, 1100360274010902)
    """
    word = (key + _STEP) % _WORD
    word = (word ^ word >> 30) * _FIRST % _WORD
    word = (word ^ word >> 27) * _SECOND % _WORD
    odd_key = (word ^ word >> 31) | 1
    even = counter * odd_key % _WORD
    odd = even + odd_key
    bits = last = even
    for added in (even, odd, even, odd):
        last = (bits * bits + added) % _WORD
        bits = last >> 32 | last << 32 & _WORD - 1
    found = (last ^ (bits * bits + even) % _WORD >> 32) >> 64 - count
    return found - _WORD if found >= _WORD // 2 else found
