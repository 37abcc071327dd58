"""ADBench's mixture of normal distributions: 10000 points in 10 dimensions, 25 components."""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench import native
from gradc.bench.frameworks import Written, gradc_way, jax_way, pytensor_way, torch_ways
from gradc.bench.workload import Run, Workload

PRIOR = (1.0, 0)  # of the precision: its scale, and its degrees of freedom beyond the dimension

# Points are taken in blocks, one coordinate after the other, so that the innermost loops are vector loops.
SOURCE = """
#include <math.h>
#include <stdlib.h>
#include <string.h>
#define B 64
double mixture(int n, int d, int K, const double *alpha, const double *means, const double *factors,
               const double *logs, const double *x, double *g_alpha, double *g_means, double *g_factors) {
    double total = 0;
    #pragma omp parallel reduction(+:total)
    {
        double *xt = aligned_alloc(64, sizeof(double) * d * B), *c = aligned_alloc(64, sizeof(double) * d * B);
        double *t = aligned_alloc(64, sizeof(double) * d * B), *share = aligned_alloc(64, sizeof(double) * K * B);
        double *l_alpha = calloc(K, 8), *l_means = calloc(K * d, 8), *l_factors = calloc(K * d * d, 8);
        #pragma omp for schedule(static)
        for (int first = 0; first < n; first += B) {
            int count = n - first < B ? n - first : B;
            double peak[B], sum[B], q[B];
            for (int j = 0; j < d; j++)
                for (int p = 0; p < B; p++) xt[j * B + p] = p < count ? x[(first + p) * d + j] : 0;
            for (int p = 0; p < B; p++) { peak[p] = -1e300; sum[p] = 0; }
            for (int k = 0; k < K; k++) {
                const double *L = factors + k * d * d;
                for (int j = 0; j < d; j++)
                    for (int p = 0; p < B; p++) c[j * B + p] = xt[j * B + p] - means[k * d + j];
                for (int p = 0; p < B; p++) q[p] = 0;
                for (int i = 0; i < d; i++) {
                    double s[B];
                    for (int p = 0; p < B; p++) s[p] = 0;
                    for (int j = 0; j <= i; j++)
                        for (int p = 0; p < B; p++) s[p] += L[i * d + j] * c[j * B + p];
                    for (int p = 0; p < B; p++) q[p] += s[p] * s[p];
                }
                for (int p = 0; p < B; p++) {
                    double beta = alpha[k] + logs[k] - 0.5 * q[p];
                    share[k * B + p] = beta;
                    peak[p] = beta > peak[p] ? beta : peak[p];
                }
            }
            for (int k = 0; k < K; k++)
                for (int p = 0; p < B; p++) sum[p] += share[k * B + p] = exp(share[k * B + p] - peak[p]);
            for (int p = 0; p < count; p++) total += log(sum[p]) + peak[p];
            for (int p = 0; p < B; p++) sum[p] = p < count ? 1 / sum[p] : 0;
            for (int k = 0; k < K; k++) {
                const double *L = factors + k * d * d;
                double all = 0;
                for (int p = 0; p < B; p++) { share[k * B + p] *= sum[p]; all += share[k * B + p]; }
                l_alpha[k] += all;
                for (int j = 0; j < d; j++)
                    for (int p = 0; p < B; p++) c[j * B + p] = xt[j * B + p] - means[k * d + j];
                for (int i = 0; i < d; i++) {
                    double *s = t + i * B, ones = 0;
                    for (int p = 0; p < B; p++) s[p] = 0;
                    for (int j = 0; j <= i; j++)
                        for (int p = 0; p < B; p++) s[p] += L[i * d + j] * c[j * B + p];
                    for (int p = 0; p < B; p++) { s[p] *= share[k * B + p]; ones += s[p]; }
                    for (int j = 0; j <= i; j++) {
                        double both = 0;
                        for (int p = 0; p < B; p++) both += s[p] * c[j * B + p];
                        l_factors[(k * d + i) * d + j] -= both;
                        l_means[k * d + j] += ones * L[i * d + j];
                    }
                }
            }
        }
        #pragma omp critical
        {
            for (int i = 0; i < K; i++) g_alpha[i] += l_alpha[i];
            for (int i = 0; i < K * d; i++) g_means[i] += l_means[i];
            for (int i = 0; i < K * d * d; i++) g_factors[i] += l_factors[i];
        }
        free(xt); free(c); free(t); free(share); free(l_alpha); free(l_means); free(l_factors);
    }
    return total;
}
double posterior(int n, int d, int K, const double *alpha, const double *means, const double *icf,
                 const double *x, double gamma, int m, double constant,
                 double *g_alpha, double *g_means, double *g_icf) {
    int width = d * (d + 1) / 2;
    double *factors = calloc(K * d * d, 8), *g = calloc(K * d * d, 8), *logs = calloc(K, 8);
    memset(g_alpha, 0, 8 * K); memset(g_means, 0, 8 * K * d);
    for (int k = 0; k < K; k++) {
        const double *row = icf + k * width;
        for (int i = 0; i < d; i++) { logs[k] += row[i]; factors[(k * d + i) * d + i] = exp(row[i]); }
        int at = d;
        for (int j = 0; j < d; j++)
            for (int i = j + 1; i < d; i++) factors[(k * d + i) * d + j] = row[at++];
    }
    double value = mixture(n, d, K, alpha, means, factors, logs, x, g_alpha, g_means, g) + constant;
    double peak = alpha[0], sum = 0;
    for (int k = 1; k < K; k++) peak = alpha[k] > peak ? alpha[k] : peak;
    for (int k = 0; k < K; k++) sum += exp(alpha[k] - peak);
    value -= n * (log(sum) + peak);
    for (int k = 0; k < K; k++) {
        double *out = g_icf + k * width, count = g_alpha[k];
        for (int i = 0; i < d * d; i++) {
            double entry = factors[k * d * d + i];
            value += 0.5 * gamma * gamma * entry * entry;
            g[k * d * d + i] += gamma * gamma * entry;
        }
        value -= m * logs[k];
        for (int i = 0; i < d; i++)
            out[i] = count - m + g[(k * d + i) * d + i] * factors[(k * d + i) * d + i];
        int at = d;
        for (int j = 0; j < d; j++)
            for (int i = j + 1; i < d; i++) out[at++] = g[(k * d + i) * d + j];
        g_alpha[k] -= n * exp(alpha[k] - peak) / sum;
    }
    free(factors); free(g); free(logs);
    return value;
}
"""


def inputs(small: bool) -> tuple[Any, ...]:
    """Weights, means, factors of the precisions, points, the prior: as ADBench draws them."""
    d, k, n = (3, 4, 9) if small else (10, 25, 10_000)
    rng = np.random.default_rng(9)
    alpha, means = rng.standard_normal(k), rng.standard_normal((k, d))
    inverse_factors = rng.standard_normal((k, d * (d + 1) // 2))
    return alpha, means, inverse_factors, rng.standard_normal((n, d)), *PRIOR


def for_gradc() -> Callable[..., Any]:
    """As written for gradc; SciPy is imported here, because an interpreter for a peer may not have it."""
    special = importlib.import_module("scipy.special")
    gammaln, logsumexp = special.gammaln, special.logsumexp

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

    return posterior


def constant(n: int, d: int, k: int, gamma: float, m: int) -> float:
    """Return what depends on the sizes and the prior alone."""
    freedom = d + m + 1
    log_gamma = 0.25 * d * (d - 1) * math.log(math.pi)
    log_gamma += sum(math.lgamma(0.5 * (freedom - at)) for at in range(d))
    normaliser = freedom * d * (math.log(gamma) - 0.5 * math.log(2)) - log_gamma
    return -0.5 * n * d * math.log(2 * math.pi) - k * normaliser


def by_hand(alpha, means, inverse_factors, x, gamma, m) -> Any:
    """NumPy, vectorised over points and components."""
    n, d = x.shape
    logarithms, diagonal = inverse_factors[:, :d], np.exp(inverse_factors[:, :d])
    columns, rows = np.triu_indices(d, 1)
    factors = diagonal[:, :, None] * np.eye(d)
    factors[:, rows, columns] = inverse_factors[:, d:]
    centred = x - means[:, None]  # component, point, coordinate
    scaled = centred @ factors.swapaxes(1, 2)
    beta = (alpha + logarithms.sum(axis=1))[:, None] - 0.5 * np.square(scaled).sum(axis=2)
    peak = beta.max(axis=0)
    powers = np.exp(beta - peak)
    sums = powers.sum(axis=0)
    shares = powers / sums
    weighted = shares[:, :, None] * scaled
    of_factors = gamma**2 * factors - weighted.swapaxes(1, 2) @ centred
    of_alpha = shares.sum(axis=1)
    of_logarithms = of_alpha[:, None] - m + of_factors[:, range(d), range(d)] * diagonal
    of_means = (weighted.sum(axis=1)[:, None] @ factors)[:, 0]
    weights = np.exp(alpha - alpha.max())
    value = (np.log(sums) + peak).sum() - n * (np.log(weights.sum()) + alpha.max())
    value += 0.5 * gamma**2 * np.square(factors).sum() - m * logarithms.sum()
    value += constant(n, d, len(alpha), gamma, m)
    of_lower = of_factors[:, rows, columns]
    return value, (
        of_alpha - n * weights / weights.sum(),
        of_means,
        np.concatenate([of_logarithms, of_lower], axis=1),
    )


def places(d: int) -> np.ndarray:
    """Where in a row of factors the entry of each place of the matrix stands; one past its end: zero."""
    found = np.full((d, d), d * (d + 1) // 2)
    columns, rows = np.triu_indices(d, 1)
    found[rows, columns] = d + np.arange(len(rows))
    return found


def with_jax(jax: Any) -> Callable[..., Any]:
    """JAX."""
    jnp, logsumexp = jax.numpy, jax.scipy.special.logsumexp

    def posterior(alpha, means, inverse_factors, x, gamma, m):
        n, d = x.shape
        logarithms = inverse_factors[:, :d]
        columns, rows = np.triu_indices(d, 1)
        factors = jnp.exp(logarithms)[:, :, None] * jnp.eye(d)
        factors = factors.at[:, rows, columns].set(inverse_factors[:, d:])
        scaled = jnp.einsum("kij,nkj->nki", factors, x[:, None, :] - means)
        beta = alpha + logarithms.sum(axis=1) - 0.5 * jnp.square(scaled).sum(axis=2)
        likelihood = logsumexp(beta, axis=1).sum() - n * logsumexp(alpha)
        prior = 0.5 * gamma**2 * jnp.square(factors).sum() - m * logarithms.sum()
        return likelihood + prior + constant(n, d, len(alpha), *PRIOR)

    return posterior


def with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch, with a product over points for each component."""

    def posterior(alpha, means, inverse_factors, x, gamma, m):
        n, d = x.shape
        logarithms = inverse_factors[:, :d]
        padded = torch.nn.functional.pad(inverse_factors, (0, 1))
        lower = padded[:, torch.from_numpy(places(d))]
        factors = lower + torch.diag_embed(torch.exp(logarithms))
        scaled = (x - means[:, None]) @ factors.transpose(1, 2)
        beta = (alpha + logarithms.sum(1))[:, None] - 0.5 * torch.square(scaled).sum(2)
        likelihood = torch.logsumexp(beta, 0).sum() - n * torch.logsumexp(alpha, 0)
        prior = 0.5 * gamma**2 * torch.square(factors).sum() - m * logarithms.sum()
        return likelihood + prior + constant(n, d, len(alpha), *PRIOR)

    return posterior


def with_pytensor(sizes: tuple[int, int, int]) -> Callable[..., Any]:
    """PyTensor; sizes are known when the function is made."""
    n, d, k = sizes

    def of_library(tensor: Any) -> Callable[..., Any]:
        def posterior(alpha, means, inverse_factors, x, gamma, m):
            logarithms = inverse_factors[:, :d]
            padded = tensor.concatenate([inverse_factors, tensor.zeros((k, 1))], axis=1)
            factors = padded[:, places(d)] + tensor.exp(logarithms)[:, :, None] * np.eye(d)
            scaled = (x - means[:, None]) @ factors.swapaxes(1, 2)
            beta = (alpha + logarithms.sum(axis=1))[:, None] - 0.5 * (scaled**2).sum(axis=2)
            likelihood = tensor.logsumexp(beta, axis=0).sum() - n * tensor.logsumexp(alpha)
            prior = 0.5 * gamma**2 * (factors**2).sum() - m * logarithms.sum()
            return likelihood + prior + constant(n, d, k, *PRIOR)

        return posterior

    return of_library


def _pytensor(*given: Any) -> Run:
    sizes = (*given[3].shape, len(given[0]))
    return pytensor_way(with_pytensor(sizes), 3)(*given)


def _c(alpha, means, inverse_factors, x, gamma, m) -> Run:
    found = native.function(SOURCE, "posterior")
    whole, real, address = ctypes.c_int, ctypes.c_double, ctypes.c_void_p
    found.argtypes = [*[whole] * 3, *[address] * 4, real, whole, real, *[address] * 3]
    arrays = (alpha, means, inverse_factors, x)
    gradients = tuple(np.zeros_like(array) for array in arrays[:3])
    (n, d), k = x.shape, len(alpha)
    prior = (gamma, m, constant(n, d, k, gamma, m))
    before, after = ([array.ctypes.data for array in group] for group in (arrays, gradients))
    return Written(partial(found, n, d, k, *before, *prior, *after), gradients, keep=arrays)


WORKLOAD = Workload(
    name="gmm",
    title="ADBench's Gaussian mixture, 10 dimensions, 25 components, 10000 points",
    inputs=inputs,
    reference=by_hand,
    ways={
        "gradc": lambda *given: gradc_way(for_gradc(), ("alpha", "means", "inverse_factors"))(*given),
        "numpy": lambda *given: partial(by_hand, *given),
        "jax": jax_way(with_jax, 3),
        **torch_ways(with_torch, 3),
        "pytensor": _pytensor,
        "c": _c,
    },
    notes={"c": "to arrays in place"},
)
