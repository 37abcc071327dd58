"""exp, exp2, expm1 and what is made of them, on `Real` values.

Each argument is split as ``n * log(2) + r`` with ``|r| <= log(2) / 2``; ``exp(r)`` is a minimax polynomial (found by
Remez' exchange in 50 digits) and ``2**n`` is written into exponent bits, in two steps so that subnormal results are
rounded once.
"""

from __future__ import annotations

from gradc_runtime.vecmath_lanes import F32, F64, Real, Word, clamp, fast_two_sum, polynomial, where

LOG2_E = 1.4426950408889634
# log(2) in two parts; the first has few bits, so that its products with n are exact.
LN2 = {F64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), F32: (0.693359375, -2.12194440e-4)}

# (exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2, the error relative to expm1(r): 2**-60 and 2**-31.
EXP = {
@@EXP
}
# (2**r - 1) / r for |r| <= 1 / 2, the error relative to 2**r: 2**-58 and 2**-29.
EXP2 = {
    F64: (
        0.6931471805599453,
        0.24022650695910133,
        0.05550410866482006,
        0.00961812910759357,
        0.0013333558146780109,
        0.00015403530457875584,
        1.5252733489457649e-05,
        1.3215434871365424e-06,
        1.017820045290354e-07,
        7.073858452766862e-09,
        4.4347322591317236e-10,
    ),
    F32: (0.6931472, 0.24022648, 0.05550332, 0.00961844, 0.0013399132, 0.00015353166),
}
# Arguments beyond which exp is 0 or infinite, and a little more.
EXP_RANGE = {F64: (-746.0, 710.0), F32: (-104.0, 89.0)}
EXP2_RANGE = {F64: (-1076.0, 1025.0), F32: (-151.0, 129.0)}
