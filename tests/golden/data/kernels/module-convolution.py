"""Value and gradient of convolution.

program convolution(x: f64[n], w: f64[3]) -> loss
  y[i] = sum[j] x[i + j] * w[j]  : f64[n - 2]
  v1[i] = sin(y[i])              : f64[n - 2]
  loss = sum[i] v1[i]            : f64
"""

import numpy as np
from gradc_runtime.arrays import empty, zeros
from gradc_runtime.reduce import plus
from gradc_runtime.scalars import cos, sin


def convolution_value_and_grad(x, w):
    n = x.shape[0]
    if not (w.shape[0] == 3):
        raise ValueError('axis 0 of w must have extent 3')
    loss = 0.0
    y_bar = empty((n - 2,), np.float64)
    x_bar = zeros((n,), np.float64)
    for i in range(n - 2):
        y = 0.0
        for j in range(3):
            # y[i] = sum[j] x[i + j] * w[j]
            y = plus(y, x[i + j] * w[j])
        # v1[i] = sin(y[i])
        v1 = sin(y)
        # loss = sum[i] v1[i]
        loss = plus(loss, v1)
        # y_bar[i] = 1.0 * cos(y[i])
        y_bar[i] = cos(y)
        for j in range(3):
            # x_bar[i + j] += y_bar[i] * w[j]
            x_bar[i + j] += y_bar[i] * w[j]
    w_bar = np.empty((3,))
    for i in range(3):
        w_bar_sum = 0.0
        for j in range(n - 2):
            # w_bar[i] = sum[j] y_bar[j] * x[i + j]
            w_bar_sum = plus(w_bar_sum, y_bar[j] * x[i + j])
        w_bar[i] = w_bar_sum
    return loss, x_bar, w_bar
