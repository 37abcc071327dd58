"""neuron_value_and_grad
"""

import numpy as np
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_host import empty, kernel, launch
from gradc_runtime.cuda_scalars import exp


@kernel("float64, float64, float64, float64[::1], float64[::1], float64[::1], float64[::1]")
def numbers_1(w, x, b, y_cell, b_bar_cell, w_bar_cell, x_bar_cell):
    thread = cuda.threadIdx.x
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
    if thread == 0:
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
        y_cell[0] = y
        b_bar_cell[0] = b_bar
        w_bar_cell[0] = w_bar
        x_bar_cell[0] = x_bar


def neuron_value_and_grad(w, x, b):
    y_cell = empty((1,), np.float64)
    b_bar_cell = empty((1,), np.float64)
    w_bar_cell = empty((1,), np.float64)
    x_bar_cell = empty((1,), np.float64)
    launch(numbers_1, 1, 32, w, x, b, y_cell, b_bar_cell, w_bar_cell, x_bar_cell)
    return y_cell, w_bar_cell, x_bar_cell, b_bar_cell
