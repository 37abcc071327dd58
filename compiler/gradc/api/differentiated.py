"""The object that `differentiate` returns: a callable with `grad` and the other derivatives."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import optree

from gradc.api.bound import At, Method
from gradc.api.built import LEAF, Source
from gradc.api.core import Core, matching, outputs_tree
from gradc.api.direct import SERVED, serve_directly
from gradc.api.examples import examples
from gradc.api.outputs import written
from gradc.api.pickling import by_name
from gradc.api.prebound import Prebound, bind
from gradc.api.updating import Update, bind_update
from gradc.api.variant import require_scalar
from gradc.lang.signature import Signature
from gradc.pipeline import Derivation, Options

if TYPE_CHECKING:
    from gradc.explain.inspection import Inspection
    from gradc.explain.profile import Profile
    from gradc.lang.session import Trace
    from gradc_runtime.gradcheck import Report

P = ParamSpec("P")
R = TypeVar("R")


class Differentiated(Core, Generic[P, R]):
    """A function with derivatives.

    Calling it computes the value.  Every method takes the function's own arguments; see `differentiate`.
    """

    def __init__(
        self, source: Source, signature: Signature, function: Callable[P, R], options: Options
    ) -> None:
        super().__init__(source, signature, options)
        functools.update_wrapper(self, function, updated=())  # pyright: ignore[reportArgumentType]
        self.__wrapped__ = function
        self.__signature__ = signature.python
        self.checked = True  # False: the first gradient asked for runs the gradient check

    def __repr__(self) -> str:
        made = getattr(self.source, "made_by", None) is not None
        text = f": {'; '.join((self.__wrapped__.__doc__ or '').split(chr(10)))}" if made else ""
        return f"<differentiated {self.signature.name}{self.signature.python}{text}>"

    def _repr_latex_(self) -> str | None:
        """Show the program last traced; before the first call there is none."""
        from gradc.explain.mathematics.programs import latex  # noqa: PLC0415

        variants = [variant for found in self._variants.values() for variant in found]
        if not variants:
            return None
        return f"$\\displaystyle {latex(variants[-1].built.program).strip()}$"

    # --- first derivatives --------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value, computed by a compiled kernel."""
        if os.environ.get("GRADC_DISABLE") == "1":
            return self.__wrapped__(*args, **kwargs)
        return self._value(*args, **kwargs)

    def _value_generally(self, *args: Any, **kwargs: Any) -> Any:
        trace = self._tracing(args, kwargs)
        if trace is not None:
            return self.source.inline(trace, self.signature.bind(args, kwargs)).outputs
        variant, values, _ = self._prepare(args, kwargs)
        results = self._run(variant, Derivation("value"), values)
        serve_directly(self, variant, Derivation("value"), (), (args, kwargs))
        return outputs_tree(variant, results)

    @overload
    def grad(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    @overload
    def grad(self, *args: Any, out: Any, **kwargs: Any) -> Any: ...

    def grad(self, *args: Any, **kwargs: Any) -> Any:
        """Return the gradient: bare if `wrt` is one name or there is one parameter, else a tuple.

        With ``out=``, C-contiguous arrays in the structure of the gradient (a number's has no axes), it is written
        to these, and they are returned.  They share memory with no argument.  A parameter of a formula that is
        called ``out`` is that parameter.
        """
        return self._grad(*args, **kwargs)

    def _grad_generally(self, *args: Any, **kwargs: Any) -> Any:
        out, kwargs = self._without_out(kwargs)
        if out is not None:
            return written(self, "grad", out, args, kwargs)[1]
        variant, values, flat = self._prepare(args, kwargs)
        require_scalar(variant.built, "grad")
        self._check_once(args, kwargs)
        leaves = self._leaves(variant)
        derivation = Derivation("grad", variant.gradient_inputs(leaves))
        results = self._run(variant, derivation, values)
        serve_directly(self, variant, derivation, leaves, (args, kwargs))
        return self._gradients(variant, leaves, results, flat)

    @overload
    def value_and_grad(self, *args: P.args, **kwargs: P.kwargs) -> tuple[R, Any]: ...

    @overload
    def value_and_grad(self, *args: Any, out: Any, **kwargs: Any) -> tuple[R, Any]: ...

    def value_and_grad(self, *args: Any, **kwargs: Any) -> tuple[R, Any]:
        """``(value, gradient)`` from one fused kernel; ``((value, aux), gradient)`` with ``has_aux=True``.

        With ``out=`` the gradient is written to arrays that are there already, as by `grad`.
        """
        return self._value_and_grad(*args, **kwargs)

    def _value_and_grad_generally(self, *args: Any, **kwargs: Any) -> tuple[R, Any]:
        out, kwargs = self._without_out(kwargs)
        if out is not None:
            return written(self, "value_and_grad", out, args, kwargs)
        variant, values, flat = self._prepare(args, kwargs)
        require_scalar(variant.built, "value_and_grad")
        self._check_once(args, kwargs)
        leaves = self._leaves(variant)
        derivation = Derivation("value_and_grad", variant.gradient_inputs(leaves))
        results = self._run(variant, derivation, values)
        serve_directly(self, variant, derivation, leaves, (args, kwargs))
        count = len(variant.built.program.outputs)
        return outputs_tree(variant, results[:count]), self._gradients(variant, leaves, results[count:], flat)

    def _without_out(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Where the gradient goes, and the function's own arguments; `None` says nothing, as for NumPy."""
        if "out" not in kwargs or "out" in self.signature.parameters:
            return None, kwargs
        return kwargs["out"], {name: value for name, value in kwargs.items() if name != "out"}

    def vjp(self, *args: P.args, **kwargs: P.kwargs) -> tuple[R, Callable[[Any], Any]]:
        """``(value, pullback)``; ``pullback(cotangent)`` returns what `grad` returns.

        The cotangent has the container and the shapes of the value; auxiliary results have none.
        """
        variant, values, flat = self._prepare(args, kwargs)
        value = outputs_tree(variant, self._run(variant, Derivation("value"), values))
        leaves = self._leaves(variant)
        derivation = Derivation("vjp", variant.argument_inputs(leaves))

        def pullback(cotangent: Any) -> Any:
            results = self._run(variant, derivation, values, matching(variant, cotangent))
            return self._gradients(variant, leaves, results, flat)

        return value, pullback

    def jvp(self, primals: Any, tangents: Any) -> tuple[R, Any]:
        """``(value, change of the value)`` along tangents, which have the structure that `grad` returns."""
        variant, values, _ = self._prepare(self._primals(primals), {})
        leaves = self._leaves(variant)
        directions = self._directions(variant, leaves, tangents)
        derivation = Derivation("jvp", variant.argument_inputs(leaves))
        results = self._run(variant, derivation, values, directions)
        count = len(variant.built.value_outputs)
        own = self._run(variant, Derivation("value"), values) if self.has_aux else results[:count]
        change = outputs_tree(variant, variant.built.at_outputs(results[count:]), value_only=True)
        return outputs_tree(variant, own), change

    # --- whole matrices and second derivatives -------------------------------------------------------------

    def jacobian(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """All first derivatives: in the container of the value, for each leaf what `grad` returns.

        Leaves have shape ``out.shape + in.shape``.
        """
        return self._jacobian(*args, **kwargs)

    def _jacobian_generally(self, *args: Any, **kwargs: Any) -> Any:
        variant, values, flat = self._prepare(args, kwargs)
        leaves = self._leaves(variant)
        derivation = Derivation("jacobian", variant.argument_inputs(leaves))
        results = self._run(variant, derivation, values)
        serve_directly(self, variant, derivation, leaves, (args, kwargs))
        rows: list[Any] = []
        program = variant.built.program
        for at in variant.built.value_outputs:
            if not program.types[program.outputs[at]].dtype.is_float:
                rows.append(None)
                continue
            own, results = results[: len(leaves)], results[len(leaves) :]
            rows.append(self._gradients(variant, leaves, own, flat))
        spec = variant.built.value_spec
        return rows[0] if spec == LEAF else optree.tree_unflatten(spec, rows)

    def hessian(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """All second derivatives of a scalar function: what `grad` returns, nested twice.

        Leaves have shape ``first.shape + second.shape``.
        """
        return self._hessian(*args, **kwargs)

    def _hessian_generally(self, *args: Any, **kwargs: Any) -> Any:
        variant, values, flat = self._prepare(args, kwargs)
        require_scalar(variant.built, "hessian")
        leaves = self._leaves(variant)
        derivation = Derivation("hessian", variant.argument_inputs(leaves))
        results = self._run(variant, derivation, values)
        serve_directly(self, variant, derivation, leaves, (args, kwargs))
        width = len(leaves)
        rows = [
            self._gradients(variant, leaves, results[at * width : (at + 1) * width], flat)
            for at in range(width)
        ]
        return self._containers(dict(zip(leaves, rows, strict=True)), flat)

    # Instances have machine code in the place of these, which hands on to them what it does not serve.
    _value, _grad, _value_and_grad = _value_generally, _grad_generally, _value_and_grad_generally
    _jacobian, _hessian = _jacobian_generally, _hessian_generally

    def hvp(self, primals: Any, tangents: Any) -> tuple[Any, Any]:
        """``(gradient, Hessian times tangents)`` without forming the Hessian."""
        variant, values, flat = self._prepare(self._primals(primals), {})
        require_scalar(variant.built, "hvp")
        leaves = self._leaves(variant)
        directions = self._directions(variant, leaves, tangents)
        derivation = Derivation("hvp", variant.argument_inputs(leaves))
        results = self._run(variant, derivation, values, directions)
        count = len(leaves)
        gradients, products = results[:count], results[count:]
        return self._gradients(variant, leaves, gradients, flat), self._gradients(
            variant, leaves, products, flat
        )

    def hessp(self, x: Any, p: Any, *args: Any) -> Any:
        """Hessian times `p`, with the arguments in the order of ``scipy.optimize.minimize(hessp=...)``."""
        return self.hvp((x, *args), p)[1]

    def _primals(self, primals: Any) -> tuple[Any, ...]:
        return primals if isinstance(primals, tuple) else (primals,)

    # --- everything else ----------------------------------------------------------------------------------

    def check(self, *args: P.args, **kwargs: P.kwargs) -> Report:
        """Compare the gradient with numerical differences; the report is truthy when they agree."""
        return self.at(*args, **kwargs).check()

    def _check_once(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """With ``check=True`` the first gradient is checked; a failed check raises."""
        if not self.checked and self._tracing(args, kwargs) is None:
            self.checked = True  # first, because the check asks for gradients itself
            self.at(*args, **kwargs).check().assert_ok()

    def inspect(self, *args: P.args, **kwargs: P.kwargs) -> Inspection:
        """Every stage of the compilation for these arguments."""
        return self.at(*args, **kwargs).inspect()

    def profile(self, *args: P.args, **kwargs: P.kwargs) -> Profile:
        """Time every loop of the kernel for value and gradient beside what this machine allows; see `At.profile`."""
        return self.at(*args, **kwargs).profile()

    def kernel(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return the Numba dispatcher that returns ``(value, grads)``, for your own ``@njit`` code."""
        return self.at(*args, **kwargs).kernel()

    def bind(self, *args: Any, out: Any = None, **kwargs: Any) -> Prebound:
        """Fix the arguments in place, for loops where the call itself counts.

        Parameters
        ----------
        *args, **kwargs
            The arguments: arrays, C-contiguous, which each call reads where they are, and numbers, which stay.
        out : array or containers of arrays, optional
            Where the gradient goes: arrays of the shapes and dtypes that `grad` returns; new ones by default.

        Returns
        -------
        Prebound
            ``step()`` returns the value; ``step.gradient`` is overwritten by every call.

        Raises
        ------
        ArgumentError
            An array is not C-contiguous, an output does not fit or shares memory, the function returns more
            than one number, or its target is no compiled one.

        Examples
        --------
        >>> import numpy as np
        >>> from gradc import differentiate
        >>> x = np.array([1.0, 2.0])
        >>> step = differentiate(lambda x: np.sum(x * x)).bind(x)
        >>> for _ in range(50):
        ...     value = step()
        ...     x -= 0.25 * step.gradient
        >>> value < 1e-20
        True
        """
        self._refuse_inside(args, kwargs)
        return bind(self, args, kwargs, out)

    def bind_update(self, *args: Any, updates: Sequence[str], **kwargs: Any) -> Update:
        """Fix the arguments, some of which every call updates: a training step, an integrator, a sampler.

        The function returns its value and then new contents, in the order and the containers of the arguments in
        `updates`.  Where nothing reads an argument after its element is computed, the kernel writes it there at once.

        Parameters
        ----------
        *args, **kwargs
            The arguments: arrays, C-contiguous, which each call reads where they are, and numbers, which stay.
        updates : sequence of str
            The arguments that are updated.

        Returns
        -------
        Update
            ``step()`` returns the first result; further numbers are in ``step.numbers``.

        Raises
        ------
        ArgumentError
            What the function returns does not fit, or an array cannot be updated where it is.

        Examples
        --------
        >>> import numpy as np
        >>> from gradc import differentiate
        >>> loss, w = differentiate(lambda w: np.sum(np.square(w))), np.array([1.0, 2.0])
        >>> descend = differentiate(lambda w: (loss(w), w - 0.25 * loss.grad(w)))
        >>> step = descend.bind_update(w, updates=("w",))
        >>> step(), step(), w
        (5.0, 1.25, array([0.25, 0.5 ]))
        """
        self._refuse_inside(args, kwargs)
        return bind_update(self, args, kwargs, updates)

    def compile(self, *types: Any, of: str = "value_and_grad", **named: Any) -> Differentiated[P, R]:
        """Compile without calling.

        Parameters
        ----------
        *types
            Per argument ``gradc.f64["N", 10]`` for an array (a string stands for any extent, equal strings
            for equal ones), ``gradc.f64`` or ``float`` for a Python float, or a value to use as it is.
            Annotations of the function serve for arguments that are not given.
        of : str
            Which kernel: ``"value"``, ``"grad"``, ``"value_and_grad"``, ``"vjp"``, ``"jvp"``, ``"jacobian"``,
            ``"hessian"`` or ``"hvp"``.

        Returns
        -------
        Differentiated
            The function itself.
        """
        args, kwargs = examples(self.signature, types, named)
        variant, derivation = self.at(*args, **kwargs).derivation(of)
        variant.kernel(derivation)
        return self

    def at(self, *args: P.args, **kwargs: P.kwargs) -> At:
        """Return the function bound to arguments; its methods take options."""
        self._refuse_inside(args, kwargs)
        return At(self, args, kwargs)

    def with_options(self, **changes: Any) -> Differentiated[P, R]:
        """Return a sibling with other options: ``wrt=``, ``static=``, ``has_aux=``, ``target=``, ..."""
        changes = dict(changes)
        signature = self.signature
        if "wrt" in changes or "static" in changes:
            names = signature.wrt[0] if signature.bare and len(signature.wrt) == 1 else signature.wrt
            wrt = changes.pop("wrt", names)
            signature = Signature(self.__wrapped__, wrt, changes.pop("static", tuple(signature.static)))
        source = self.source.with_signature(signature)
        has_aux = changes.pop("has_aux", self.has_aux)
        sibling = Differentiated(source, signature, self.__wrapped__, replace(self.options, **changes))
        sibling.checked, sibling.has_aux, sibling._trace = self.checked, has_aux, self._trace
        return sibling

    # --- inside a traced function -------------------------------------------------------------------------

    def __gradc_inside__(self, trace: Trace) -> Differentiated[P, R]:
        """Stands for the function where every call is part of a trace, whatever its arguments are."""
        twin: Differentiated[P, R] = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _trace=trace, _direct=set(), _variants={})
        for method in SERVED:  # machine code answers calls from outside
            twin.__dict__.pop(method, None)
            twin.__dict__.pop(f"_{method}", None)
        return twin

    def _refuse_inside(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse what is about a kernel where a function is being traced."""
        trace = self._tracing(args, kwargs)
        if trace is not None:
            from gradc.lang.refusals import kernel_inside  # noqa: PLC0415  (tracing loads SciPy)

            raise trace.poisoned(kernel_inside(self.signature.name, trace.where()))

    def __gradc_inline__(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.__gradc_inside__(trace)(*args, **kwargs)  # pyright: ignore[reportCallIssue]

    # --- what Python asks of functions --------------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        """As a method the function is differentiated with respect to its arguments, never to the instance."""
        self.signature = self.signature.as_method()
        self.source = self.source.with_signature(self.signature)
        self._plain = False

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return Method(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        made_by = getattr(self.source, "made_by", None)
        if made_by is None:
            return by_name, (self.__wrapped__.__module__, self.__wrapped__.__qualname__)
        signature = self.signature
        wrt = signature.wrt[0] if signature.bare and len(signature.wrt) == 1 else signature.wrt
        chosen = (wrt if signature.named else None, tuple(signature.static), self.options, self.has_aux)
        return made_again, (*made_by, *chosen)


def made_again(
    maker: Callable[..., tuple[Callable[..., Any], Source]],
    arguments: tuple[Any, ...],
    wrt: Any,
    static: tuple[str, ...],
    options: Options,
    has_aux: bool,
) -> Differentiated[..., Any]:
    """Make the function of a formula again, from what pickling kept."""
    function, source = maker(*arguments)
    found = Differentiated(source, Signature(function, wrt, static), function, options)
    found.has_aux = has_aux
    return found
