"""softmax_value_and_grad
"""

import numpy as np
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_groups import group_max, group_sum
from gradc_runtime.cuda_host import clear, empty, kernel, launch, parts_of, scratch, width_of
from gradc_runtime.cuda_indices import checked
from gradc_runtime.cuda_scalars import exp, larger, log, quotient


@kernel("int64, int64, int64, int64, float64[:, ::1], float64[:, ::1], int64[::1], float64[:, ::1], float64[:, ::1], float64[::1]")
def rows_1(width, n, parts, m, x, shifted_parts, label, shifted_bar, x_bar, loss_parts):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    number = block * 256 + thread
    loss_part = 0.0
    powers_own = cuda.local.array(8, np.float64)
    winner_own = cuda.local.array(8, np.bool_)
    part = quotient(number, width)
    lane = number - part * width
    for step in range((n + (parts - 1)) // parts):
        here = part + step * parts
        active = part < parts and here < n
        i = min(here, n - 1)
        top = -np.inf
        for slot in range(8):
            j = lane + slot * width
            if j < (m if active else 0):
                # top[i] = max[j] x[i, j]
                top = larger(top, x[i, j])
        top = group_max(group_f64, top, width)
        sums = 0.0
        ties = 0.0
        for slot in range(8):
            j = lane + slot * width
            if j < (m if active else 0):
                # shifted[i, j] = x[i, j] - top[i]
                shifted_parts[part, j] = x[i, j] - top
                # powers[i, j] = exp(shifted[i, j])
                powers_own[slot] = exp(shifted_parts[part, j])
                # sums[i] = sum[j] powers[i, j]
                sums = sums + powers_own[slot]
                # winner[i, j] = x[i, j] == top[i]
                winner_own[slot] = x[i, j] == top
                # ties[i] = sum[j] winner[i, j]
                ties = ties + np.float64(winner_own[slot])
        sums = group_sum(group_f64, sums, width)
        ties = group_sum(group_f64, ties, width)
        # v1[i] = log(sums[i])
        v1 = log(sums)
        t = label[i]
        cuda.syncthreads()
        # losses[i] = v1[i] - shifted[i, label[i]]
        losses = v1 - (shifted_parts[part, t + m if t < 0 else t] if active else 0.0)
        # loss = sum[i] losses[i]
        loss_part = loss_part + (losses if active and lane == 0 else 0.0)
        # sums_bar[i] = select(1.0 == 0, 0, 1.0 / sums[i])
        sums_bar = 1.0 / sums
        t_2 = label[i]
        if active and lane == 0:
            # shifted_bar[i, label[i]] += -1.0
            shifted_bar[i, t_2 + m if t_2 < 0 else t_2] += -1.0
        top_bar = 0.0
        cuda.syncthreads()
        for slot in range(8):
            j = lane + slot * width
            if j < (m if active else 0):
                # shifted_bar[i, j] += sums_bar[i] * powers[i, j]
                shifted_bar[i, j] += sums_bar * powers_own[slot]
                # top_bar[i] = sum[j] -shifted_bar[i, j]
                top_bar = top_bar + -shifted_bar[i, j]
        top_bar = group_sum(group_f64, top_bar, width)
        # share[i] = top_bar[i] / ties[i]
        share = top_bar / ties
        for slot in range(8):
            j = lane + slot * width
            if j < (m if active else 0):
                # x_bar_3[i, j] = select(winner[i, j], share[i], 0.0)
                x_bar_3 = share if winner_own[slot] else 0.0
                # x_bar[i, j] = shifted_bar[i, j] + x_bar_3[i, j]
                x_bar[i, j] = shifted_bar[i, j] + x_bar_3
        cuda.syncthreads()
    loss_part = group_sum(group_f64, loss_part, 256)
    if thread == 0:
        loss_parts[block] = loss_part


@kernel("int64, int64, int64, int64, float64[:, ::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1], int64[::1], float64[:, ::1], float64[:, ::1], float64[::1]")
def rows_2(width, n, parts, m, x, shifted_parts, powers_parts, winner_parts, label, shifted_bar, x_bar, loss_parts):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    number = block * 256 + thread
    loss_part = 0.0
    part = quotient(number, width)
    lane = number - part * width
    for step in range((n + (parts - 1)) // parts):
        here = part + step * parts
        active = part < parts and here < n
        i = min(here, n - 1)
        top = -np.inf
        for j in range(lane, m if active else 0, width):
            # top[i] = max[j] x[i, j]
            top = larger(top, x[i, j])
        top = group_max(group_f64, top, width)
        sums = 0.0
        ties = 0.0
        for j in range(lane, m if active else 0, width):
            # shifted[i, j] = x[i, j] - top[i]
            shifted_parts[part, j] = x[i, j] - top
            # powers[i, j] = exp(shifted[i, j])
            powers_parts[part, j] = exp(shifted_parts[part, j])
            # sums[i] = sum[j] powers[i, j]
            sums = sums + powers_parts[part, j]
            # winner[i, j] = x[i, j] == top[i]
            winner_parts[part, j] = x[i, j] == top
            # ties[i] = sum[j] winner[i, j]
            ties = ties + np.float64(winner_parts[part, j])
        sums = group_sum(group_f64, sums, width)
        ties = group_sum(group_f64, ties, width)
        # v1[i] = log(sums[i])
        v1 = log(sums)
        t = label[i]
        cuda.syncthreads()
        # losses[i] = v1[i] - shifted[i, label[i]]
        losses = v1 - (shifted_parts[part, t + m if t < 0 else t] if active else 0.0)
        # loss = sum[i] losses[i]
        loss_part = loss_part + (losses if active and lane == 0 else 0.0)
        # sums_bar[i] = select(1.0 == 0, 0, 1.0 / sums[i])
        sums_bar = 1.0 / sums
        t_2 = label[i]
        if active and lane == 0:
            # shifted_bar[i, label[i]] += -1.0
            shifted_bar[i, t_2 + m if t_2 < 0 else t_2] += -1.0
        top_bar = 0.0
        cuda.syncthreads()
        for j in range(lane, m if active else 0, width):
            # shifted_bar[i, j] += sums_bar[i] * powers[i, j]
            shifted_bar[i, j] += sums_bar * powers_parts[part, j]
            # top_bar[i] = sum[j] -shifted_bar[i, j]
            top_bar = top_bar + -shifted_bar[i, j]
        top_bar = group_sum(group_f64, top_bar, width)
        # share[i] = top_bar[i] / ties[i]
        share = top_bar / ties
        for j in range(lane, m if active else 0, width):
            # x_bar_3[i, j] = select(winner[i, j], share[i], 0.0)
            x_bar_3 = share if winner_parts[part, j] else 0.0
            # x_bar[i, j] = shifted_bar[i, j] + x_bar_3[i, j]
            x_bar[i, j] = shifted_bar[i, j] + x_bar_3
        cuda.syncthreads()
    loss_part = group_sum(group_f64, loss_part, 256)
    if thread == 0:
        loss_parts[block] = loss_part


@kernel("int64, float64[::1], float64[::1]")
def numbers_3(blocks, loss_parts, loss_cell):
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    loss = 0.0
    for place in range(thread, blocks, 256):
        loss = loss + loss_parts[place]
    loss = group_sum(group_f64, loss, 256)
    if thread == 0:
        loss_cell[0] = loss


def softmax_value_and_grad(x, label):
    n = x.shape[0]
    m = x.shape[1]
    if not (label.shape[0] == n):
        raise ValueError('axis 0 of label must have extent n')
    label = checked(label, m)
    shifted_bar = scratch((n, m), np.float64)
    clear(shifted_bar)
    x_bar = empty((n, m), np.float64)
    width = width_of(m, 256)
    copied = m if m <= 8 * width else m + m + m
    parts = parts_of(n, 63 + m * 2 + m * 31 + m * 6 + m * 6, copied)
    blocks = (parts * width + 255) // 256
    loss_parts = scratch((blocks,), np.float64)
    long_groups = 0 if m <= 8 * width else parts
    powers_parts = scratch((long_groups, m), np.float64)
    shifted_parts = scratch((parts, m), np.float64)
    winner_parts = scratch((long_groups, m), np.bool_)
    short_blocks = blocks if m <= 8 * width else 0
    launch(rows_1, short_blocks, 256, width, n, parts, m, x, shifted_parts, label, shifted_bar, x_bar, loss_parts)
    long_blocks = 0 if m <= 8 * width else blocks
    launch(rows_2, long_blocks, 256, width, n, parts, m, x, shifted_parts, powers_parts, winner_parts, label, shifted_bar, x_bar, loss_parts)
    loss_cell = empty((1,), np.float64)
    launch(numbers_3, 1, 256, blocks, loss_parts, loss_cell)
    return loss_cell, x_bar
