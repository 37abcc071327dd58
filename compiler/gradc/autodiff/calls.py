"""Derivatives of the library operations, in both modes: one row per operation of `gradc.ir.index.calls`.

Matrix formulas follow M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), and for the Cholesky factor I. Murray, arXiv:1602.07527.  Rules emit ordinary
equations and operations of the same table, so they can be differentiated again.

Conventions: the Cholesky factor depends on the lower triangle of its argument only, as NumPy's does, so
cotangents are lower triangular.  The gradient of ``det`` is finite at singular matrices; its second
derivative, and every derivative of ``slogdet``, needs an invertible matrix.
"""

from __future__ import annotations

from collections.abc import Callable

from gradc.autodiff.adjoint import Adjoint
from gradc.autodiff.matrices import Matrices
from gradc.autodiff.reductions import next_index, shorter
from gradc.autodiff.tangent import Forward
from gradc.errors import NoDerivativeRule
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import Access, Call
from gradc.ir.index.templates import template

# --- views and scans ----------------------------------------------------------------------------------------


def _reshape_vjp(adjoint: Adjoint, call: Call) -> None:
    (source,), (out,) = call.ins, call.outs
    shape = adjoint.types[source].shape
    m = Matrices(adjoint.builder, call.origin)
    back = m.call("reshape", adjoint.cotangents[out], attributes={"shape": shape})
    adjoint.contribute_tensor(source, back, call.origin)


def _reshape_jvp(forward: Forward, call: Call) -> str:
    m = Matrices(forward.builder, call.origin)
    return m.call("reshape", forward.tangents[call.ins[0]], attributes=dict(call.attributes))


def _scan(call: Call) -> tuple[int, bool]:
    axis, reverse = call.attribute("axis"), call.attribute("reverse")
    assert isinstance(axis, int)
    return axis, bool(reverse)


def _scan_vjp(adjoint: Adjoint, call: Call) -> None:
    """``s[i] = t_bar[i] + a[i+1] s[i+1]``, a scan the other way: ``b_bar``; ``a_bar[i] = s[i] t[i-1]``."""
    (a, b), (t,) = call.ins, call.outs
    axis, reverse = _scan(call)
    type_ = adjoint.types[t]
    shape, builder = type_.shape, adjoint.builder
    rank, inner = len(shape), shorter(type_.shape, axis)
    here, later = IDENTITY[rank], next_index(rank, axis)
    moved = builder.declare("shifted", type_.dtype, shape)
    source, target = (here, later) if reverse else (later, here)
    builder.accumulate(moved, template("copy"), (Access(a, source),), inner, target, call.origin)
    attributes = {"axis": axis, "reverse": not reverse}
    (s,) = builder.call("affine_scan", (moved, adjoint.cotangents[t]), attributes, origin=call.origin)
    if b in adjoint.active:
        adjoint.contribute_tensor(b, s, call.origin)
    if a in adjoint.active:
        operands = (Access(s, source), Access(t, target))
        adjoint.contribute(a, source, inner, template("mul"), operands, call.origin)


def _scan_jvp(forward: Forward, call: Call) -> str:
    """Return the same scan over ``b_dot[i] + a_dot[i] t[i-1]``."""
    (a, b), (t,) = call.ins, call.outs
    axis, reverse = _scan(call)
    type_ = forward.types[t]
    builder, rank = forward.builder, len(type_.shape)
    here, later = IDENTITY[rank], next_index(rank, axis)
    a_dot, b_dot = forward.tangents.get(a), forward.tangents.get(b)
    drive = builder.declare("drive", type_.dtype, type_.shape)
    if b_dot is not None:
        copy = template("copy")
        builder.accumulate(drive, copy, (Access(b_dot, here),), type_.shape, here, call.origin)
    if a_dot is not None:
        source, target = (here, later) if reverse else (later, here)
        operands = (Access(a_dot, source), Access(t, target))
        inner = shorter(type_.shape, axis)
        builder.accumulate(drive, template("mul"), operands, inner, source, call.origin)
    attributes = {"axis": axis, "reverse": reverse}
    return builder.call("affine_scan", (a, drive), attributes, origin=call.origin)[0]


# --- linear systems -----------------------------------------------------------------------------------------


def _solve_vjp(adjoint: Adjoint, call: Call) -> None:
    """``x = a^-1 b``: ``b_bar = a^-T x_bar``, ``a_bar = -b_bar x^T``."""
    (a, b), (x,) = call.ins, call.outs
    m = Matrices(adjoint.builder, call.origin)
    b_bar = m.call("solve", m.transposed(a), adjoint.cotangents[x])
    if b in adjoint.active:
        adjoint.contribute_tensor(b, b_bar, call.origin)
    if a in adjoint.active:
        adjoint.contribute_tensor(a, m.product(b_bar, x, right_t=True), call.origin, "neg")


def _solve_jvp(forward: Forward, call: Call) -> str:
    (a, b), (x,) = call.ins, call.outs
    m = Matrices(forward.builder, call.origin)
    a_dot = forward.tangents.get(a)
    change = None if a_dot is None else m.product(a_dot, x)
    return m.call("solve", a, _difference(m, forward.tangents.get(b), change))


def _difference(m: Matrices, first: str | None, second: str | None) -> str:
    """``first - second`` with None for zero."""
    if second is None:
        assert first is not None
        return first
    return m.pointwise("neg", second) if first is None else m.pointwise("sub", first, second)


def _triangle(call: Call) -> tuple[bool, bool, str]:
    lower, transposed = bool(call.attribute("lower")), bool(call.attribute("transposed"))
    return lower, transposed, "ge" if lower else "le"


def _triangular_vjp(adjoint: Adjoint, call: Call) -> None:
    (a, b), (x,) = call.ins, call.outs
    lower, transposed, kept = _triangle(call)
    m = Matrices(adjoint.builder, call.origin)
    attributes = {"lower": lower, "transposed": not transposed}
    b_bar = m.call("solve_triangular", a, adjoint.cotangents[x], attributes=attributes)
    if b in adjoint.active:
        adjoint.contribute_tensor(b, b_bar, call.origin)
    if a in adjoint.active:
        outer = m.product(x, b_bar, right_t=True) if transposed else m.product(b_bar, x, right_t=True)
        adjoint.contribute_tensor(a, m.where(kept, outer), call.origin, "neg")


def _triangular_jvp(forward: Forward, call: Call) -> str:
    (a, b), (x,) = call.ins, call.outs
    _, transposed, kept = _triangle(call)
    m = Matrices(forward.builder, call.origin)
    a_dot = forward.tangents.get(a)
    change = None if a_dot is None else m.product(m.where(kept, a_dot), x, left_t=transposed)
    right = _difference(m, forward.tangents.get(b), change)
    return m.call("solve_triangular", a, right, attributes=dict(call.attributes))


def _inv_vjp(adjoint: Adjoint, call: Call) -> None:
    """``a_bar = -x^T x_bar x^T``."""
    (a,), (x,) = call.ins, call.outs
    m = Matrices(adjoint.builder, call.origin)
    right = m.product(adjoint.cotangents[x], x, right_t=True)
    adjoint.contribute_tensor(a, m.product(x, right, left_t=True), call.origin, "neg")


def _inv_jvp(forward: Forward, call: Call) -> str:
    (a,), (x,) = call.ins, call.outs
    m = Matrices(forward.builder, call.origin)
    return m.pointwise("neg", m.product(x, m.product(forward.tangents[a], x)))


# --- determinants -------------------------------------------------------------------------------------------


def _det_vjp(adjoint: Adjoint, call: Call) -> None:
    """``a_bar = y_bar * cofactor(a)``."""
    (a,), (y,) = call.ins, call.outs
    m = Matrices(adjoint.builder, call.origin)
    scaled = m.scaled("mul", m.call("cofactor", a), adjoint.cotangents[y])
    adjoint.contribute_tensor(a, scaled, call.origin)


def _det_jvp(forward: Forward, call: Call) -> str:
    m = Matrices(forward.builder, call.origin)
    return m.inner(m.call("cofactor", call.ins[0]), forward.tangents[call.ins[0]])


def _cofactor_change(m: Matrices, a: str, c: str, direction: str) -> str:
    """``(<c, e> c - c e^T c) / det(a)``, symmetric as a bilinear form, hence its own transpose."""
    first = m.scaled("mul", c, m.inner(c, direction))
    second = m.product(c, m.product(direction, c, left_t=True))
    return m.scaled("div", m.pointwise("sub", first, second), m.call("det", a))


def _cofactor_vjp(adjoint: Adjoint, call: Call) -> None:
    (a,), (c,) = call.ins, call.outs
    m = Matrices(adjoint.builder, call.origin)
    adjoint.contribute_tensor(a, _cofactor_change(m, a, c, adjoint.cotangents[c]), call.origin)


def _cofactor_jvp(forward: Forward, call: Call) -> str:
    (a,), (c,) = call.ins, call.outs
    return _cofactor_change(Matrices(forward.builder, call.origin), a, c, forward.tangents[a])


def _slogdet_vjp(adjoint: Adjoint, call: Call) -> None:
    """``a_bar = logarithm_bar * a^-T``; the sign is piecewise constant."""
    (a,), (_, logarithm) = call.ins, call.outs
    found = adjoint.cotangents.get(logarithm)
    if found is not None:
        m = Matrices(adjoint.builder, call.origin)
        inverse = m.transposed(m.call("inv", a))
        adjoint.contribute_tensor(a, m.scaled("mul", inverse, found), call.origin)


def _slogdet_jvp(forward: Forward, call: Call) -> tuple[None, str]:
    m = Matrices(forward.builder, call.origin)
    return None, m.inner(forward.tangents[call.ins[0]], m.call("inv", call.ins[0]), right_t=True)


# --- the Cholesky factor ------------------------------------------------------------------------------------

_BACK = {"lower": True, "transposed": True}
_FORTH = {"lower": True, "transposed": False}


def _cholesky_vjp(adjoint: Adjoint, call: Call) -> None:
    """``s = l^-T Phi(l^T l_bar) l^-1`` symmetrised; an element below the diagonal stands for two of ``a``."""
    (a,), (factor,) = call.ins, call.outs
    m = Matrices(adjoint.builder, call.origin)
    half = m.lower_half(m.product(factor, adjoint.cotangents[factor], left_t=True))
    left = m.call("solve_triangular", factor, half, attributes=_BACK)
    s = m.call("solve_triangular", factor, m.transposed(left), attributes=_BACK)
    # s + s^T is twice the symmetric cotangent: all of it below the diagonal, half of it on the diagonal.
    adjoint.contribute_tensor(a, m.lower_half(m.pointwise("add", s, m.transposed(s))), call.origin)


def _cholesky_jvp(forward: Forward, call: Call) -> str:
    """``l_dot = l Phi(l^-1 a_dot l^-T)``."""
    (a,), (factor,) = call.ins, call.outs
    m = Matrices(forward.builder, call.origin)
    left = m.call("solve_triangular", factor, m.from_lower(forward.tangents[a]), attributes=_FORTH)
    both = m.call("solve_triangular", factor, m.transposed(left), attributes=_FORTH)
    return m.product(factor, m.lower_half(both))


# --- functions outside gradc --------------------------------------------------------------------------------


def _external_vjp(adjoint: Adjoint, call: Call) -> None:
    """Call the registered pullback with the cotangents of the results, then the operands."""
    number, name = call.attribute("pullback"), call.attribute("name")
    if not number:
        raise NoDerivativeRule(
            f"the external function {name} has no pullback",
            where=f"{call.origin.file}:{call.origin.line}" if call.origin else "",
            why="gradc cannot look inside it",
            do="give one: gradc.external(f, result=..., vjp=lambda cotangent, x: ...)",
        )
    builder, types = adjoint.builder, adjoint.types
    floats = [out for out in call.outs if types[out].dtype.is_float]
    cotangents = [
        adjoint.cotangents[out]
        if out in adjoint.cotangents
        else builder.constant(0.0, types[out].dtype, types[out].shape)
        for out in floats
    ]
    sources = [source for source in call.ins if types[source].dtype.is_float]
    attributes = {f"shape_{at}": types[source].shape for at, source in enumerate(sources)}
    dtypes = " ".join(types[source].dtype.value for source in sources)
    pulled = builder.call(
        "external",
        (*cotangents, *call.ins),
        {**attributes, "dtypes": dtypes, "name": f"{name} pullback", "number": number, "pullback": 0},
        hints=tuple(f"{source}_bar" for source in sources),
        origin=call.origin,
    )
    for source, result in zip(sources, pulled, strict=True):
        if source in adjoint.active:
            adjoint.contribute_tensor(source, result, call.origin)


def _external_jvp(forward: Forward, call: Call) -> str:
    raise NoDerivativeRule(
        f"the external function {call.attribute('name')} has no forward derivative",
        where=f"{call.origin.file}:{call.origin.line}" if call.origin else "",
        why="only its pullback is given",
        do="use grad, vjp or jacobian",
    )


VJP: dict[str, Callable[[Adjoint, Call], None]] = {
    "reshape": _reshape_vjp,
    "affine_scan": _scan_vjp,
    "solve": _solve_vjp,
    "inv": _inv_vjp,
    "det": _det_vjp,
    "cofactor": _cofactor_vjp,
    "slogdet": _slogdet_vjp,
    "cholesky": _cholesky_vjp,
    "solve_triangular": _triangular_vjp,
    "external": _external_vjp,
}

# The tangents of the results, given that some operand varies; None for a result whose tangent is zero.
JVP: dict[str, Callable[[Forward, Call], str | tuple[str | None, ...]]] = {
    "reshape": _reshape_jvp,
    "affine_scan": _scan_jvp,
    "solve": _solve_jvp,
    "inv": _inv_jvp,
    "det": _det_jvp,
    "cofactor": _cofactor_jvp,
    "slogdet": _slogdet_jvp,
    "cholesky": _cholesky_jvp,
    "solve_triangular": _triangular_jvp,
    "external": _external_jvp,
}

# Results are integers: nothing varies, so neither mode ever asks for a rule.
WITHOUT_DERIVATIVE = frozenset(("argsort", "arg_extreme"))
