"""Value and gradient of layer.

program layer(x: f64[n, m], w: f64[m, k], b: f64[k], target: f64[n, k]) -> loss
  z[i, j] = sum[k] x[i, k] * w[k, j]  : f64[n, k]
  v1[i, j] = z[i, j] + b[j]           : f64[n, k]
  h[i, j] = tanh(v1[i, j])            : f64[n, k]
  v2[i, j] = h[i, j] - target[i, j]   : f64[n, k]
  error[i, j] = square(v2[i, j])      : f64[n, k]
  loss = sum[i, j] error[i, j]        : f64
"""

import numpy as np
from gradc_runtime.arrays import empty, zeros
from gradc_runtime.matmul import product
from gradc_runtime.reduce import plus
from gradc_runtime.scalars import cosh, tanh


def layer_value_and_grad(x, w, b, target):
    n = x.shape[0]
    m = x.shape[1]
    k = w.shape[1]
    if not (w.shape[0] == m):
        raise ValueError('axis 0 of w must have extent m')
    if not (b.shape[0] == k):
        raise ValueError('axis 0 of b must have extent k')
    if not (target.shape[0] == n):
        raise ValueError('axis 0 of target must have extent n')
    if not (target.shape[1] == k):
        raise ValueError('axis 1 of target must have extent k')
    # z[i, j] = sum[k] x[i, k] * w[k, j]
    z = product(x, w)
    loss = 0.0
    v1_bar = empty((n, k), np.float64)
    b_bar = zeros((k,), np.float64)
    for i in range(n):
        for j in range(k):
            # v1[i, j] = z[i, j] + b[j]
            v1 = z[i, j] + b[j]
            # h[i, j] = tanh(v1[i, j])
            h = tanh(v1)
            # v2[i, j] = h[i, j] - target[i, j]
            v2 = h - target[i, j]
            # error[i, j] = square(v2[i, j])
            error = v2 * v2
            # loss = sum[i, j] error[i, j]
            loss = plus(loss, error)
            # v2_bar[i, j] = 2 * 1.0 * v2[i, j]
            v2_bar = 2.0 * v2
            t = h * h
            t_2 = cosh(v1)
            # v1_bar[i, j] = select(h[i, j] * h[i, j] < 1/2, v2_bar[i, j] * (1 - h[i, j] * h[i, j]), v2_bar[i, j] / (cosh(v1[i, j]) * cosh(v1[i, j])))
            v1_bar[i, j] = v2_bar * (1.0 - t) if t < 0.5 else v2_bar / (t_2 * t_2)
            # b_bar[i] = sum[j] v1_bar[j, i]
            b_bar[j] += v1_bar[i, j]
    # w_bar[i, j] = sum[k] v1_bar[k, j] * x[k, i]
    w_bar = product(x.T, v1_bar)
    return loss, w_bar, b_bar
