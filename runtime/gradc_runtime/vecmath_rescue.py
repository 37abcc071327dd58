"""The C library for the few arguments that branch-free arithmetic does not serve, within vectorised loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core.cgutils import get_or_insert_function

from gradc_runtime.vecmath_lanes import F64, Format, Real, intrinsic


class _WithVariants(ir.values.FunctionAttributes):
    """Attributes of a function without effects that has variants for vectors."""

    def __init__(self, name: str, lanes: Sequence[int]) -> None:
        super().__init__(("noinline", "nounwind"))
        self.name, self.lanes = name, lanes

    def _to_list(self, typ: Any) -> list[str]:
        variants = ",".join(
            f"_ZGV_LLVM_N{n}vv_{self.name}({_variant_name(self.name, n)})" for n in self.lanes
        )
        return [
            *super()._to_list(typ),
            f'"vector-function-abi-variant"="{variants}"',
            "memory(none)",
            "willreturn",
        ]


def rescue(name: str, limit: float, x: Real, value: Real) -> Real:
    """Return `value`, or the C library's `name` of x where ``|x| > limit``.

    A call of a scalar function would keep loops from being vectorised; this one has variants for vectors, for
    the vectoriser to pick.  They return `value` at once unless a lane is beyond the limit.
    """
    form, module = x.format, x.builder.module
    called = f"gradc_rescue_{name}_{form.name}"
    function = get_or_insert_function(module, ir.FunctionType(form.real, [form.real] * 2), called)
    if function.is_declaration:
        _write_rescue(function, name, limit, form)
        variants = [_write_variant(function, lanes, limit, form) for lanes in form.lanes]
        _keep(module, variants)
    if isinstance(x.value.type, ir.VectorType):
        function = module.get_global(_variant_name(called, x.value.type.count))
    return Real(x.builder, form, x.builder.call(function, (x.value, value.value)))


def _variant_name(scalar: str, lanes: int) -> str:
    return f"{scalar}_{lanes}"


def _write_rescue(function: Any, name: str, limit: float, form: Format) -> None:
    function.linkage = "internal"
    function.attributes = _WithVariants(function.name, form.lanes)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x, value = (Real(builder, form, argument) for argument in function.args)
    with builder.if_then((abs(x) > limit).value, likely=False):
        kind = ir.FunctionType(form.real, [form.real])
        library = get_or_insert_function(builder.module, kind, name if form is F64 else f"{name}f")
        builder.ret(builder.call(library, [x.value]))
    builder.ret(value.value)


def _write_variant(scalar: Any, lanes: int, limit: float, form: Format) -> Any:
    """Variant of `scalar` for so many lanes."""
    module, vector = scalar.module, ir.VectorType(form.real, lanes)
    function = ir.Function(module, ir.FunctionType(vector, [vector] * 2), _variant_name(scalar.name, lanes))
    function.linkage = "internal"
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    magnitude = intrinsic(module, "fabs", form, function.args[:1])
    beyond = builder.fcmp_ordered(
        ">", builder.call(magnitude, function.args[:1]), ir.Constant(vector, [limit] * lanes)
    )
    some = builder.bitcast(beyond, ir.IntType(lanes))
    with builder.if_then(builder.icmp_unsigned("!=", some, ir.Constant(some.type, 0)), likely=False):
        result = function.args[1]
        for lane in range(lanes):
            at = ir.Constant(ir.IntType(32), lane)
            operands = [builder.extract_element(argument, at) for argument in function.args]
            result = builder.insert_element(result, builder.call(scalar, operands), at)
        builder.ret(result)
    builder.ret(function.args[1])
    return function


def _keep(module: Any, functions: list[Any]) -> None:
    """Keep functions that nothing calls until the vectoriser has run."""
    pointer = ir.IntType(8).as_pointer()
    name = "llvm.compiler.used"
    used = module.globals.get(name)
    before = used.initializer.constant if used else []
    kept = ir.Constant.literal_array([*before, *(function.bitcast(pointer) for function in functions)])
    if used is None:
        used = ir.GlobalVariable(module, kept.type, name)
    used.value_type, used.initializer = kept.type, kept
    used.linkage, used.section = "appending", "llvm.metadata"
