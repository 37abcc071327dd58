"""Value and gradient of softmax.

program softmax(x: f64[n, m], label: i64[n]) -> loss
  top[i] = max[j] x[i, j]            : f64[n]
  shifted[i, j] = x[i, j] - top[i]   : f64[n, m]
  powers[i, j] = exp(shifted[i, j])  : f64[n, m]
  sums[i] = sum[j] powers[i, j]      : f64[n]
  picked[i] = shifted[i, label[i]]   : f64[n]
  v1[i] = log(sums[i])               : f64[n]
  losses[i] = v1[i] - picked[i]      : f64[n]
  loss = sum[i] losses[i]            : f64
"""

import numpy as np
from gradc_runtime.arrays import empty, zeros
from gradc_runtime.library import check_indices
from gradc_runtime.reduce import larger, plus
from gradc_runtime.scalars import exp, log


def softmax_value_and_grad(x, label):
    n = x.shape[0]
    m = x.shape[1]
    if not (label.shape[0] == n):
        raise ValueError('axis 0 of label must have extent n')
    loss = 0.0
    shifted = empty((m,), np.float64)
    powers = empty((m,), np.float64)
    winner = empty((m,), np.bool_)
    check_indices(label, m)
    shifted_bar = zeros((n, m), np.float64)
    x_bar = empty((n, m), np.float64)
    for i in range(n):
        top = -np.inf
        for j in range(m):
            # top[i] = max[j] x[i, j]
            top = larger(top, x[i, j])
        sums = 0.0
        ties = 0.0
        for j in range(m):
            # shifted[i, j] = x[i, j] - top[i]
            shifted[j] = x[i, j] - top
            # powers[i, j] = exp(shifted[i, j])
            powers[j] = exp(shifted[j])
            # sums[i] = sum[j] powers[i, j]
            sums = plus(sums, powers[j])
            # winner[i, j] = x[i, j] == top[i]
            winner[j] = x[i, j] == top
            # ties[i] = sum[j] winner[i, j]
            ties = plus(ties, np.float64(winner[j]))
        # v1[i] = log(sums[i])
        v1 = log(sums)
        t = label[i]
        # losses[i] = v1[i] - shifted[i, label[i]]
        losses = v1 - shifted[t + m if t < 0 else t]
        # loss = sum[i] losses[i]
        loss = plus(loss, losses)
        # sums_bar[i] = select(1.0 == 0, 0, 1.0 / sums[i])
        sums_bar = 1.0 / sums
        t_2 = label[i]
        # shifted_bar[i, label[i]] += -1.0
        shifted_bar[i, t_2 + m if t_2 < 0 else t_2] += -1.0
        top_bar = 0.0
        for j in range(m):
            # shifted_bar[i, j] += sums_bar[i] * powers[i, j]
            shifted_bar[i, j] += sums_bar * powers[j]
            # top_bar[i] = sum[j] -shifted_bar[i, j]
            top_bar = plus(top_bar, -shifted_bar[i, j])
        # share[i] = top_bar[i] / ties[i]
        share = top_bar / ties
        for j in range(m):
            # x_bar_3[i, j] = select(winner[i, j], share[i], 0.0)
            x_bar_3 = share if winner[j] else 0.0
            # x_bar[i, j] = shifted_bar[i, j] + x_bar_3[i, j]
            x_bar[i, j] = shifted_bar[i, j] + x_bar_3
    return loss, x_bar
