"""Value and gradient of pieces.

program pieces(x: f64[n]) -> loss
  positive[i] = x[i] > 0.0                     : bool[n]
  v1[i] = x[i] * 0.1                           : f64[n]
  leaky[i] = select(positive[i], x[i], v1[i])  : f64[n]
  v2[i] = leaky[-i + n - 1]                    : f64[n]
  joined = concatenate(leaky, v2; axis=0)      : f64[2*n]
  v3[i] = exp(joined[i])                       : f64[2*n]
  loss = sum[i] v3[i]                          : f64
"""

import numpy as np
from gradc_runtime.arrays import empty, zeros
from gradc_runtime.reduce import plus
from gradc_runtime.scalars import exp


def pieces_value_and_grad(x):
    n = x.shape[0]
    positive = empty((n,), np.bool_)
    leaky = empty((n,), np.float64)
    joined = empty((2 * n,), np.float64)
    for i in range(n):
        # positive[i] = x[i] > 0.0
        positive[i] = x[i] > 0.0
        # v1[i] = x[i] * 0.1
        v1 = x[i] * 0.1
        # leaky[i] = select(positive[i], x[i], v1[i])
        leaky[i] = x[i] if positive[i] else v1
        # joined = concatenate(leaky, v2; axis=0)
        joined[i] = leaky[i]
    for i in range(n):
        # v2[i] = leaky[-i + n - 1]
        v2 = leaky[-i + (n - 1)]
        joined[i + n] = v2
    loss = 0.0
    v3 = empty((2 * n,), np.float64)
    for i in range(2 * n):
        # v3[i] = exp(joined[i])
        v3[i] = exp(joined[i])
        # loss = sum[i] v3[i]
        loss = plus(loss, v3[i])
    leaky_bar = zeros((n,), np.float64)
    for i in range(n):
        # leaky_bar[i] += v3[i]
        leaky_bar[i] += v3[i]
    for i in range(n):
        # leaky_bar[-i + n - 1] += v3[i + n]
        leaky_bar[-i + (n - 1)] += v3[i + n]
    x_bar = empty((n,), np.float64)
    for i in range(n):
        # x_bar_2[i] = select(positive[i], leaky_bar[i], 0)
        x_bar_2 = leaky_bar[i] if positive[i] else 0.0
        # v1_bar[i] = select(positive[i], 0, leaky_bar[i])
        v1_bar = 0.0 if positive[i] else leaky_bar[i]
        # x_bar_3[i] = v1_bar[i] * 0.1
        x_bar_3 = v1_bar * 0.1
        # x_bar[i] = x_bar_2[i] + x_bar_3[i]
        x_bar[i] = x_bar_2 + x_bar_3
    return loss, x_bar
