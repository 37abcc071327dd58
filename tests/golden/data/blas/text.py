def shares_value_and_grad(w, x, y):
    x_n1 = w.shape[0]
    w_n1 = w.shape[1]
    x_n0 = x.shape[0]
    if not (x.shape[1] == x_n1):
        raise ValueError('axis 1 of x must have extent x_n1')
    if not (y.shape[0] == x_n0):
        raise ValueError('axis 0 of y must have extent x_n0')
    if not (y.shape[1] == w_n1):
        raise ValueError('axis 1 of y must have extent w_n1')
    v1 = scratch((x_n0, w_n1), np.float32)
    # v1[i, j] = sum[k] x[i, k] * w[k, j]
    contract(v1, 'i j', x, 'i k', w, 'k j', (x_n0, w_n1, x_n1))
    y_bar = empty((x_n0, w_n1), np.float32)
    width = width_of(w_n1, 256)
    groups = min(x_n0, 262144 // width)
    blocks = (groups * width + 255) // 256
    v3_wide_parts = scratch((blocks,), np.float64)
    launch(rows_1, blocks, 256, width, x_n0, groups, w_n1, v1, y, y_bar, v3_wide_parts)
    v3_cell = empty((1,), np.float32)
    launch(numbers_2, 1, 256, blocks, v3_wide_parts, v3_cell)
    x_bar = empty((x_n0, x_n1), np.float32)
    # x_bar[i, j] = sum[k] y[i, k] * w[j, k]
    contract(x_bar, 'i j', y, 'i k', w, 'j k', (x_n0, x_n1, w_n1))
    w_bar = empty((x_n1, w_n1), np.float32)
    # w_bar[i, j] = sum[k] y[k, j] * x[k, i]
    contract(w_bar, 'i j', x, 'k i', y, 'k j', (x_n1, w_n1, x_n0))
    return v3_cell, (w_bar, x_bar, y_bar)
