"""Random numbers in kernels: element i of a stream is a function of its key and of i.

There is no state, so a loop draws its numbers in any order, on any number of threads, again in the backward pass, and
in the lanes of vectors.  The generator is Squares with five rounds (B. Widynski, "Squares: A Fast Counter-Based RNG",
arXiv:2004.06278); SplitMix64 gives its key the irregular bits that it needs, outside the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Number = Any  # a NumPy scalar here, a machine number in a kernel

# One place for the constants: Numba compiles them in.
_STEP, _FIRST, _SECOND = (
    np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_HALF, _ONE, _WORD = np.uint64(32), np.uint64(1), np.uint64(64)


@njit(nogil=True)
def _mixed(word: Number) -> Number:
    """SplitMix64: a bijection of the 64-bit integers."""
    word = word + _STEP
    word = (word ^ (word >> np.uint64(30))) * _FIRST
    word = (word ^ (word >> np.uint64(27))) * _SECOND
    return word ^ (word >> np.uint64(31))


@njit(nogil=True)
def random_bits(key: Number, counter: Number, count: Number) -> Number:
    """The `count` highest random bits of element `counter` of the stream `key`, as an int64."""
    stream = _mixed(np.uint64(key)) | _ONE
    even = np.uint64(counter) * stream
    odd = even + stream
    bits = even * even + even
    bits = (bits >> _HALF) | (bits << _HALF)
    bits = bits * bits + odd
    bits = (bits >> _HALF) | (bits << _HALF)
    bits = bits * bits + even
    bits = (bits >> _HALF) | (bits << _HALF)
    last = bits * bits + odd
    bits = (last >> _HALF) | (last << _HALF)
    found = last ^ ((bits * bits + even) >> _HALF)
    return np.int64(found >> (_WORD - np.uint64(count)))
