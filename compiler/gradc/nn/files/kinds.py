"""What a network file may name: types by family, their keys, and which values a key takes.

Only what stands here can be named.  Keys are the fields of the classes, and what a key takes follows from the
annotation of the field; ranges are checked by the classes themselves.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gradc.nn import initialisers, losses, masked, optimisers, regularisers, schedules
from gradc.nn.layer import Initialiser, Layer, Regulariser
from gradc.nn.layers import (
    activations,
    attention,
    convolution,
    dense,
    dropout,
    embedding,
    function,
    normalisation,
    pooling,
    shapes,
)
from gradc.nn.losses import Loss
from gradc.nn.optimisers import Optimiser
from gradc.nn.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Family:
    """Types of which a file may name one, and what one of them is called."""

    noun: str
    types: Mapping[str, type]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a type: the annotation of its field, and whether it must be there."""

    name: str
    hint: Any
    required: bool


def _family(noun: str, *classes: type) -> Family:
    return Family(noun, {found.__name__: found for found in classes})


LAYERS = _family(
    "a layer",
    dense.Dense,
    convolution.Conv1D,
    convolution.Conv2D,
    pooling.MaxPool,
    pooling.AvgPool,
    pooling.GlobalAvgPool,
    normalisation.BatchNorm,
    normalisation.LayerNorm,
    dropout.Dropout,
    shapes.Flatten,
    shapes.Reshape,
    shapes.Concatenate,
    shapes.Add,
    embedding.Embedding,
    attention.Attention,
    activations.Sigmoid,
    activations.Tanh,
    activations.ReLU,
    activations.LeakyReLU,
    activations.PReLU,
    activations.ELU,
    activations.SELU,
    activations.GELU,
    activations.SiLU,
    activations.Softplus,
    activations.HardTanh,
    activations.Maxout,
    activations.Softmax,
    function.Equation,
)
LOSSES = _family(
    "a loss",
    losses.SoftmaxCrossEntropy,
    losses.Logistic,
    losses.Hinge,
    losses.Perceptron,
    losses.SquaredError,
    losses.AbsoluteError,
    losses.Huber,
    losses.Divergence,
    masked.Masked,
)
REGULARISERS = _family("a regulariser", regularisers.L1, regularisers.L2, regularisers.Elastic)
INITIALISERS = _family(
    "an initialiser",
    initialisers.Zeros,
    initialisers.Ones,
    initialisers.Constant,
    initialisers.Normal,
    initialisers.Glorot,
    initialisers.He,
    initialisers.Lecun,
    initialisers.Orthogonal,
)
OPTIMISERS = _family(
    "an optimiser",
    optimisers.GradientDescent,
    optimisers.Momentum,
    optimisers.AdaGrad,
    optimisers.RMSProp,
    optimisers.Adam,
    optimisers.AdamW,
)
SCHEDULES = _family(
    "a schedule",
    schedules.ConstantRate,
    schedules.StepDecay,
    schedules.ExponentialDecay,
    schedules.InverseTimeDecay,
    schedules.Cosine,
    schedules.LinearWarmup,
)
FAMILIES = {
    Layer: LAYERS,
    Loss: LOSSES,
    Regulariser: REGULARISERS,
    Initialiser: INITIALISERS,
    Optimiser: OPTIMISERS,
    Schedule: SCHEDULES,
}


@cache
def keys_of(found: type) -> dict[str, Key]:
    """Return the keys of a type, in the order of its fields but with those of every layer last."""
    hints = get_type_hints(found)
    listed = [field for field in fields(found) if field.init]
    listed.sort(key=lambda field: bool(field.kw_only))
    return {
        field.name: Key(
            field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING
        )
        for field in listed
    }


def families_in(hint: Any) -> tuple[Family, ...]:
    """Return the families of which an annotation takes a type."""
    return tuple(FAMILIES[choice] for choice in choices(hint) if choice in FAMILIES)


def choices(hint: Any) -> tuple[Any, ...]:
    """Return the annotations of which a value may fit any; None, which no file can say, is left out."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(choice for choice in get_args(hint) if choice is not type(None))
    return (hint,)


_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in (int, float)),
    bool: ("true or false", lambda value: type(value) is bool),
    str: ("a text", lambda value: type(value) is str),
}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of a TOML document is one that an annotation takes; families are for the caller."""
    return any(_fits_one(value, choice) for choice in choices(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    if hint in _PLAIN:
        return _PLAIN[hint][1](value)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return type(value) is str and value in parts
    if origin in (Sequence, tuple):
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(fits(item, parts[1]) for item in value.values())
    return False


def described(hint: Any) -> str:
    """Say which values an annotation takes, in words."""
    return " or ".join(dict.fromkeys(_described_one(choice) for choice in choices(hint)))


def _described_one(hint: Any) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint][0]
    if hint in FAMILIES:
        family = FAMILIES[hint]
        return f"{family.noun} ({', '.join(family.types)})"
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin is Mapping:
        return "a table of lists of whole numbers"
    return "a list of " + _plural(parts[0])


def _plural(hint: Any) -> str:
    names = {int: "whole numbers", str: "texts", float: "numbers"}
    return " or ".join(names.get(choice, "lists of whole numbers") for choice in choices(hint))
