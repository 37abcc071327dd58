"""ADBench's bundle adjustment: the blocks of the Jacobian, 2 x 15 for each of 10000 observations."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradc.bench.frameworks import (
    Written,
    casadi_bound,
    casadi_compiled,
    gradc_function,
    jax_module,
    jax_run,
    torch_module,
    torch_tensor,
)
from gradc.bench.workload import Run, Workload

WIDTHS = (11, 3, 1, 2)  # camera, point, weight, feature


def inputs(small: bool) -> tuple[Any, ...]:
    """Cameras (rotation, centre, focal length, principal point, distortion), points, weights, features."""
    rng = np.random.default_rng(10)
    count = 5 if small else 10_000
    near = np.array([0.2, -0.3, 0.1, 0.5, -0.4, -6.0, 800.0, 3.0, -2.0, -1e-2, 1e-3])
    camera = near * (1 + 0.1 * rng.standard_normal((count, 11)))
    point = rng.standard_normal((count, 3))
    return camera, point, rng.uniform(0.5, 1.5, count), 100 * rng.standard_normal((count, 2))


def reprojection_error(camera, point, weight, feature):
    """As written for gradc: one observation, rotation about an axis by Rodrigues."""
    r, x = camera[:3], point - camera[3:6]
    angle = np.sqrt(r @ r)
    axis = r / angle
    turned = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + axis * (axis @ x) * (1 - np.cos(angle))
    flat = turned[:2] / turned[2]
    away = flat @ flat
    projected = flat * (1 + camera[9] * away + camera[10] * away**2) * camera[6] + camera[7:9]
    return weight * (projected - feature)


def _crosses(v: np.ndarray) -> np.ndarray:
    """Matrices of the products with these vectors."""
    found = np.zeros((len(v), 3, 3))
    found[:, (2, 0, 1), (1, 2, 0)] = v
    found[:, (1, 2, 0), (2, 0, 1)] = -v
    return found


def by_hand(camera: np.ndarray, point: np.ndarray, weight: np.ndarray, feature: np.ndarray) -> Any:
    """NumPy; the derivative of a rotation by its vector after Gallego and Yezzi."""
    r, x = camera[:, :3], point - camera[:, 3:6]
    square = (r * r).sum(axis=1)[:, None, None]
    angle, cross = np.sqrt(square), _crosses(r)
    rotation = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / square * (cross @ cross)
    inner = r[:, :, None] * r[:, None] + (rotation.swapaxes(1, 2) - np.eye(3)) @ cross
    of_r = -rotation @ _crosses(x) @ inner / square
    seen = (rotation @ x[:, :, None])[:, :, 0]
    flat = seen[:, :2] / seen[:, 2:]
    away = (flat * flat).sum(axis=1)
    k1, k2, focal = camera[:, 9], camera[:, 10], camera[:, 6]
    bend, slope = 1 + k1 * away + k2 * away**2, 2 * (k1 + 2 * k2 * away)
    of_flat = bend[:, None, None] * np.eye(2) + slope[:, None, None] * flat[:, :, None] * flat[:, None]
    of_flat *= (weight * focal)[:, None, None]
    of_seen = np.empty((len(r), 2, 3))
    of_seen[:, :, :2] = of_flat / seen[:, 2, None, None]
    of_seen[:, :, 2] = -(of_flat @ flat[:, :, None])[:, :, 0] / seen[:, 2:]
    of_point = of_seen @ rotation
    of_camera = np.empty((len(r), 2, 11))
    of_camera[:, :, :3] = of_seen @ of_r
    of_camera[:, :, 3:6] = -of_point
    of_camera[:, :, 6] = weight[:, None] * flat * bend[:, None]
    of_camera[:, :, 7:9] = weight[:, None, None] * np.eye(2)
    of_camera[:, :, 9] = (weight * focal * away)[:, None] * flat
    of_camera[:, :, 10] = (weight * focal * away**2)[:, None] * flat
    of_weight = flat * (bend * focal)[:, None] + camera[:, 7:9] - feature
    return of_camera, of_point, of_weight


def of_library(library: Any, dot: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """JAX and PyTorch write it like NumPy."""

    def error(camera, point, weight, feature):
        r, x = camera[:3], point - camera[3:6]
        angle = library.sqrt(dot(r, r))
        axis = r / angle
        cosine = library.cos(angle)
        turned = x * cosine + library.cross(axis, x) * library.sin(angle) + axis * dot(axis, x) * (1 - cosine)
        flat = turned[:2] / turned[2]
        away = dot(flat, flat)
        projected = flat * (1 + camera[9] * away + camera[10] * away**2) * camera[6] + camera[7:9]
        return weight * (projected - feature)

    return error


def of_scalars(library: Any, numbers: Any) -> list[Any]:
    """For libraries of scalar programs: one number after the other."""
    r0, r1, r2, c0, c1, c2, focal, p0, p1, k1, k2, x0, x1, x2, weight, f0, f1 = numbers
    x0, x1, x2 = x0 - c0, x1 - c1, x2 - c2
    angle = library.sqrt(r0 * r0 + r1 * r1 + r2 * r2)
    a0, a1, a2 = r0 / angle, r1 / angle, r2 / angle
    sine, cosine = library.sin(angle), library.cos(angle)
    along = (a0 * x0 + a1 * x1 + a2 * x2) * (1 - cosine)
    s0 = x0 * cosine + (a1 * x2 - a2 * x1) * sine + a0 * along
    s1 = x1 * cosine + (a2 * x0 - a0 * x2) * sine + a1 * along
    s2 = x2 * cosine + (a0 * x1 - a1 * x0) * sine + a2 * along
    u, v = s0 / s2, s1 / s2
    away = u * u + v * v
    bend = (1 + k1 * away + k2 * away * away) * focal
    return [weight * (u * bend + p0 - f0), weight * (v * bend + p1 - f1)]


def _gradc(*arrays: np.ndarray) -> Run:
    vmap = importlib.import_module("gradc").vmap
    error = gradc_function(reprojection_error, ("camera", "point", "weight"))
    return partial(vmap(error.jacobian), *arrays)


def _jax(mode: str, *arrays: np.ndarray) -> Run:
    jax = jax_module("float64")
    error = of_library(jax.numpy, jax.numpy.dot)
    return jax_run(jax, jax.jit(jax.vmap(getattr(jax, mode)(error, argnums=(0, 1, 2)))), arrays)


def _torch(compiled: bool, *arrays: np.ndarray) -> Run:
    torch = torch_module()
    error = of_library(torch, lambda a, b: (a * b).sum())
    blocks = torch.func.vmap(torch.func.jacrev(error, argnums=(0, 1, 2)))
    blocks = torch.compile(blocks) if compiled else blocks
    return partial(blocks, *(torch_tensor(torch, array) for array in arrays))


def _casadi(*arrays: np.ndarray) -> Run:
    casadi = importlib.import_module("casadi")
    symbols = [casadi.SX.sym(f"x{at}", width) for at, width in enumerate(WIDTHS)]
    error = casadi.vertcat(*of_scalars(casadi, [s[at] for s in symbols for at in range(s.numel())]))
    blocks = [casadi.densify(casadi.jacobian(error, symbol)) for symbol in symbols[:3]]
    count = len(arrays[0])
    function = casadi_compiled(casadi, casadi.Function("blocks", symbols, blocks).map(count))
    outputs = [np.zeros((count, width, 2)) for width in WIDTHS[:3]]  # columns first
    run = casadi_bound(function, [np.ascontiguousarray(array) for array in arrays], outputs)
    parts = [out.swapaxes(1, 2) for out in outputs]
    return Written(run.step, parts[1:], lambda: parts[0], keep=run)


def _heyoka(*arrays: np.ndarray) -> Run:
    heyoka = importlib.import_module("heyoka")
    given = np.ascontiguousarray(np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1).T)
    symbols = [heyoka.make_vars(f"x{at}") for at in range(len(given))]
    tensors = heyoka.diff_tensors(of_scalars(heyoka, symbols), diff_args=symbols[:15], diff_order=1)
    step = heyoka.cfunc(list(np.ravel(tensors.jacobian)), symbols)
    out = np.zeros((30, given.shape[1]))
    blocks = out.reshape(2, 15, -1).transpose(2, 0, 1)
    parts = blocks[:, :, :11], blocks[:, :, 11:14], blocks[:, :, 14]
    return Written(partial(step, given, outputs=out), parts[1:], lambda: parts[0])


WORKLOAD = Workload(
    name="bundle",
    title="bundle adjustment, Jacobian blocks 2 x 15 of 10000 observations",
    inputs=inputs,
    reference=by_hand,
    rtol=1e-8,
    ways={
        "gradc": _gradc,
        "numpy": lambda *arrays: partial(by_hand, *arrays),
        "jax, reverse": partial(_jax, "jacrev"),
        "jax, forward": partial(_jax, "jacfwd"),
        "torch, eager": partial(_torch, False),
        "torch, compiled": partial(_torch, True),
        "casadi, C, bound": _casadi,
        "heyoka": _heyoka,
    },
    notes={
        "casadi, C, bound": "from arrays and to arrays in place",
        "heyoka": "in place, number by number: inputs are laid out so before, results stay so",
    },
)
