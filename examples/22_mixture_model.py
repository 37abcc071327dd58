"""A mixture of normal distributions, as a statistician writes it: log-sum-exp, triangular factors, a prior.

The program is an objective of the benchmark ADBench, whose hand-derived gradient is what ours must equal.
"""

from pathlib import Path

import numpy as np
from scipy.special import gammaln, logsumexp

from gradc import differentiate

DATA = Path(__file__).resolve().parents[1] / "tests" / "adbench"


@differentiate(wrt=("alpha", "means", "inverse_factors"))
def posterior(alpha, means, inverse_factors, x, gamma, m):
    n, d = x.shape
    logarithms = inverse_factors[:, :d]  # of the diagonals; the lower triangles follow, column by column
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


def main() -> None:
    words = (DATA / "gmm" / "1k" / "gmm_d2_K5.txt").read_text().split()
    d, k, n = map(int, words[:3])
    numbers = np.array(words[3:], float)
    ends = np.cumsum([k, k * d, k * d * (d + 1) // 2, n * d])
    alpha, means, inverse_factors, x, (gamma, m) = np.split(numbers, ends)
    arguments = alpha, means.reshape(k, d), inverse_factors.reshape(k, -1), x.reshape(n, d), gamma, m

    value, gradient = posterior.value_and_grad(*arguments)
    published = np.array((DATA / "golden" / "gmm" / "1k_gmm_d2_K5.txt").read_text().split(), float)
    found = np.concatenate([[value], *(part.ravel() for part in gradient)])
    difference = np.abs(found - published) / np.maximum(1, np.abs(found) + np.abs(published))
    print(
        f"{n} points, {k} components: {len(found) - 1} derivatives, largest difference {difference.max():.1e}"
    )
    assert len(found) == len(published)
    assert difference.max() < 1e-12


if __name__ == "__main__":
    main()
