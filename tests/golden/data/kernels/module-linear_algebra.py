"""Value and gradient of linear_algebra.

program linear_algebra(a: f64[n, n], b: f64[n, 1]) -> loss
  x = solve(a, b)               : f64[n, 1]
  sign, logarithm = slogdet(a)  : f64, f64
  v1[i, j] = x[i, j] * b[i, j]  : f64[n, 1]
  form = sum[i, j] v1[i, j]     : f64
  loss = form + logarithm       : f64
"""

import numpy as np
from gradc_runtime.arrays import empty
from gradc_runtime.linalg import inv, slogdet, solve
from gradc_runtime.reduce import plus


def linear_algebra_value_and_grad(a, b):
    n = a.shape[0]
    if not (a.shape[1] == n):
        raise ValueError('axis 1 of a must have extent n')
    if not (b.shape[0] == n):
        raise ValueError('axis 0 of b must have extent n')
    if not (b.shape[1] == 1):
        raise ValueError('axis 1 of b must have extent 1')
    # x = solve(a, b)
    x = solve(a, b)
    # sign, logarithm = slogdet(a)
    sign_, logarithm = slogdet(a)
    form = 0.0
    v5 = empty((n, n), np.float64)
    for i in range(n):
        # v1[i, j] = x[i, j] * b[i, j]
        v1 = x[i, 0] * b[i, 0]
        # form = sum[i, j] v1[i, j]
        form = plus(form, v1)
        for j in range(n):
            # v5[i, j] = a[j, i]
            v5[i, j] = a[j, i]
    # loss = form + logarithm
    loss = form + logarithm
    # v2 = inv(a)
    v2 = inv(a)
    # v6 = solve(v5, b)
    v6 = solve(v5, b)
    b_bar = empty((n, 1), np.float64)
    a_bar = empty((n, n), np.float64)
    for i in range(n):
        # b_bar[i, j] = x[i, j] + v6[i, j]
        b_bar[i, 0] = x[i, 0] + v6[i, 0]
        for j in range(n):
            # v7[i, j] = sum[k] v6[i, k] * x[j, k]
            v7 = v6[i, 0] * x[j, 0]
            # a_bar_3[i, j] = -v7[i, j]
            a_bar_3 = -v7
            # a_bar[i, j] = v2[j, i] + a_bar_3[i, j]
            a_bar[i, j] = v2[j, i] + a_bar_3
    return loss, a_bar, b_bar
