"""Value and gradient of single_precision.

program single_precision(x: f32[n]) -> loss
  v1[i] = softplus(x[i])  : f32[n]
  v2[i] = v1[i] * 0.5     : f32[n]
  loss = sum[i] v2[i]     : f32
"""

import numpy as np
from gradc_runtime.arrays import empty
from gradc_runtime.reduce import plus
from gradc_runtime.scalars import expit, softplus


def single_precision_value_and_grad(x):
    n = x.shape[0]
    loss_wide = 0.0
    x_bar = empty((n,), np.float32)
    for i in range(n):
        # v1[i] = softplus(x[i])
        v1 = softplus(x[i])
        # v2[i] = v1[i] * 0.5
        v2 = v1 * np.float32(0.5)
        # loss_wide = sum[i] v2[i]
        loss_wide = plus(loss_wide, np.float64(v2))
        # x_bar[i] = 0.5 * expit(x[i])
        x_bar[i] = np.float32(0.5) * expit(x[i])
    # loss = loss_wide
    loss = np.float32(loss_wide)
    return loss, x_bar
