"""Turn accumulations into plain equations where the access can be solved."""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.extents import Size
from gradc.ir.index.build import Builder
from gradc.ir.index.nodes import Access, Accumulate, Assign, Const, Operand, Origin, Program, Reduce
from gradc.ir.index.templates import template
from gradc.passes.equations.affine import Padded, Solution, operand_in, solve


def gather(program: Program) -> Program:
    """Solve the targets of accumulations; a tensor whose targets are all solved is assigned instead.

    Requires: `program` is valid.  Ensures: the same sums of finite numbers, contributions in the same order; a
    sum of negative zeros stays negative, because nothing starts at zero any more.

        w_bar[k, j] += h_bar[i, j] * x[i, k]      ->  w_bar[i, j] = sum[k] h_bar[k, j] * x[k, i]
        y_bar[i] += a[i];  y_bar[i] += b[i]       ->  y_bar_1 = a;  y_bar_2 = b;  y_bar = y_bar_1 + y_bar_2
        x_bar[p + i] += y_bar[p] * w[i]           ->  x_bar[u] = sum[i] y_bar_padded[u - i + m] * w[i]
    """
    solutions = _solutions(program)
    if not solutions:
        return program
    work = _Gatherer(program, solutions)
    for equation in program.equations:
        if isinstance(equation, Accumulate) and equation.out in solutions:
            work.contribute(equation)
        else:
            work.builder.equations.append(equation)
    return work.builder.finish(program.outputs)


def _solutions(program: Program) -> dict[str, list[Solution]]:
    """Return the solved contributions of every tensor that has no other ones."""
    found: dict[str, list[Solution | None]] = {}
    for equation in program.equations:
        if isinstance(equation, Accumulate):
            earlier = found.setdefault(equation.out, [])
            unsolved = earlier and earlier[-1] is None
            earlier.append(None if unsolved else solve(equation, program.types))
    return {
        name: [solution for solution in solutions if solution is not None]
        for name, solutions in found.items()
        if solutions[-1] is not None
    }


class _Gatherer:
    """The program so far; `parts` are the contributions to each tensor, the earlier ones added up."""

    def __init__(self, program: Program, solutions: dict[str, list[Solution]]) -> None:
        self.builder = Builder.resume(replace(program, equations=()))
        self.due = {name: list(found) for name, found in solutions.items()}
        self.single = {name for name, found in solutions.items() if len(found) == 1}
        self.so_far: dict[str, str] = {}
        self.pads: dict[tuple[str, int, Size, Size], str] = {}

    def contribute(self, equation: Accumulate) -> None:
        total, due = equation.out, self.due[equation.out]
        solution = due.pop(0)
        if total in self.single:
            self._assign(equation, solution, total)
            return
        part = self._fresh(total)
        self._assign(equation, solution, part)
        if total not in self.so_far:
            self.so_far[total] = part
            return
        out = self._fresh(total) if due else total
        operands = (self.builder.access(self.so_far[total]), self.builder.access(part))
        shape = self.builder.types[total].shape
        added = Assign(out, shape, len(shape), None, template("add"), operands, equation.origin)
        self.builder.equations.append(added)
        self.so_far[total] = out

    def _fresh(self, total: str) -> str:
        """Declare another tensor of the type of `total`."""
        type_ = self.builder.types[total]
        return self.builder.declare(total, type_.dtype, type_.shape)

    def _assign(self, equation: Accumulate, solution: Solution, out: str) -> None:
        type_ = self.builder.types[out]
        rank = len(type_.shape)
        operands = tuple(self._operand(operand, solution, equation.origin) for operand in equation.operands)
        reduce = Reduce("sum", type_.dtype) if len(solution.space) > rank else None
        solved = Assign(out, solution.space, rank, reduce, equation.template, operands, equation.origin)
        self.builder.equations.append(solved)

    def _operand(self, operand: Operand, solution: Solution, origin: Origin | None) -> Operand:
        if isinstance(operand, Access):
            tensor = operand.tensor
            for axis, index in enumerate(operand.indices):
                if isinstance(index, int) and index in solution.padded:
                    padded = solution.padded[index]
                    tensor = self._pad(tensor, axis, padded, f"{operand.tensor}_padded", origin)
            operand = Access(tensor, operand.indices)
        return operand_in(solution, operand)

    def _pad(self, tensor: str, axis: int, padded: Padded, hint: str, origin: Origin | None) -> str:
        """Put zeros before and after a tensor along an axis, once."""
        key = (tensor, axis, padded.before, padded.after)
        if key not in self.pads:
            type_ = self.builder.types[tensor]
            zero = (Const(0.0, type_.dtype),)
            parts = [
                self.builder.assign(
                    "copy", zero, (*type_.shape[:axis], width, *type_.shape[axis + 1 :]), type_.dtype
                )
                for width in key[2:]
            ]
            whole = (parts[0], tensor, parts[1])
            self.pads[key] = self.builder.assemble(axis, whole, name=hint, origin=origin)
        return self.pads[key]
