"""convolution_value_and_grad
"""

import numpy as np
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_groups import group_sum
from gradc_runtime.cuda_host import empty, kernel, launch, scratch, width_of
from gradc_runtime.cuda_scalars import cos, quotient, sin


@kernel("int64, int64, float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1]")
def elements_1(n, blocks, x, w, y_bar, x_bar_at_0, x_bar_at_1, x_bar_at_2, loss_parts):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    number = block * 256 + thread
    loss_part = 0.0
    for i in range(number, n - 2, blocks * 256):
        x_bar_at_0_sum = 0.0
        x_bar_at_1_sum = 0.0
        x_bar_at_2_sum = 0.0
        y = 0.0
        for j in range(3):
            # y[i] = sum[j] x[i + j] * w[j]
            y = cuda.fma(x[i + j], w[j], y)
        # v1[i] = sin(y[i])
        v1 = sin(y)
        # loss = sum[i] v1[i]
        loss_part = loss_part + v1
        # y_bar[i] = 1.0 * cos(y[i])
        y_bar[i] = cos(y)
        # x_bar[i + j] += y_bar[i] * w[j]
        x_bar_at_0_sum = cuda.fma(y_bar[i], w[0], x_bar_at_0_sum)
        x_bar_at_1_sum = cuda.fma(y_bar[i], w[1], x_bar_at_1_sum)
        x_bar_at_2_sum = cuda.fma(y_bar[i], w[2], x_bar_at_2_sum)
        x_bar_at_0[i] = x_bar_at_0_sum
        x_bar_at_1[i] = x_bar_at_1_sum
        x_bar_at_2[i] = x_bar_at_2_sum
    loss_part = group_sum(group_f64, loss_part, 256)
    if thread == 0:
        loss_parts[block] = loss_part


@kernel("int64, int64, float64[::1], float64[::1], float64[::1], float64[::1]")
def elements_2(n, blocks_2, x_bar, x_bar_at_0, x_bar_at_1, x_bar_at_2):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    number = block * 256 + thread
    for i_there in range(number, n, blocks_2 * 256):
        x_bar[i_there] = (x_bar_at_0[i_there] if i_there < n - 2 else 0.0) + (x_bar_at_1[i_there - 1] if i_there - 1 >= 0 and i_there - 1 < n - 2 else 0.0) + (x_bar_at_2[i_there - 2] if i_there - 2 >= 0 and i_there - 2 < n - 2 else 0.0)


@kernel("int64, int64, float64[::1], float64[::1], float64[::1]")
def rows_3(width, n, y_bar, x, w_bar):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    number = block * 256 + thread
    part = quotient(number, width)
    lane = number - part * width
    active = part < 3
    i = min(part, 2)
    w_bar_sum = 0.0
    for j in range(lane, n - 2 if active else 0, width):
        # w_bar[i] = sum[j] y_bar[j] * x[i + j]
        w_bar_sum = cuda.fma(y_bar[j], x[i + j], w_bar_sum)
    w_bar_sum = group_sum(group_f64, w_bar_sum, width)
    if active and lane == 0:
        w_bar[i] = w_bar_sum


@kernel("int64, float64[::1], float64[::1]")
def numbers_4(blocks, loss_parts, loss_cell):
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    loss = 0.0
    for place in range(thread, blocks, 256):
        loss = loss + loss_parts[place]
    loss = group_sum(group_f64, loss, 256)
    if thread == 0:
        loss_cell[0] = loss


def convolution_value_and_grad(x, w):
    n = x.shape[0]
    if not (w.shape[0] == 3):
        raise ValueError('axis 0 of w must have extent 3')
    y_bar = scratch((n - 2,), np.float64)
    x_bar = empty((n,), np.float64)
    x_bar_at_0 = scratch((n - 2,), np.float64)
    x_bar_at_1 = scratch((n - 2,), np.float64)
    x_bar_at_2 = scratch((n - 2,), np.float64)
    blocks = min((n - 2 + 255) // 256, 1024)
    loss_parts = scratch((blocks,), np.float64)
    launch(elements_1, blocks, 256, n, blocks, x, w, y_bar, x_bar_at_0, x_bar_at_1, x_bar_at_2, loss_parts)
    blocks_2 = min((n + 255) // 256, 1024)
    launch(elements_2, blocks_2, 256, n, blocks_2, x_bar, x_bar_at_0, x_bar_at_1, x_bar_at_2)
    w_bar = empty((3,), np.float64)
    width = width_of(n - 2, 256)
    blocks_3 = (3 * width + 255) // 256
    launch(rows_3, blocks_3, 256, width, n, y_bar, x, w_bar)
    loss_cell = empty((1,), np.float64)
    launch(numbers_4, 1, 256, blocks, loss_parts, loss_cell)
    return loss_cell, x_bar, w_bar
