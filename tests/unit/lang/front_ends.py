"""Helpers of the front-end tests: small programs from an expression or an equation, and their gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradc.autodiff.vjp import gradient, vjp
from gradc.ir.extents import Size, symbol
from gradc.ir.index.build import Builder
from gradc.ir.index.evaluate import evaluate
from gradc.ir.index.nodes import Program
from gradc.ir.index.verify import verify
from gradc.ir.types import dtype_of
from gradc.lang.emit import Emitter, Value
from gradc.lang.equations import Equation
from gradc.lang.expressions import read_expression
from gradc.lang.unify import ExtentSolver

Lower = Callable[[Emitter, dict[str, Value]], Value | Sequence[Value]]


def program(lower: Lower, arrays: Mapping[str, Any], *, symbolic: bool = False) -> Program:
    """Lower onto inputs like `arrays`; with `symbolic`, every extent but 1 is a symbol with a known value."""
    solver = ExtentSolver({})
    emit = Emitter(Builder(), solver)
    inputs: dict[str, Value] = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        shape: list[Size] = list(array.shape)
        for axis, extent in enumerate(array.shape):
            if symbolic and extent != 1:
                shape[axis] = symbol(f"{name}{axis}")
                solver.hints[f"{name}{axis}"] = extent
        inputs[name] = emit.input(name, dtype_of(array.dtype), tuple(shape))
    result = lower(emit, inputs)
    return verify(emit.finish([result] if isinstance(result, Value) else list(result)))


def of_expression(expression: Any, values: Mapping[Any, Any], **options: bool) -> Program:
    """The program of a SymPy expression whose arguments are the keys of `values`."""
    arrays = {str(argument.name): value for argument, value in values.items()}

    def lower(emit: Emitter, inputs: dict[str, Value]) -> Value | list[Value]:
        given = {argument: inputs[str(argument.name)] for argument in values}
        return read_expression(expression, list(values), emit, given)

    return program(lower, arrays, **options)


def value_of(expression: Any, values: Mapping[Any, Any]) -> Any:
    """The value of a SymPy expression at a point."""
    made = of_expression(expression, values)
    results = evaluate(made, {str(argument.name): value for argument, value in values.items()})
    return results[0] if len(results) == 1 else results


def slopes_of(expression: Any, values: Mapping[Any, Any]) -> list[Any]:
    """The gradient of a SymPy expression with respect to all of its arguments."""
    made = of_expression(expression, values)
    names = [str(argument.name) for argument in values]
    return list(evaluate(gradient(made, names), dict(zip(names, values.values(), strict=True))))[1:]


def of_equation(equation: Equation, operands: Mapping[str, Any], **options: bool) -> Program:
    """The program of an equation on arrays; whole numbers are sizes."""
    sizes = {name: value for name, value in operands.items() if isinstance(value, int)}
    arrays = {name: value for name, value in operands.items() if name not in sizes}
    return program(lambda emit, inputs: equation.lower(emit, **inputs, **sizes), arrays, **options)


def result_of(equation: Equation, operands: Mapping[str, Any]) -> Any:
    """The value of an equation, the same with extents fixed and with extents as symbols."""
    arrays = {name: value for name, value in operands.items() if not isinstance(value, int)}
    fixed = evaluate(of_equation(equation, operands), arrays)
    free = evaluate(of_equation(equation, operands, symbolic=True), arrays)
    for one, other in zip(fixed, free, strict=True):
        np.testing.assert_array_equal(one, other)
    return fixed[0] if len(fixed) == 1 else fixed


def assert_gradient(made: Program, arrays: Mapping[str, Any], rng: np.random.Generator) -> None:
    """Compare the gradient of a weighted sum of outputs with central differences in a random direction."""
    outputs = evaluate(made, arrays)
    weights = [rng.normal(size=np.shape(output)) for output in outputs]

    def loss(point: Mapping[str, Any]) -> float:
        return sum(float(np.sum(w * y)) for w, y in zip(weights, evaluate(made, point), strict=True))

    floats = [name for name, value in arrays.items() if np.asarray(value).dtype.kind == "f"]
    seeds = {f"{name}_bar": weight for name, weight in zip(made.outputs, weights, strict=True)}
    slopes = evaluate(verify(vjp(made, floats)), {**arrays, **seeds})[len(outputs) :]
    for name, slope in zip(floats, slopes, strict=True):
        direction = rng.normal(size=np.shape(arrays[name]))
        step = 1e-6
        ahead = loss({**arrays, name: arrays[name] + step * direction})
        behind = loss({**arrays, name: arrays[name] - step * direction})
        expected = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(np.sum(slope * direction), expected, rtol=1e-6, atol=1e-7, err_msg=name)
