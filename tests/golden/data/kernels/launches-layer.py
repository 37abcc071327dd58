"""layer_value_and_grad
"""

import numpy as np
from gradc_runtime.cuda_backend import cuda
from gradc_runtime.cuda_groups import group_sum
from gradc_runtime.cuda_host import clear, empty, kernel, launch, parts_of, scratch, width_of, zeros
from gradc_runtime.cuda_scalars import cosh, quotient, tanh


@kernel("int64, int64, int64, float64[:, ::1], int64, float64[:, ::1], float64[:, ::1]", launch_bounds=(256, 2))
def z_tiles(k, chunks, n, x, m, w, z):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    left_tile = cuda.shared.array((16, 132), np.float64, alignment=16)
    right_tile = cuda.shared.array((16, 64), np.float64, alignment=16)
    rest = quotient(block, (k + 63) // 64)
    column_tile = block - rest * ((k + 63) // 64)
    first_row = rest * 128
    first_column = column_tile * 64
    down = thread // 16
    across = thread - down * 16
    line = thread // 8
    lane = thread - line * 8
    line_2 = thread // 64
    lane_2 = thread - line_2 * 64
    at = min(first_column + lane_2, k - 1)
    sums = cuda.local.array((8, 4), np.float64)
    own_rows = cuda.local.array(8, np.float64)
    for i_2 in range(8):
        for j_2 in range(4):
            sums[i_2, j_2] = 0.0
    for step in range(chunks):
        phase = 0 if step - step // 2 * 2 == 0 else 8
        base = step * 8
        k_2 = base + lane
        for turn in range(4):
            row = line + turn * 32
            at_2 = min(first_row + row, n - 1)
            left_tile[phase + lane, row] = x[at_2, k_2] if k_2 < m else 0.0
        for turn_2 in range(2):
            term = line_2 + turn_2 * 4
            k_3 = base + term
            right_tile[phase + term, lane_2] = w[k_3, at] if k_3 < m else 0.0
        cuda.syncthreads()
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 1, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 1, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 2, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 2, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 3, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 3, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 4, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 4, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 5, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 5, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 6, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 6, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
        for i_2 in range(8):
            own_rows[i_2] = left_tile[phase + 7, i_2 + i_2 // 4 * 60 + down * 4]
        for j_2 in range(4):
            factor = right_tile[phase + 7, across * 4 + j_2]
            for i_2 in range(8):
                sums[i_2, j_2] = cuda.fma(own_rows[i_2], factor, sums[i_2, j_2])
    for i_2 in range(8):
        row_2 = first_row + (i_2 + i_2 // 4 * 60 + down * 4)
        if row_2 < n:
            for j_2 in range(4):
                column = first_column + (across * 4 + j_2)
                if column < k:
                    # z[i, j] = sum[k] x[i, k] * w[k, j]
                    z[row_2, column] = sums[i_2, j_2]


@kernel("int64, int64, int64, int64, float64[:, ::1], int64, float64[:, ::1], float64[:, ::1], float64[:, ::1]")
def z_tiles_2(k, n, chunks_2, parts, x, m, w, z, z_copies):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    left_tile = cuda.shared.array((64, 20), np.float64, alignment=16)
    right_tile = cuda.shared.array((64, 16), np.float64, alignment=16)
    rest = quotient(block, (k + 15) // 16)
    column_tile = block - rest * ((k + 15) // 16)
    rest_2 = quotient(rest, (n + 15) // 16)
    row_tile = rest - rest_2 * ((n + 15) // 16)
    first_row = row_tile * 16
    first_column = column_tile * 16
    down = thread // 16
    across = thread - down * 16
    line = thread // 32
    lane = thread - line * 32
    line_2 = thread // 16
    lane_2 = thread - line_2 * 16
    at = min(first_column + lane_2, k - 1)
    sums = cuda.local.array((1, 1), np.float64)
    own_rows = cuda.local.array(1, np.float64)
    for i_3 in range(1):
        for j_3 in range(1):
            sums[i_3, j_3] = 0.0
    first_step = quotient(rest_2 * chunks_2, parts)
    steps = quotient((rest_2 + 1) * chunks_2, parts) - first_step
    for step in range(steps):
        here = first_step + step
        phase = 0 if step - step // 2 * 2 == 0 else 32
        base = here * 32
        k_4 = base + lane
        for turn in range(2):
            row = line + turn * 8
            at_2 = min(first_row + row, n - 1)
            left_tile[phase + lane, row] = x[at_2, k_4] if k_4 < m else 0.0
        for turn_2 in range(2):
            term = line_2 + turn_2 * 16
            k_5 = base + term
            right_tile[phase + term, lane_2] = w[k_5, at] if k_5 < m else 0.0
        cuda.syncthreads()
        for q in range(4):
            term_2 = phase + q * 8
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 1, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 1, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 2, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 2, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 3, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 3, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 4, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 4, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 5, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 5, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 6, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 6, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
            for i_3 in range(1):
                own_rows[i_3] = left_tile[term_2 + 7, down + i_3]
            for j_3 in range(1):
                factor = right_tile[term_2 + 7, across + j_3]
                for i_3 in range(1):
                    sums[i_3, j_3] = cuda.fma(own_rows[i_3], factor, sums[i_3, j_3])
    for i_3 in range(1):
        row_2 = first_row + (down + i_3)
        if row_2 < n:
            for j_3 in range(1):
                column = first_column + (across + j_3)
                if column < k:
                    if parts == 1:
                        # z[i, j] = sum[k] x[i, k] * w[k, j]
                        z[row_2, column] = sums[i_3, j_3]
                    if 1 < parts:
                        z_copies[rest_2, row_2 * k + column] = sums[i_3, j_3]


@kernel("int64, int64, float64[:, ::1], int64, float64[:, ::1]")
def z_sum(elements, copies, z_copies, k, z):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    element = block * 256 + thread
    if element < elements:
        total = 0.0
        for copy in range(copies):
            total = total + z_copies[copy, element]
        rest = quotient(element, k)
        j_4 = element - rest * k
        # z[i, j] = sum[k] x[i, k] * w[k, j]
        z[rest, j_4] = total


@kernel("int64, int64, int64, int64, float64[:, ::1], float64[::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[::1]")
def rows_1(width, n, parts_2, k, z, b, target, v1_bar, b_bar_parts, loss_parts):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    number = block * 256 + thread
    loss_part = 0.0
    b_bar_own = cuda.local.array(8, np.float64)
    for slot in range(8):
        b_bar_own[slot] = 0.0
    part = quotient(number, width)
    lane = number - part * width
    for step in range((n + (parts_2 - 1)) // parts_2):
        here = part + step * parts_2
        active = part < parts_2 and here < n
        i = min(here, n - 1)
        for slot in range(8):
            j = lane + slot * width
            if j < (k if active else 0):
                # v1[i, j] = z[i, j] + b[j]
                v1 = z[i, j] + b[j]
                # h[i, j] = tanh(v1[i, j])
                h = tanh(v1)
                # v2[i, j] = h[i, j] - target[i, j]
                v2 = h - target[i, j]
                # error[i, j] = square(v2[i, j])
                error = v2 * v2
                # loss = sum[i, j] error[i, j]
                loss_part = loss_part + error
                # v2_bar[i, j] = 2 * 1.0 * v2[i, j]
                v2_bar = 2.0 * v2
                t = h * h
                t_2 = cosh(v1)
                # v1_bar[i, j] = select(h[i, j] * h[i, j] < 1/2, v2_bar[i, j] * (1 - h[i, j] * h[i, j]), v2_bar[i, j] / (cosh(v1[i, j]) * cosh(v1[i, j])))
                v1_bar[i, j] = v2_bar * (1.0 - t) if t < 0.5 else v2_bar / (t_2 * t_2)
                # b_bar[i] = sum[j] v1_bar[j, i]
                b_bar_own[slot] += v1_bar[i, j]
    for slot in range(8):
        if part < parts_2 and lane + slot * width < k:
            b_bar_parts[part, lane + slot * width] = b_bar_own[slot]
    loss_part = group_sum(group_f64, loss_part, 256)
    if thread == 0:
        loss_parts[block] = loss_part


@kernel("int64, int64, int64, int64, float64[:, ::1], float64[::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[::1]")
def rows_2(width, n, parts_2, k, z, b, target, v1_bar, b_bar_parts, loss_parts):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    number = block * 256 + thread
    loss_part = 0.0
    part = quotient(number, width)
    lane = number - part * width
    for step in range((n + (parts_2 - 1)) // parts_2):
        here = part + step * parts_2
        active = part < parts_2 and here < n
        i = min(here, n - 1)
        for j in range(lane, k if active else 0, width):
            # v1[i, j] = z[i, j] + b[j]
            v1 = z[i, j] + b[j]
            # h[i, j] = tanh(v1[i, j])
            h = tanh(v1)
            # v2[i, j] = h[i, j] - target[i, j]
            v2 = h - target[i, j]
            # error[i, j] = square(v2[i, j])
            error = v2 * v2
            # loss = sum[i, j] error[i, j]
            loss_part = loss_part + error
            # v2_bar[i, j] = 2 * 1.0 * v2[i, j]
            v2_bar = 2.0 * v2
            t = h * h
            t_2 = cosh(v1)
            # v1_bar[i, j] = select(h[i, j] * h[i, j] < 1/2, v2_bar[i, j] * (1 - h[i, j] * h[i, j]), v2_bar[i, j] / (cosh(v1[i, j]) * cosh(v1[i, j])))
            v1_bar[i, j] = v2_bar * (1.0 - t) if t < 0.5 else v2_bar / (t_2 * t_2)
            # b_bar[i] = sum[j] v1_bar[j, i]
            b_bar_parts[part, j] += v1_bar[i, j]
    loss_part = group_sum(group_f64, loss_part, 256)
    if thread == 0:
        loss_parts[block] = loss_part


@kernel("int64, int64, int64, int64, float64[:, ::1], float64[::1]")
def sums_3(columns, k, parts_2, sharing, b_bar_parts, b_bar):
    block = cuda.blockIdx.x
    thread = cuda.threadIdx.x
    row = quotient(thread, columns)
    column = thread - row * columns
    element = block * columns + column
    at = min(element, k - 1)
    total = 0.0
    for copy in range(row, parts_2, sharing):
        total = total + b_bar_parts[copy, at]
    sums = cuda.shared.array(256, np.float64)
    sums[thread] = total
    cuda.syncthreads()
    if thread < 128 and columns <= 128:
        sums[thread] += sums[thread + 128]
    cuda.syncthreads()
    if thread < 64 and columns <= 64:
        sums[thread] += sums[thread + 64]
    cuda.syncthreads()
    if thread < 32 and columns <= 32:
        sums[thread] += sums[thread + 32]
    cuda.syncthreads()
    if thread < 16 and columns <= 16:
        sums[thread] += sums[thread + 16]
    cuda.syncthreads()
    if thread < 8 and columns <= 8:
        sums[thread] += sums[thread + 8]
    cuda.syncthreads()
    if row == 0 and element < k:
        b_bar[at] += sums[column]


@kernel("int64, float64[::1], float64[::1]")
def numbers_4(blocks_3, loss_parts, loss_cell):
    thread = cuda.threadIdx.x
    group_f64 = cuda.shared.array(256, np.float64)
    loss = 0.0
    for place in range(thread, blocks_3, 256):
        loss = loss + loss_parts[place]
    loss = group_sum(group_f64, loss, 256)
    if thread == 0:
        loss_cell[0] = loss


@kernel("int64, int64, int64, float64[:, ::1], int64, float64[:, ::1], float64[:, ::1]", launch_bounds=(256, 2))
def w_bar_tiles(k, m, chunks_3, x, n, v1_bar, w_bar):
    block_2 = cuda.blockIdx.x
    thread_2 = cuda.threadIdx.x
    left_tile = cuda.shared.array((16, 128), np.float64, alignment=16)
    right_tile = cuda.shared.array((16, 64), np.float64, alignment=16)
    rest = quotient(block_2, (k + 63) // 64)
    column_tile = block_2 - rest * ((k + 63) // 64)
    first_row = rest * 128
    first_column = column_tile * 64
    down = thread_2 // 16
    across = thread_2 - down * 16
    line = thread_2 // 128
    lane_2 = thread_2 - line * 128
    at = min(first_row + lane_2, m - 1)
    line_2 = thread_2 // 64
    lane_3 = thread_2 - line_2 * 64
    at_2 = min(first_column + lane_3, k - 1)
    sums = cuda.local.array((8, 4), np.float64)
    own_rows = cuda.local.array(8, np.float64)
    for i_4 in range(8):
        for j_5 in range(4):
            sums[i_4, j_5] = 0.0
    for step_2 in range(chunks_3):
        phase = 0 if step_2 - step_2 // 2 * 2 == 0 else 8
        base = step_2 * 8
        for turn in range(4):
            term = line + turn * 2
            k_6 = base + term
            left_tile[phase + term, lane_2] = x[k_6, at] if k_6 < n else 0.0
        for turn_2 in range(2):
            term_2 = line_2 + turn_2 * 4
            k_7 = base + term_2
            right_tile[phase + term_2, lane_3] = v1_bar[k_7, at_2] if k_7 < n else 0.0
        cuda.syncthreads()
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 1, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 1, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 2, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 2, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 3, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 3, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 4, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 4, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 5, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 5, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 6, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 6, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
        for i_4 in range(8):
            own_rows[i_4] = left_tile[phase + 7, i_4 + i_4 // 4 * 60 + down * 4]
        for j_5 in range(4):
            factor = right_tile[phase + 7, across * 4 + j_5]
            for i_4 in range(8):
                sums[i_4, j_5] = cuda.fma(own_rows[i_4], factor, sums[i_4, j_5])
    for i_4 in range(8):
        row = first_row + (i_4 + i_4 // 4 * 60 + down * 4)
        if row < m:
            for j_5 in range(4):
                column = first_column + (across * 4 + j_5)
                if column < k:
                    # w_bar[i, j] = sum[k] v1_bar[k, j] * x[k, i]
                    w_bar[row, column] = sums[i_4, j_5]


@kernel("int64, int64, int64, int64, float64[:, ::1], int64, float64[:, ::1], float64[:, ::1], float64[:, ::1]")
def w_bar_tiles_2(k, m, chunks_4, parts_3, x, n, v1_bar, w_bar, w_bar_copies):
    block_3 = cuda.blockIdx.x
    thread_3 = cuda.threadIdx.x
    left_tile = cuda.shared.array((64, 16), np.float64, alignment=16)
    right_tile = cuda.shared.array((64, 16), np.float64, alignment=16)
    rest = quotient(block_3, (k + 15) // 16)
    column_tile = block_3 - rest * ((k + 15) // 16)
    rest_2 = quotient(rest, (m + 15) // 16)
    row_tile = rest - rest_2 * ((m + 15) // 16)
    first_row = row_tile * 16
    first_column = column_tile * 16
    down = thread_3 // 16
    across = thread_3 - down * 16
    line = thread_3 // 16
    lane_4 = thread_3 - line * 16
    at = min(first_row + lane_4, m - 1)
    line_2 = thread_3 // 16
    lane_5 = thread_3 - line_2 * 16
    at_2 = min(first_column + lane_5, k - 1)
    sums = cuda.local.array((1, 1), np.float64)
    own_rows = cuda.local.array(1, np.float64)
    for i_5 in range(1):
        for j_6 in range(1):
            sums[i_5, j_6] = 0.0
    first_step = quotient(rest_2 * chunks_4, parts_3)
    steps = quotient((rest_2 + 1) * chunks_4, parts_3) - first_step
    for step_3 in range(steps):
        here_2 = first_step + step_3
        phase = 0 if step_3 - step_3 // 2 * 2 == 0 else 32
        base = here_2 * 32
        for turn in range(2):
            term = line + turn * 16
            k_8 = base + term
            left_tile[phase + term, lane_4] = x[k_8, at] if k_8 < n else 0.0
        for turn_2 in range(2):
            term_2 = line_2 + turn_2 * 16
            k_9 = base + term_2
            right_tile[phase + term_2, lane_5] = v1_bar[k_9, at_2] if k_9 < n else 0.0
        cuda.syncthreads()
        for q in range(4):
            term_3 = phase + q * 8
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 1, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 1, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 2, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 2, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 3, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 3, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 4, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 4, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 5, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 5, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 6, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 6, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
            for i_5 in range(1):
                own_rows[i_5] = left_tile[term_3 + 7, down + i_5]
            for j_6 in range(1):
                factor = right_tile[term_3 + 7, across + j_6]
                for i_5 in range(1):
                    sums[i_5, j_6] = cuda.fma(own_rows[i_5], factor, sums[i_5, j_6])
    for i_5 in range(1):
        row = first_row + (down + i_5)
        if row < m:
            for j_6 in range(1):
                column = first_column + (across + j_6)
                if column < k:
                    if parts_3 == 1:
                        # w_bar[i, j] = sum[k] v1_bar[k, j] * x[k, i]
                        w_bar[row, column] = sums[i_5, j_6]
                    if 1 < parts_3:
                        w_bar_copies[rest_2, row * k + column] = sums[i_5, j_6]


@kernel("int64, int64, float64[:, ::1], int64, float64[:, ::1]")
def w_bar_sum(elements_2, copies_2, w_bar_copies, k, w_bar):
    block_4 = cuda.blockIdx.x
    thread_4 = cuda.threadIdx.x
    element = block_4 * 256 + thread_4
    if element < elements_2:
        total = 0.0
        for copy in range(copies_2):
            total = total + w_bar_copies[copy, element]
        rest = quotient(element, k)
        j_7 = element - rest * k
        # w_bar[i, j] = sum[k] v1_bar[k, j] * x[k, i]
        w_bar[rest, j_7] = total


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
    z = scratch((n, k), np.float64)
    blocks = (n + 127) // 128 * ((k + 63) // 64)
    is_large = min(blocks // 25, 1)
    is_small = 1 - is_large
    chunks = (m + 7) // 8
    launch(z_tiles, blocks * is_large, 256, k, chunks, n, x, m, w, z)
    blocks_2 = (n + 15) // 16 * ((k + 15) // 16)
    parts = max(max(min(256 // max(blocks_2, 1), min(m // 256, 64)), 1) * is_small, 1)
    copies = parts * min(parts - 1, 1)
    elements = n * k
    z_copies = scratch((copies, elements), np.float64)
    chunks_2 = (m + 31) // 32
    launch(z_tiles_2, blocks_2 * parts * is_small, 256, k, n, chunks_2, parts, x, m, w, z, z_copies)
    launch(z_sum, (elements + 255) // 256 * min(copies, 1), 256, elements, copies, z_copies, k, z)
    v1_bar = scratch((n, k), np.float64)
    b_bar = zeros((k,), np.float64)
    width = width_of(k, 256)
    parts_2 = parts_of(n, k * 67, k)
    blocks_3 = (parts_2 * width + 255) // 256
    loss_parts = scratch((blocks_3,), np.float64)
    long_groups = 0 if k <= 8 * width else parts_2
    b_bar_parts = scratch((parts_2, k), np.float64)
    clear(b_bar_parts, 0, long_groups)
    short_blocks = blocks_3 if k <= 8 * width else 0
    launch(rows_1, short_blocks, 256, width, n, parts_2, k, z, b, target, v1_bar, b_bar_parts, loss_parts)
    long_blocks = 0 if k <= 8 * width else blocks_3
    launch(rows_2, long_blocks, 256, width, n, parts_2, k, z, b, target, v1_bar, b_bar_parts, loss_parts)
    sharing = width_of(parts_2, 32)
    columns = 256 // sharing
    blocks_4 = (k + (columns - 1)) // columns
    launch(sums_3, blocks_4, 256, columns, k, parts_2, sharing, b_bar_parts, b_bar)
    loss_cell = empty((1,), np.float64)
    launch(numbers_4, 1, 256, blocks_3, loss_parts, loss_cell)
    w_bar = empty((m, k), np.float64)
    blocks_5 = (m + 127) // 128 * ((k + 63) // 64)
    is_large_2 = min(blocks_5 // 25, 1)
    is_small_2 = 1 - is_large_2
    chunks_3 = (n + 7) // 8
    launch(w_bar_tiles, blocks_5 * is_large_2, 256, k, m, chunks_3, x, n, v1_bar, w_bar)
    blocks_6 = (m + 15) // 16 * ((k + 15) // 16)
    parts_3 = max(max(min(256 // max(blocks_6, 1), min(n // 256, 64)), 1) * is_small_2, 1)
    copies_2 = parts_3 * min(parts_3 - 1, 1)
    elements_2 = m * k
    w_bar_copies = scratch((copies_2, elements_2), np.float64)
    chunks_4 = (n + 31) // 32
    launch(w_bar_tiles_2, blocks_6 * parts_3 * is_small_2, 256, k, m, chunks_4, parts_3, x, n, v1_bar, w_bar, w_bar_copies)
    launch(w_bar_sum, (elements_2 + 255) // 256 * min(copies_2, 1), 256, elements_2, copies_2, w_bar_copies, k, w_bar)
    return loss_cell, w_bar, b_bar
