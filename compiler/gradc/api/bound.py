"""A differentiated function bound to arguments, and one bound to an instance."""

from __future__ import annotations

import inspect
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.api.bindable import Bindable
from gradc.api.variant import Variant, require_scalar
from gradc.errors import ArgumentError
from gradc.explain.inspection import Inspection
from gradc.ir import extents
from gradc.ir.index.evaluate import Interpreter, bind_extents
from gradc.ir.index.nodes import Call, Program, outputs_of
from gradc.ir.index.show import show_equation
from gradc.pipeline import Derivation
from gradc_runtime import backends

if TYPE_CHECKING:
    from gradc.api.report import ReportPage
    from gradc.explain.profile import Profile
    from gradc.lang.session import Trace
    from gradc_runtime.gradcheck import Report


PROFILED = ("value", "grad", "value_and_grad", "jacobian", "hessian")  # of the arguments alone


class At:
    """``loss.at(*args)``: the methods of `loss` at these arguments, with options."""

    def __init__(self, function: Bindable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def __repr__(self) -> str:
        return f"<{self._function!r} at {len(self._args) + len(self._kwargs)} arguments>"

    def _prepared(self) -> tuple[Variant, list[Any], tuple[int, ...]]:
        variant, values, _ = self._function._prepare(self._args, self._kwargs)
        assert isinstance(variant, Variant)  # `Differentiated.at` refuses traced arguments
        return variant, list(values), self._function._leaves(variant)

    def program_and_inputs(self) -> tuple[Program, dict[str, Any]]:
        """Return the traced program and its inputs by name, hidden ones included."""
        variant, values, _ = self._prepared()
        program = variant.built.program
        return program, dict(zip(program.inputs, variant.inputs(values), strict=True))

    def value(self) -> Any:
        """Return the value."""
        return self._function(*self._args, **self._kwargs)

    def grad(self) -> Any:
        """Return the gradient."""
        return self._function.grad(*self._args, **self._kwargs)

    def value_and_grad(self) -> tuple[Any, Any]:
        """Value and gradient."""
        return self._function.value_and_grad(*self._args, **self._kwargs)

    def derivation(self, of: str) -> tuple[Variant, Derivation]:
        """Return the variant that serves these arguments and the derivation called `of`."""
        variant, _, leaves = self._prepared()
        return variant, Derivation(of, () if of == "value" else variant.gradient_inputs(leaves))

    def inspect(self, of: str = "value_and_grad") -> Inspection:
        """Every stage of the compilation of `of` for these arguments."""
        return self.inspection_of(*self.derivation(of))

    def inspection_of(self, variant: Variant, derivation: Derivation) -> Inspection:
        """Every stage of one derivation of one variant."""
        stages = variant.compiled(derivation)

        def arguments() -> dict[str, Any]:
            """Inputs by name; what a derivation adds to them is made up in its shape."""
            program, inputs = self.program_and_inputs()
            known = bind_extents(program, {name: np.shape(value) for name, value in inputs.items()})
            derived = stages.optimised
            for name in derived.inputs:
                shape = tuple(extents.evaluate(size, known) for size in derived.types[name].shape)
                inputs.setdefault(name, np.broadcast_to(0.0, shape))
            return inputs

        def dispatcher() -> Any:
            return backends.load("numba").readable(variant.dispatcher(derivation))

        def path() -> str:
            variant.kernel(derivation)
            return variant.loaded[derivation].path

        return Inspection(stages, derivation.wrt, arguments, dispatcher, path)

    def kernel(self, of: str = "value_and_grad") -> Any:
        """Return the Numba dispatcher of `of`: takes the flattened leaves in signature order.

        It returns ``(value, grads)``, `grads` bare for one leaf and else a tuple.  Call it from your own
        ``@njit`` code.
        """
        variant, derivation = self.derivation(of)
        return variant.dispatcher(derivation)

    def check(self, *, order: int = 1, probes: int = 3, seed: int = 0) -> Report:
        """Check the gradient, or with ``order=2`` the Hessian along random directions.

        The compiled kernel is compared with numerical differences, with the interpreter, and with 50-digit
        differences of the program where that is affordable.  A wrong gradient is traced to its gate.

        Parameters
        ----------
        order : {1, 2}
            Which derivatives.
        probes : int
            Random directions for each large argument.
        seed : int
            Seed of the directions.

        Returns
        -------
        Report
            Truthy when every verdict is PASS, KINK-OK or EDGE.
        """
        from gradc.api.checks import GradientCheck  # noqa: PLC0415  (SciPy and mpmath)

        variant, values, leaves = self._prepared()
        _, _, flat = self._function._prepare(self._args, self._kwargs)
        return GradientCheck(self._function, variant, values, leaves, flat).run(
            order=order, probes=probes, seed=seed
        )

    def profile(self, of: str = "value_and_grad", *, rounds: int = 9) -> Profile:
        """Count, predict and time every loop of the kernel of `of`: where the time goes, and what could be gained.

        The machine is measured too, which takes some seconds the first time.

        Parameters
        ----------
        of : {"value", "grad", "value_and_grad", "jacobian", "hessian"}
            What the kernel computes.
        rounds : int
            How often it is run at least; medians count.

        Returns
        -------
        Profile
            Prints as a table.

        Raises
        ------
        ArgumentError
            The kernel takes more than the function's arguments, or there is none.
        """
        from gradc.explain.profile import profile  # noqa: PLC0415

        if of not in PROFILED:
            raise ArgumentError(f"{of!r} has no profile", do=f"choose one of {', '.join(PROFILED)}")
        variant, values, _ = self._prepared()
        _, derivation = self.derivation(of)
        if variant.options.target == "cuda":
            raise ArgumentError(
                "kernels of a GPU have no profile",
                do="look at .inspect(...).launches, or time calls yourself",
            )
        run = variant.dispatcher(derivation)
        return profile(variant.compiled(derivation), variant.inputs(values), run, rounds)

    def report(
        self, path: str | PathLike[str] | None = None, *, rounds: int = 9, seed: int = 0
    ) -> ReportPage:
        """Make one page of everything: graph, mathematics, kernels, timings, memory and the gradient check.

        The function is compiled, timed and checked at these arguments.

        Parameters
        ----------
        path : str or path, optional
            Also write the page there: an .html file that needs no network.
        rounds : int
            How often the kernel is run at least.
        seed : int
            Seed of the directions of the check.

        Raises
        ------
        ShapeError
            The value is no number.
        InputRefused
            A name that does not end in .html, a place that cannot be written, or a package that is missing.
        """
        from gradc.api.report import report, require_page  # noqa: PLC0415  (half of gradc)

        if path is not None:
            require_page(path)
        variant, derivation = self.derivation("value_and_grad")
        require_scalar(variant.built, "report")
        inspection, profile = self.inspect(), self.profile(rounds=rounds)
        checked = self.check(seed=seed)
        found = report(inspection, *self.program_and_inputs(), derivation.wrt, profile, checked)
        if path is not None:
            found.save(path)
        return found

    def find_nan(self, of: str = "value_and_grad") -> str:
        """Find the first equation that yields NaN or an infinity, with its line; empty if none does."""
        from gradc.pipeline import DERIVATIONS  # noqa: PLC0415

        variant, values, _ = self._prepared()
        _, derivation = self.derivation(of)
        program = DERIVATIONS[of](variant.built.program, derivation.wrt)
        inputs = dict(zip(program.inputs, variant.inputs(values), strict=True))
        found = Interpreter().run(program, inputs)
        for equation in program.equations:
            for name in outputs_of(equation):
                value = np.asarray(found[name])
                if value.dtype.kind == "f" and not np.isfinite(value).all():
                    origin = (
                        None if isinstance(equation, Call) and equation.origin is None else equation.origin
                    )
                    place = f"{origin.file}:{origin.line}: " if origin else ""
                    return f"{place}{show_equation(equation)}"
        return ""


class Method:
    """A differentiated function looked up on an instance, which is the first argument of every call."""

    def __init__(self, function: Any, instance: Any) -> None:
        self.__func__ = function
        self.__self__ = instance

    def __repr__(self) -> str:
        return f"<{self.__func__!r} of {type(self.__self__).__name__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value."""
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__func__, name)
        if not callable(found) or name in _WITHOUT_INSTANCE:
            return found
        instance = self.__self__

        def method(*args: Any, **kwargs: Any) -> Any:
            return found(instance, *args, **kwargs)

        parameters = list(self.__func__.signature.python.parameters.values())[1:]
        method.__name__ = name
        method.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        return method

    def jvp(self, primals: Any, tangents: Any) -> Any:
        """As `Differentiated.jvp`, for the arguments beside the instance."""
        return self.__func__.jvp(self._primals(primals), tangents)

    def hvp(self, primals: Any, tangents: Any) -> Any:
        """As `Differentiated.hvp`, for the arguments beside the instance."""
        return self.__func__.hvp(self._primals(primals), tangents)

    def hessp(self, x: Any, p: Any, *args: Any) -> Any:
        """As `Differentiated.hessp`, for the arguments beside the instance."""
        return self.hvp((x, *args), p)[1]

    def with_options(self, **changes: Any) -> Method:
        """Return a sibling with other options, bound to the same instance."""
        return Method(self.__func__.with_options(**changes), self.__self__)

    def _primals(self, primals: Any) -> tuple[Any, ...]:
        return (self.__self__, *(primals if isinstance(primals, tuple) else (primals,)))

    def __gradc_inside__(self, trace: Trace) -> Method:
        return Method(self.__func__.__gradc_inside__(trace), self.__self__)

    def __gradc_inline__(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.__func__.__gradc_inline__(trace, (self.__self__, *args), kwargs)


_WITHOUT_INSTANCE = ("cache_info",)
