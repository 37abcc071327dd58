"""The type of a tensor, apart from the nodes of the index IR: the loop IR, which knows no SymPy, needs it."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.ir.extents import Size
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape."""

    dtype: DType
    shape: tuple[Size, ...]
