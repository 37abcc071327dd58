"""Removing Kronecker deltas: a tensor that is zero unless two of its indices agree is stored without one.

A Jacobian is a pullback applied to ``delta[s, i]``.  Instead of building that matrix, the sum over ``s`` is
carried out: every equation that reads ``delta[s, phi]`` is evaluated at ``s = phi`` only.

    x_bar[s, k] += delta[s, i] * w[i, k]      ->  x_bar[i, k] += 1 * w[i, k] z_bar[s, i] += delta[s, i] * d[i]
    ->  z_bar[i] += 1 * d[i]          read as  delta[s, i] * z_bar[i]

The second line leaves ``z_bar`` *diagonal*, and so do the equations after it as long as all contributions
agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gradc.autodiff.batch import batched_names
from gradc.ir.extents import Size
from gradc.ir.index.build import IDENTITY
from gradc.ir.index.nodes import (
    Access,
    Accumulate,
    Assemble,
    Assign,
    Call,
    Const,
    Equation,
    Index,
    Lookup,
    Operand,
    Program,
    TensorType,
    reads_of,
)
from gradc.ir.index.rewrite import compose_all, compose_operand
from gradc.ir.index.templates import Argument, Instruction, Literal, Source, Step, Template, template
from gradc.ir.names import NameSupply

# (seed axis, own axis): the tensor is zero unless the two indices agree.
Pairs = tuple[tuple[int, int], ...]


def eliminate_deltas(program: Program, seed: str) -> Program:
    """Remove the input `seed`, which stands for ``delta[s, i]``: 1 where its first axes equal its last.

    Requires: `program` is valid; every tensor that depends on `seed` has the seed axes first. Ensures: equal
    results under `evaluate` up to the sign of zeros, and up to ``0 * inf`` which is 0 afterwards; no tensor
    of the shape of `seed` is made unless a library call needs one.
    """
    return _Elimination(program, seed).run()


class _Elimination:
    """One walk over the equations; `pairs` holds what is known to be diagonal, by name."""

    def __init__(self, program: Program, seed: str) -> None:
        self.program = program
        self.seed = seed
        self.types = dict(program.types)
        self.affected = batched_names(program, (seed,))
        self.names = NameSupply(tuple(program.types))
        self.seeds = len(program.types[seed].shape) // 2
        self.full: dict[str, TensorType] = {seed: program.types[seed]}
        self.pairs: dict[str, Pairs] = {seed: tuple((k, k + self.seeds) for k in range(self.seeds))}
        self.result: list[Equation] = []
        self.open: dict[str, list[int]] = {}  # accumulations of tensors that were not read yet
        self.dense: dict[str, str] = {}

    def run(self) -> Program:
        for equation in self.program.equations:
            for name in reads_of(equation):
                self._close(name)
            if any(name in self.pairs for name in reads_of(equation)):
                equation = self._rewritten(equation)
            if isinstance(equation, Accumulate) and equation.out in self.affected:
                self.open.setdefault(equation.out, []).append(len(self.result))
            self.result.append(equation)
        outputs = tuple(
            self._densified(name) if name in self.pairs else name for name in self.program.outputs
        )
        del self.types[self.seed]
        p = self.program
        inputs = tuple(name for name in p.inputs if name != self.seed)
        return Program(p.name, inputs, tuple(self.result), outputs, self.types, p.guards, p.quotients)

    # --- equations --------------------------------------------------------------------------------------

    def _rewritten(self, equation: Equation) -> Equation:
        if isinstance(equation, Assign | Accumulate):
            found = self._at_agreement(equation)
            if found is not None:
                return found
        names = {name: self._densified(name) for name in reads_of(equation) if name in self.pairs}
        return _renamed(equation, names)

    def _at_agreement(self, equation: Assign | Accumulate) -> Accumulate | None:
        """Return the equation at the points where the deltas are 1; None where other points count as well."""
        if isinstance(equation, Assign) and equation.reduce is not None and equation.reduce.op != "sum":
            return None
        sparse = [
            (at, operand)
            for at, operand in enumerate(equation.operands)
            if isinstance(operand, Access) and operand.tensor in self.pairs
        ]
        images = [self._images(access) for _, access in sparse]
        if any(image is None or image != images[0] for image in images) or images[0] is None:
            return None
        zero = [
            at
            for at, operand in enumerate(equation.operands)
            if isinstance(operand, Const) and not operand.value
        ]
        if not vanishes(equation.template, frozenset((*zero, *(at for at, _ in sparse)))):
            return None
        return self._substituted(equation, images[0])

    def _images(self, access: Access) -> dict[int, Index] | None:
        """For every seed index of the space, the index that it has to agree with."""
        images: dict[int, Index] = {}
        for seed_axis, own_axis in self.pairs[access.tensor]:
            position, image = access.indices[seed_axis], access.indices[own_axis]
            if not isinstance(position, int) or position >= self.seeds or _mentions(image, self.seeds):
                return None
            if images.setdefault(position, image) != image:
                return None
        return images

    def _substituted(self, equation: Assign | Accumulate, images: dict[int, Index]) -> Accumulate | None:
        kept = [position for position in range(len(equation.space)) if position not in images]
        moved: list[Index] = [0] * len(equation.space)
        for new, old in enumerate(kept):
            moved[old] = new
        for position, image in images.items():
            agreed = compose_all((image,), tuple(moved))
            if agreed is None:
                return None
            moved[position] = agreed[0]
        inner = tuple(moved)
        target = equation.target if isinstance(equation, Accumulate) else IDENTITY[equation.rank]
        out = compose_all(target, inner)
        operands = tuple(compose_operand(self._compact(operand), inner) for operand in equation.operands)
        found = tuple(operand for operand in operands if operand is not None)
        if out is None or len(found) != len(operands):
            return None
        space = tuple(equation.space[position] for position in kept)
        body, found = _without_factor_one(equation.template, found)
        return Accumulate(equation.out, space, out, body, found, equation.origin)

    def _compact(self, operand: Operand) -> Operand:
        """Return the operand as it is stored: without the seed axes of its deltas."""
        if not isinstance(operand, Access) or operand.tensor not in self.pairs:
            return operand
        if operand.tensor == self.seed:
            return Const(1.0, self.types[self.seed].dtype)
        dropped = {seed_axis for seed_axis, _ in self.pairs[operand.tensor]}
        kept = tuple(index for axis, index in enumerate(operand.indices) if axis not in dropped)
        return Access(operand.tensor, kept)

    # --- tensors ----------------------------------------------------------------------------------------

    def _close(self, name: str) -> None:
        """`name` is complete: if all its contributions are on one diagonal, store the diagonal."""
        positions = self.open.pop(name, None)
        if positions is None or name in self.program.outputs:
            return
        contributions = [self.result[position] for position in positions]
        targets = [e.target for e in contributions if isinstance(e, Accumulate)]
        pairs = self._common(targets, self.types[name].shape)
        if not pairs:
            return
        dropped = {seed_axis for seed_axis, _ in pairs}
        self.pairs[name] = pairs
        self.full[name] = type_ = self.types[name]
        self.types[name] = TensorType(type_.dtype, _without(type_.shape, dropped))
        for position, equation in zip(positions, contributions, strict=True):
            assert isinstance(equation, Accumulate)
            target = tuple(index for axis, index in enumerate(equation.target) if axis not in dropped)
            self.result[position] = Accumulate(
                name, equation.space, target, equation.template, equation.operands, equation.origin
            )

    def _common(self, targets: list[tuple[Index, ...]], shape: tuple[Size, ...]) -> Pairs:
        """Seed axes that equal the same own axis, of the same extent, in every target."""
        pairs = []
        for seed_axis in range(min(self.seeds, len(shape))):
            for own_axis in range(self.seeds, len(shape)):
                if shape[seed_axis] == shape[own_axis] and _agree(targets, seed_axis, own_axis):
                    pairs.append((seed_axis, own_axis))
                    break
        return tuple(pairs)

    def _densified(self, name: str) -> str:
        """Return the whole tensor, written out once for equations that cannot use the diagonal."""
        if name not in self.dense:
            type_ = self.full[name]
            rank = len(type_.shape)
            dropped = dict(self.pairs[name])
            kept = [axis for axis in range(rank) if axis not in dropped]
            position = {axis: at for at, axis in enumerate(kept)}
            target = tuple(position[dropped.get(axis, axis)] for axis in range(rank))
            source = self._compact(Access(name, tuple(position.get(axis, 0) for axis in range(rank))))
            space = tuple(type_.shape[axis] for axis in kept)
            out = self.dense[name] = self.names.fresh(f"{name}_dense")
            self.types[out] = type_
            self.result.append(Accumulate(out, space, target, template("copy"), (source,)))
        return self.dense[name]


def _without_factor_one(
    body: Template, operands: tuple[Operand, ...]
) -> tuple[Template, tuple[Operand, ...]]:
    """``1 * a`` is ``a``, exactly."""
    if body.name == "mul":
        for at, operand in enumerate(operands):
            if isinstance(operand, Const) and operand.value == 1:
                return template("copy"), (operands[1 - at],)
    return body, operands


def _without(shape: tuple[Size, ...], dropped: set[int]) -> tuple[Size, ...]:
    return tuple(size for axis, size in enumerate(shape) if axis not in dropped)


def _mentions(index: Index, seeds: int) -> bool:
    """Whether one of the first `seeds` loop indices occurs."""
    if isinstance(index, int):
        return index < seeds
    if isinstance(index, Lookup):
        return any(_mentions(inner, seeds) for inner in index.indices)
    return any(position < seeds for _, position in index.terms)


def _agree(targets: list[tuple[Index, ...]], first: int, second: int) -> bool:
    return all(target[first] == target[second] for target in targets)


def _renamed(equation: Equation, names: Mapping[str, str]) -> Equation:
    """Return the equation reading other tensors."""
    if isinstance(equation, Assemble):
        return replace(equation, parts=tuple(names.get(name, name) for name in equation.parts))
    if isinstance(equation, Call):
        return replace(equation, ins=tuple(names.get(name, name) for name in equation.ins))
    operands = tuple(
        Access(names.get(operand.tensor, operand.tensor), operand.indices)
        if isinstance(operand, Access)
        else operand
        for operand in equation.operands
    )
    return replace(equation, operands=operands)


# --- templates ----------------------------------------------------------------------------------------------


def vanishes(body: Template, positions: frozenset[int]) -> bool:
    """Whether the template is zero wherever the operands at `positions` are all zero."""
    key = ("vanishes", positions)
    if key not in body.cache:
        zero = [False] * len(body.tape.instructions)
        for at, step in enumerate(body.tape.instructions):
            zero[at] = _is_zero(step, body.tape.instructions, positions, zero)
        body.cache[key] = _source_is_zero(body.tape.result, positions, zero)
    return bool(body.cache[key])


def _source_is_zero(source: Source, positions: frozenset[int], zero: list[bool]) -> bool:
    if isinstance(source, Argument):
        return source.position in positions
    return source.value == 0 if isinstance(source, Literal) else zero[source.position]


def _is_zero(
    step: Instruction, steps: tuple[Instruction, ...], positions: frozenset[int], zero: list[bool]
) -> bool:
    known = [_source_is_zero(source, positions, zero) for source in step.sources]
    match step.function:
        case "mul":
            return any(known)
        case "div" | "neg":
            return known[0]
        case "add" | "sub":
            return all(known)
        case "select":
            condition = step.sources[0]
            if isinstance(
                condition, Step
            ):  # a strong zero: the first arm is taken where the cotangent is zero
                test = steps[condition.position]
                if test.function == "eq" and all(_source_is_zero(s, positions, zero) for s in test.sources):
                    return known[1]
            return known[1] and known[2]
        case _:
            return False
