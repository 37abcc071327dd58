"""What methods bound to arguments, to instances and to checks need of a differentiated function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gradc.lang.signature import Signature
from gradc.pipeline import Derivation


class Bindable(Protocol):
    """A differentiated function, as far as `At`, `Method` and `GradientCheck` use it."""

    @property
    def signature(self) -> Signature:
        """The arguments."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value."""
        ...

    def grad(self, *args: Any, **kwargs: Any) -> Any:
        """Return the gradient."""
        ...

    def value_and_grad(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Value and gradient."""
        ...

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Sequence[Any], Any]: ...

    def _leaves(self, variant: Any) -> tuple[int, ...]: ...

    def _run(
        self, variant: Any, derivation: Derivation, values: Sequence[Any], extra: Sequence[Any] = ()
    ) -> tuple[Any, ...]: ...
