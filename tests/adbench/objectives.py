"""The four objectives of ADBench as plain NumPy: nothing here knows that it will be differentiated."""

import numpy as np
from scipy.special import gammaln, logsumexp

# --- GMM: the posterior of a mixture of normal distributions, with a Wishart prior -----------------------------


def mixture(alpha, means, inverse_factors, x, gamma, m):
    """`inverse_factors` holds the logarithms of the diagonals, then the lower triangles column by column."""
    n, d = x.shape
    logarithms = inverse_factors[:, :d]
    columns, rows = np.triu_indices(d, 1)
    factors = np.zeros((len(alpha), d, d))
    factors[:, rows, columns] = inverse_factors[:, d:]
    factors = factors + np.exp(logarithms)[:, :, None] * np.eye(d)
    scaled = np.einsum("kij,nkj->nki", factors, x[:, None, :] - means)
    beta = alpha + logarithms.sum(axis=1) - 0.5 * np.square(scaled).sum(axis=2)
    likelihood = logsumexp(beta, axis=1).sum() - n * logsumexp(alpha) - 0.5 * n * d * np.log(2 * np.pi)
    prior = 0.5 * gamma**2 * np.square(factors).sum() - m * logarithms.sum()
    freedom = d + m + 1
    log_gamma = 0.25 * d * (d - 1) * np.log(np.pi) + gammaln(0.5 * (freedom - np.arange(d))).sum()
    normaliser = freedom * d * (np.log(gamma) - 0.5 * np.log(2)) - log_gamma
    return likelihood + prior - len(alpha) * normaliser


# --- BA: where a camera sees a point, and where the point was measured -----------------------------------------


def rotate(r, x):
    """Rotation of `x` about `r` by the angle ``|r|`` (Rodrigues)."""
    square = r @ r
    angle = np.sqrt(np.where(square == 0, 1.0, square))
    axis = r / angle
    turned = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + axis * (axis @ x) * (1 - np.cos(angle))
    return np.where(square == 0, x + np.cross(r, x), turned)


def project(camera, point):
    """`camera`: rotation (3), centre (3), focal length, principal point (2), radial distortion (2)."""
    seen = rotate(camera[:3], point - camera[3:6])
    flat = seen[:2] / seen[2]
    square = flat @ flat
    return flat * (1 + camera[9] * square + camera[10] * square**2) * camera[6] + camera[7:9]


def reprojection_error(camera, point, weight, feature):
    return weight * (project(camera, point) - feature)


def weight_error(weight):
    return 1 - weight**2


# --- HAND: a skeleton moves a mesh; how far are its vertices from measured points ------------------------------


def bend(flexion, abduction):
    """Rotations about x, then about z, one for each bone; the third angle of ADBench is always zero."""
    cx, sx, cz, sz = np.cos(flexion), np.sin(flexion), np.cos(abduction), np.sin(abduction)
    zero = np.zeros(flexion.shape)
    rows = [cz, -sz * cx, sz * sx], [sz, cz * cx, -cz * sx], [zero, sx, cx]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation(r):
    """Matrix of the rotation about `r` by the angle ``|r|``; the identity below 1e-4."""
    angle = np.sqrt(r @ r)
    small = angle < 1e-4
    x, y, z = r / np.where(small, 1.0, angle)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return np.where(small, np.eye(3), turned)


def hand_residuals(theta, relative, inverse_absolute, vertices, weights, correspondences, points):
    """Bones: the wrist, five fingers of four (the first does not bend), the forearm."""
    angles = theta[6:].reshape(5, 4)
    still = np.zeros((5, 1))
    flexion = np.concatenate([still, angles[:, :1], angles[:, 2:]], axis=1)
    abduction = np.concatenate([still, angles[:, 1:2], still, still], axis=1)
    fingers = relative[1:21].reshape(5, 4, 4, 4)
    local = np.concatenate([fingers[..., :3] @ bend(flexion, abduction), fingers[..., 3:]], axis=-1)
    reached, joints = relative[0], []
    for joint in range(4):
        reached = reached @ local[:, joint]
        joints.append(reached)
    chains = np.stack(joints, axis=1).reshape(20, 4, 4)
    absolute = np.concatenate([relative[:1], chains, relative[:1] @ relative[21:]])
    moves = (absolute @ inverse_absolute)[:, :3]
    moved = np.einsum("vb,bij,vj->vi", weights, moves[:, :, :3], vertices) + weights @ moves[:, :, 3]
    placed = moved @ rotation(theta[:3]).T + theta[3:6]
    return points - placed[correspondences]


# --- LSTM: how well a recurrent network with diagonal weights foretells a text ---------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer(weights, biases, hidden, cell, x):
    forget, ingate, outgate, change = weights.reshape(4, -1)
    for_forget, for_ingate, for_outgate, for_change = biases.reshape(4, -1)
    kept = cell * sigmoid(x * forget + for_forget)
    cell = kept + sigmoid(hidden * ingate + for_ingate) * np.tanh(hidden * change + for_change)
    return sigmoid(x * outgate + for_outgate) * np.tanh(cell), cell


def network_step(main, extra, state, x, following):
    """Log-likelihood of the character that follows `x`, and the new state."""
    x = x * extra[0]
    new = []
    for at in range(0, len(main), 2):
        x, cell = layer(main[at], main[at + 1], state[at], state[at + 1], x)
        new += [x, cell]
    y = x * extra[1] + extra[2]
    return following @ (y - np.log(2 + np.exp(y).sum())), np.stack(new)


def network_loss(main, extra, state, text):
    total = 0.0
    for at in range(len(text) - 1):
        gain, state = network_step(main, extra, state, text[at], text[at + 1])
        total = total + gain
    return -total / ((len(text) - 1) * text.shape[1])
