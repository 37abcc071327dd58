"""Read ADBench's files: the inputs of its objectives, and the values and derivatives to compare with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent


class Mixture(NamedTuple):
    """Arguments of `objectives.mixture`."""

    alpha: np.ndarray
    means: np.ndarray
    inverse_factors: np.ndarray
    x: np.ndarray
    gamma: float
    m: int


class Observation(NamedTuple):
    """Arguments of `objectives.reprojection_error`."""

    camera: np.ndarray
    point: np.ndarray
    weight: float
    feature: np.ndarray


class Hand(NamedTuple):
    """Arguments of `objectives.hand_residuals`."""

    theta: np.ndarray
    relative: np.ndarray
    inverse_absolute: np.ndarray
    vertices: np.ndarray
    weights: np.ndarray
    correspondences: np.ndarray
    points: np.ndarray


class Network(NamedTuple):
    """Arguments of `objectives.network_loss`."""

    main: np.ndarray
    extra: np.ndarray
    state: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Golden:
    """The objective and its derivative as ADBench prints them."""

    value: np.ndarray
    derivative: np.ndarray


def mixture(name: str) -> Mixture:
    """Return a data set of `gmm`: sizes, then the arrays, then the parameters of the prior."""
    words = (FOLDER / "gmm" / f"{name}.txt").read_text().split()
    d, k, n = map(int, words[:3])
    columns = d * (d + 1) // 2
    parts = _cut(words[3:], (k,), (k, d), (k, columns), (n, d), (2,))
    return Mixture(*parts[:4], gamma=float(parts[4][0]), m=int(parts[4][1]))


def observation(name: str) -> tuple[int, Observation]:
    """Return how many observations a data set of `ba` has, and the one that it repeats."""
    words = (FOLDER / "ba" / f"{name}.txt").read_text().split()
    camera, point, weight, feature = _cut(words[3:], (11,), (3,), (), (2,))
    return int(words[2]), Observation(camera, point, float(weight), feature)


def hand(name: str) -> Hand:
    """Return the small hand model with the measured points of one instance."""
    lines = (FOLDER / "hand" / f"{name}.txt").read_text().splitlines()
    count = int(lines[0].split()[0])
    measured = np.array([line.split() for line in lines[1 : count + 1]], float)
    theta = np.array(lines[count + 1 :], float)
    bones = _fields("bones")
    parents = [int(bone[1]) for bone in bones]
    assert parents == [-1, *(0 if at % 4 == 0 else at for at in range(20)), 0], (
        "a wrist, fingers of 4 bones, a rest"
    )
    matrices = np.array([bone[2:34] for bone in bones], float).reshape(-1, 2, 4, 4)
    vertices = _fields("vertices")
    weights = np.zeros((len(vertices), len(bones)))
    for row, vertex in zip(weights, vertices, strict=True):
        shares = vertex[9 : 9 + 2 * int(vertex[8])]
        row[np.array(shares[::2], int)] = np.array(shares[1::2], float)
    positions = np.array([vertex[:3] for vertex in vertices], float)
    corresponding = measured[:, 0].astype(int)
    return Hand(theta, matrices[:, 0], matrices[:, 1], positions, weights, corresponding, measured[:, 1:])


def network(name: str) -> Network:
    """Return weights, state and text of `lstm`."""
    words = (FOLDER / "lstm" / f"{name}.txt").read_text().split()
    layers, characters, bits = map(int, words[:3])
    shapes = (2 * layers, 4 * bits), (3, bits), (2 * layers, bits), (characters, bits)
    return Network(*_cut(words[3:], *shapes))


def golden(name: str) -> Golden:
    """Return an objective and its gradient."""
    numbers = _numbers(name)
    return Golden(numbers[0], numbers[1:])


def golden_hand(name: str) -> Golden:
    """Return the residuals and their Jacobian."""
    numbers = _numbers(f"hand/{name}")
    rows, columns = int(numbers[0]), int(numbers[1])
    return Golden(numbers[2 : 2 + rows], numbers[2 + rows :].reshape(rows, columns))


def golden_observation(name: str) -> dict[str, Any]:
    """Return what is known of the sparse Jacobian of one `ba` data set."""
    return json.loads((FOLDER / "golden" / "ba.json").read_text())[f"{name}.txt"]


def _numbers(name: str) -> np.ndarray:
    return np.array((FOLDER / "golden" / f"{name}.txt").read_text().split(), float)


def _fields(name: str) -> list[list[str]]:
    return [line.split(":") for line in (FOLDER / "hand" / "model_small" / f"{name}.txt").read_text().split()]


def _cut(words: list[str], *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Arrays of these shapes, one after the other; nothing may be left over."""
    numbers = np.array(words, float)
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    assert ends[-1] == len(numbers)
    parts = np.split(numbers, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
