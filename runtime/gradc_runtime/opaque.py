"""Python objects that are nothing but a type to Numba: what a call with one does is settled when it is compiled."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.core.imputils import lower_constant
from numba.core.typing import templates
from numba.extending import models, register_model, typeof_impl

infer_global: Any = templates.infer_global  # as checkers of types see it


class OpaqueType(types.Opaque):
    """The type of one object; `made` is the object."""

    def __init__(self, made: Any) -> None:
        super().__init__(f"{type(made).__name__}({made.name}, {id(made)})")
        self.made = made


def opaque(kind: type) -> type[OpaqueType]:
    """Let Numba take objects of a class as constants, each with a type of its own; the class of these types."""
    found: Any = type(f"{kind.__name__}Type", (OpaqueType,), {})
    register_model(found)(models.OpaqueModel)
    typeof_impl.register(kind)(lambda value, context: found(value))
    lower_constant(found)(lambda context, builder, kind, value: context.get_dummy_value())
    return found
