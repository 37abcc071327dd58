"""Value and gradient of hostile_names.

program hostile_names(lambda: f64[n], range: f64[n], log1p: f64[n], np: f64[n], plus: f64[n]) -> print
  v1[i] = square(lambda[i])  : f64[n]
  v2[i] = log1p(v1[i])       : f64[n]
  v3[i] = v2[i] * range[i]   : f64[n]
  v4[i] = square(v3[i])      : f64[n]
  v5[i] = log1p(v4[i])       : f64[n]
  v6[i] = v5[i] * log1p[i]   : f64[n]
  v7[i] = square(v6[i])      : f64[n]
  v8[i] = log1p(v7[i])       : f64[n]
  v9[i] = v8[i] * np[i]      : f64[n]
  v10[i] = square(v9[i])     : f64[n]
  v11[i] = log1p(v10[i])     : f64[n]
  v12[i] = v11[i] * plus[i]  : f64[n]
  print = sum[i] v12[i]      : f64
"""

import numpy as np
from gradc_runtime.arrays import empty
from gradc_runtime.reduce import plus
from gradc_runtime.scalars import log1p


def hostile_names_value_and_grad(lambda_, range_, log1p_, np_, plus_):
    n = lambda_.shape[0]
    if not (range_.shape[0] == n):
        raise ValueError('axis 0 of range must have extent n')
    if not (log1p_.shape[0] == n):
        raise ValueError('axis 0 of log1p must have extent n')
    if not (np_.shape[0] == n):
        raise ValueError('axis 0 of np must have extent n')
    if not (plus_.shape[0] == n):
        raise ValueError('axis 0 of plus must have extent n')
    print_ = 0.0
    lambda_bar = empty((n,), np.float64)
    for i in range(n):
        # v1[i] = square(lambda[i])
        v1 = lambda_[i] * lambda_[i]
        # v2[i] = log1p(v1[i])
        v2 = log1p(v1)
        # v3[i] = v2[i] * range[i]
        v3 = v2 * range_[i]
        # v4[i] = square(v3[i])
        v4 = v3 * v3
        # v5[i] = log1p(v4[i])
        v5 = log1p(v4)
        # v6[i] = v5[i] * log1p[i]
        v6 = v5 * log1p_[i]
        # v7[i] = square(v6[i])
        v7 = v6 * v6
        # v8[i] = log1p(v7[i])
        v8 = log1p(v7)
        # v9[i] = v8[i] * np[i]
        v9 = v8 * np_[i]
        # v10[i] = square(v9[i])
        v10 = v9 * v9
        # v11[i] = log1p(v10[i])
        v11 = log1p(v10)
        # v12[i] = v11[i] * plus[i]
        v12 = v11 * plus_[i]
        # print = sum[i] v12[i]
        print_ = plus(print_, v12)
        # v10_bar[i] = select(plus[i] == 0, 0, plus[i] / (1 + v10[i]))
        v10_bar = 0.0 if plus_[i] == 0.0 else plus_[i] / (1.0 + v10)
        # v9_bar[i] = 2 * v10_bar[i] * v9[i]
        v9_bar = 2.0 * v10_bar * v9
        # v8_bar[i] = v9_bar[i] * np[i]
        v8_bar = v9_bar * np_[i]
        # v7_bar[i] = select(v8_bar[i] == 0, 0, v8_bar[i] / (1 + v7[i]))
        v7_bar = 0.0 if v8_bar == 0.0 else v8_bar / (1.0 + v7)
        # v6_bar[i] = 2 * v7_bar[i] * v6[i]
        v6_bar = 2.0 * v7_bar * v6
        # v5_bar[i] = v6_bar[i] * log1p[i]
        v5_bar = v6_bar * log1p_[i]
        # v4_bar[i] = select(v5_bar[i] == 0, 0, v5_bar[i] / (1 + v4[i]))
        v4_bar = 0.0 if v5_bar == 0.0 else v5_bar / (1.0 + v4)
        # v3_bar[i] = 2 * v4_bar[i] * v3[i]
        v3_bar = 2.0 * v4_bar * v3
        # v2_bar[i] = v3_bar[i] * range[i]
        v2_bar = v3_bar * range_[i]
        # v1_bar[i] = select(v2_bar[i] == 0, 0, v2_bar[i] / (1 + v1[i]))
        v1_bar = 0.0 if v2_bar == 0.0 else v2_bar / (1.0 + v1)
        # lambda_bar[i] = 2 * v1_bar[i] * lambda[i]
        lambda_bar[i] = 2.0 * v1_bar * lambda_[i]
    return print_, lambda_bar
