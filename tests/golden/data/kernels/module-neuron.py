"""Value and gradient of neuron.

program neuron(w: f64, x: f64, b: f64) -> y
  v1 = w * x          : f64
  z = v1 + b          : f64
  v2 = -z             : f64
  v3 = exp(v2)        : f64
  v4 = 1.0 + v3       : f64
  y = reciprocal(v4)  : f64
"""

from gradc_runtime.scalars import exp


def neuron_value_and_grad(w, x, b):
    # v1 = w * x
    v1 = w * x
    # z = v1 + b
    z = v1 + b
    # v2 = -z
    v2 = -z
    # v3 = exp(v2)
    v3 = exp(v2)
    # v4 = 1.0 + v3
    v4 = 1.0 + v3
    # y = reciprocal(v4)
    y = 1.0 / v4
    # v4_bar = select(1.0 == 0, 0, -(1.0 * (y * y)))
    v4_bar = -(y * y)
    # v2_bar = v4_bar * v3
    v2_bar = v4_bar * v3
    # z_bar = -v2_bar
    z_bar = -v2_bar
    # b_bar = z_bar
    b_bar = z_bar
    # w_bar = z_bar * x
    w_bar = z_bar * x
    # x_bar = z_bar * w
    x_bar = z_bar * w
    return y, w_bar, x_bar, b_bar
