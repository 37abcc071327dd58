"""Embedding: whole numbers become learned vectors."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.errors import DTypeError
from gradc.nn.layer import Array, Context, Initialiser, Layer, Parameter, Shape
from gradc.nn.layers.options import glorot, whole


@dataclass(frozen=True)
class Embedding(Layer):
    """A table with a learned vector for every whole number below `count`.

    Parameters
    ----------
    count : int
        How many vectors; inputs are integers from 0 to `count` - 1, and -1 is the last one as in NumPy.
    size : int
        Length of a vector.
    initialiser : Initialiser, optional
        Makes the first vectors; by default Glorot, uniform, with `size` numbers on both sides, for an input
        picks one row.

    Examples
    --------
    >>> Embedding(1000, 16).output_shape((20,))
    (20, 16)
    """

    count: int
    size: int
    initialiser: Initialiser | None = None

    def __post_init__(self) -> None:
        whole(self, "count", "size")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input and the length of a vector."""
        return (*shape, self.size)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return ``weight`` of shape (count, size)."""
        make = self.initialiser or glorot()
        return {"weight": Parameter((self.count, self.size), make, self.size, self.size, is_weight=True)}

    def apply(self, context: Context, x: Array) -> Array:
        """Return the vectors of the numbers.

        Raises
        ------
        DTypeError
            The numbers are not integers.
        """
        if x.dtype.kind not in "iu":
            raise self.not_integers(x)
        return context["weight"][x]

    def not_integers(self, x: Array) -> DTypeError:
        """Return (not raise) the error for inputs that are no integers."""
        return DTypeError(
            "an embedding takes whole numbers",
            where=f"layer {self.name}" if self.name else "Embedding",
            why=f"its input is {x.dtype}",
            do="pass integers, for example x.astype(int)",
        )
