"""What the benchmarks of a GPU compute, as written for gradc, with inputs and derivatives by hand in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

import gradc
from gradc.bench.workload import fault, flat, groups, wide
from gradc.bench.workloads import bigexpr, black_scholes

Inputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Ours:
    """A function of gradc for the GPU and its arguments, which are NumPy's here.

    With `updates`, these arguments get new contents, and nothing but numbers is made anew; else the method `of` is
    called.  It `needs` a package, or none.
    """

    name: str
    function: Any
    arguments: tuple[Any, ...]
    of: str = ""
    updates: tuple[str, ...] = ()
    needs: str = ""

    def run(self, on_device: tuple[Any, ...]) -> Callable[[], Any]:
        """A call of the function with arguments on the device."""
        if not self.updates:
            return partial(getattr(self.function, self.of) if self.of else self.function, *on_device)
        step = self.function.bind_update(*on_device, updates=self.updates)
        written = [
            argument for name, argument in zip(self._names, on_device, strict=True) if name in self.updates
        ]
        return lambda: (step(), *written)

    @property
    def _names(self) -> list[str]:
        return list(self.function.signature.parameters)


@dataclass(frozen=True)
class Computation:
    """A computation that leaves its inputs as they are.

    `by_hand` takes inputs in float64 and gives what `sample` leaves of the results.  `with_torch` and `with_jax` take
    the library and give a loss, to be differentiated by the first `count` inputs, or all of it where that is 0.
    """

    name: str
    title: str
    inputs: Inputs
    ours: tuple[Ours, ...]
    by_hand: Callable[..., Any]
    with_torch: Callable[[Any], Any] | None
    with_jax: Callable[[Any], Any]
    count: int = 0
    rtol: float = 1e-5
    sample: Callable[[list[np.ndarray]], list[np.ndarray]] = list
    traffic: int = 0
    operations: int = 0

    @cached_property
    def wanted(self) -> tuple[np.ndarray, list[int]]:
        """The right results, and how many of them are compared together."""
        found = self.by_hand(*wide(self.inputs))
        return flat(found), groups(found)

    def fault(self, results: list[np.ndarray]) -> str:
        """What is wrong with the results of a way."""
        numbers, sizes = self.wanted
        return fault(flat(self.sample(results)), numbers, sizes, self.rtol)


def with_gradient(loss: Callable[..., Any], wrt: tuple[str, ...], inputs: Inputs) -> tuple[Ours, ...]:
    """Value and gradients: as fresh arrays, and written to arrays that are there."""
    plain = gradc.differentiate(loss, wrt=wrt, target="cuda")

    def step(arguments: Any, into: Any) -> Any:
        value, gradients = plain.value_and_grad(*arguments)
        return value, _in_place(gradients, into)

    into = tuple(np.zeros_like(array) for array in inputs[: len(wrt)])
    bound = gradc.differentiate(step, target="cuda")
    return (
        Ours("gradc", plain, inputs, of="value_and_grad"),
        Ours("gradc, bound", bound, (inputs, into), updates=("into",)),
    )


def _in_place(results: Any, into: Any) -> Any:
    """Results that have the shapes of the arrays they become the contents of."""
    assert all((result + array).shape == array.shape for result, array in zip(results, into, strict=True))
    return results


# --- elementwise --------------------------------------------------------------------------------------------


def prices(dtype: str, rtol: float, small: bool) -> Computation:
    """Black-Scholes, ten million calls."""
    rng, count = np.random.default_rng(2), 50 if small else 10**7
    bounds = ((80, 120), (80, 120), (0.01, 0.05), (0.1, 0.5), (0.2, 2))
    inputs = tuple(rng.uniform(low, high, count).astype(dtype) for low, high in bounds)
    return Computation(
        name=f"black-scholes-{_short(dtype)}",
        title=f"Black-Scholes, {count} calls, value and five gradients, {dtype}",
        inputs=inputs,
        ours=with_gradient(black_scholes.for_gradc(), ("s", "k", "r", "v", "t"), inputs),
        by_hand=black_scholes.by_hand,
        with_torch=black_scholes.with_torch,
        with_jax=black_scholes.with_jax,
        traffic=_traffic(inputs, 5),
        count=5,
        rtol=rtol,
    )


def chain_of(library: Any) -> Callable[..., Any]:
    """Ten operations on every element, then a sum."""

    def chain(x, y):
        z = library.tanh(x) * y + library.exp(-x * x)
        return (library.sqrt(z * z + 1) * y).sum()

    return chain


def chain_by_hand(x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy."""
    t, e = np.tanh(x), np.exp(-x * x)
    z = t * y + e
    root = np.sqrt(z * z + 1)
    z_bar = y * z / root
    return np.sum(root * y), (z_bar * (y * (1 - t * t) - 2 * x * e), root + z_bar * t)


def chain(small: bool) -> Computation:
    """A chain over long vectors."""
    (x,) = _normal(50 if small else 3 * 10**7, 1)
    y = np.random.default_rng(4).uniform(0.5, 1.5, x.size).astype(np.float32)
    inputs = (x, y)
    return Computation(
        name="chain-f32",
        title=f"ten operations on {inputs[0].size} elements and their sum, with two gradients, float32",
        inputs=inputs,
        ours=with_gradient(chain_of(np), ("x", "y"), inputs),
        by_hand=chain_by_hand,
        with_torch=chain_of,
        with_jax=lambda jax: chain_of(jax.numpy),
        traffic=_traffic(inputs, 2),
        count=2,
    )


# --- rows ---------------------------------------------------------------------------------------------------


def cross_entropy(scores, labels):
    """As written for gradc."""
    picked = scores[np.arange(len(labels)), labels]
    return (np.log(np.exp(scores).sum(axis=1)) - picked).mean()


def cross_entropy_by_hand(scores: np.ndarray, labels: np.ndarray) -> Any:
    """NumPy."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    value = -np.log(shares[rows, labels]).mean()
    shares[rows, labels] -= 1
    return value, (shares / len(labels),)


def cross_entropy_with_jax(jax: Any) -> Callable[..., Any]:
    """JAX."""
    logs, number = jax.nn.log_softmax, jax.numpy.arange
    return lambda scores, labels: -logs(scores)[number(len(labels)), labels].mean()


def rows_of_scores(small: bool) -> Computation:
    """Softmax cross-entropy of rows."""
    rows, classes = (6, 5) if small else (65536, 1000)
    labels = np.random.default_rng(1).integers(0, classes, rows)
    inputs = (3 * _normal((rows, classes), 1)[0], labels)
    return Computation(
        name="cross-entropy-f32",
        title=f"softmax cross-entropy of {rows} rows of {classes}, value and gradient, float32",
        inputs=inputs,
        ours=with_gradient(cross_entropy, ("scores",), inputs),
        by_hand=cross_entropy_by_hand,
        with_torch=lambda torch: torch.nn.functional.cross_entropy,
        with_jax=cross_entropy_with_jax,
        traffic=_traffic(inputs, 1),
        count=1,
    )


EPSILON = 1e-5


def layer_norm(x, gain, bias, weights):
    """As written for gradc: what comes out, weighed and summed, so that the weights are its cotangent."""
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    return ((centred / spread * gain + bias) * weights).sum()


def layer_norm_by_hand(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, weights: np.ndarray) -> Any:
    """NumPy."""
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    unit = centred / spread
    slope = weights * gain
    along = slope - slope.mean(axis=1, keepdims=True) - unit * (slope * unit).mean(axis=1, keepdims=True)
    value = ((unit * gain + bias) * weights).sum()
    return value, (along / spread, (weights * unit).sum(axis=0), weights.sum(axis=0))


def layer_norm_with_torch(torch: Any) -> Callable[..., Any]:
    """PyTorch has the whole of it."""
    norm = torch.nn.functional.layer_norm
    return lambda x, gain, bias, weights: (norm(x, x.shape[1:], gain, bias, EPSILON) * weights).sum()


def layer_norm_with_jax(jax: Any) -> Callable[..., Any]:
    """JAX, from its parts."""

    def loss(x, gain, bias, weights):
        centred = x - x.mean(axis=1, keepdims=True)
        scale = jax.lax.rsqrt((centred * centred).mean(axis=1, keepdims=True) + EPSILON)
        return ((centred * scale * gain + bias) * weights).sum()

    return loss


def normalised_rows(small: bool) -> Computation:
    """Layer norm of rows, forward and backward."""
    rows, features = (6, 5) if small else (32768, 1024)
    x, weights = _normal((rows, features), 2)
    gain, bias = 1 + _normal(features, 1)[0] / 4, _normal(features, 1)[0]
    inputs = (x, gain, bias, weights)
    return Computation(
        name="layer-norm-f32",
        title=f"layer norm of {rows} rows of {features}, forward and backward, float32",
        inputs=inputs,
        ours=with_gradient(layer_norm, ("x", "gain", "bias"), inputs),
        by_hand=layer_norm_by_hand,
        with_torch=layer_norm_with_torch,
        with_jax=layer_norm_with_jax,
        traffic=_traffic(inputs, 3),
        count=3,
        rtol=1e-4,
    )


# --- arithmetic ---------------------------------------------------------------------------------------------

CHECKED = 40  # rows, or evaluations, that are compared


def product(small: bool) -> Computation:
    """A large matrix product."""
    size = 9 if small else 4096
    inputs = _normal((size, size), 2)

    def step(x: Any, y: Any, into: Any) -> Any:
        (result,) = _in_place((x @ y,), (into,))
        return x[0, 0], result

    bound = gradc.differentiate(step, target="cuda")
    plain = gradc.differentiate(lambda x, y: x @ y, target="cuda")
    into = np.zeros((size, size), np.float32)
    by_library = bound.with_options(products="cublas")
    ours = (
        Ours("gradc", plain, inputs),
        Ours("gradc, bound", bound, (*inputs, into), updates=("into",)),
        Ours("gradc, cuBLAS", by_library, (*inputs, into), updates=("into",), needs="nvmath"),
    )
    stride = max(1, size // CHECKED)
    return Computation(
        name="product-f32",
        title=f"the product of two matrices of {size} x {size}, float32",
        inputs=inputs,
        ours=ours,
        by_hand=lambda x, y: [x[::stride] @ y],
        with_torch=lambda torch: torch.matmul,
        with_jax=lambda jax: jax.numpy.matmul,
        sample=lambda results: [results[-1][::stride]],
        operations=2 * size**3,
    )


def evaluations(along: bool, small: bool) -> Computation:
    """A long scalar program, evaluated at many points at once; `along` has the points of an input side by side."""
    count, points = (30, 7) if small else (1_000, 10**6)
    steps = bigexpr.steps_of(count)
    x = np.random.default_rng(7).uniform(0.2, 1.0, (points, bigexpr.INPUTS)).astype(np.float32)
    inputs = (np.ascontiguousarray(x.T) if along else x,)
    loss = gradc.differentiate(bigexpr.program_of(steps, np.sin))
    axis, every = int(along), -(-points // CHECKED)
    many = gradc.vmap(loss.value_and_grad, in_axes=axis, out_axes=(0, axis), target="cuda")

    def by_hand(x: np.ndarray) -> Any:
        found = [bigexpr.by_hand(steps, row) for row in (x.T if along else x)[::every]]
        return np.array([value for value, _ in found]), np.array([slope for _, slope in found])

    def sample(results: list[np.ndarray]) -> list[np.ndarray]:
        value, slopes = results
        return [value[::every], (slopes.T if along else slopes)[::every]]

    def with_jax(jax: Any) -> Any:
        program = bigexpr.program_of(steps, jax.numpy.sin)
        return jax.vmap(jax.value_and_grad(program), in_axes=axis, out_axes=(0, axis))

    return Computation(
        name="evaluations-along-f32" if along else "evaluations-f32",
        title=f"{points} values and gradients of {count} operations on {bigexpr.INPUTS} numbers, "
        f"{'inputs of their own rows' if along else 'a row each'}, float32",
        inputs=inputs,
        ours=(Ours("gradc", many, inputs),),
        by_hand=by_hand,
        with_torch=None,
        with_jax=with_jax,
        rtol=1e-4,
        sample=sample,
        traffic=_traffic(inputs, 1) + 4 * points,
    )


def _traffic(inputs: Inputs, count: int) -> int:
    """Bytes of the inputs, and of the gradients by the first ones."""
    return sum(array.nbytes for array in (*inputs, *inputs[:count]))


def _normal(shape: Any, many: int) -> Inputs:
    rng = np.random.default_rng(3)
    return tuple(rng.standard_normal(shape, np.float32) for _ in range(many))


def _short(dtype: str) -> str:
    return f"f{8 * np.dtype(dtype).itemsize}"


COMPUTATIONS: dict[str, Callable[[bool], Computation]] = {
    "black-scholes-f64": partial(prices, "float64", 1e-9),
    "black-scholes-f32": partial(prices, "float32", 2e-5),
    "chain-f32": chain,
    "cross-entropy-f32": rows_of_scores,
    "layer-norm-f32": normalised_rows,
    "product-f32": product,
    "evaluations-f32": partial(evaluations, False),
    "evaluations-along-f32": partial(evaluations, True),
}
