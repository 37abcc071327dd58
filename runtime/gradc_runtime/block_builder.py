"""What writes blocks of thousands of operations on doubles, so that neither Python nor LLVM takes long for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

Value = Any  # of LLVM

_DOUBLE = ir.DoubleType()
_PLACE = str(_DOUBLE.as_pointer())
# Instructions in one of LLVM's basic blocks: the time in which it chooses a machine's grows with their square.
LONGEST = 400


class BlockBuilder(ir.IRBuilder):
    """A builder of straight-line code, whose operations on doubles are lines of text.

    They take a quarter of the time of llvmlite's objects, with their unique names, operands and metadata.
    """

    def __init__(self, block: ir.Block) -> None:
        super().__init__(block)
        self._count = 0
        self._cuts: list[ir.Block] = []

    def fadd(self, lhs: Value, rhs: Value, name: str = "", flags: Sequence[str] = ()) -> Value:
        """Insert a sum."""
        return self._operation("fadd", lhs, rhs, flags)

    def fsub(self, lhs: Value, rhs: Value, name: str = "", flags: Sequence[str] = ()) -> Value:
        """Insert a difference."""
        return self._operation("fsub", lhs, rhs, flags)

    def fmul(self, lhs: Value, rhs: Value, name: str = "", flags: Sequence[str] = ()) -> Value:
        """Insert a product."""
        return self._operation("fmul", lhs, rhs, flags)

    def fdiv(self, lhs: Value, rhs: Value, name: str = "", flags: Sequence[str] = ()) -> Value:
        """Insert a quotient."""
        return self._operation("fdiv", lhs, rhs, flags)

    def read(self, array: Value, index: int) -> Value:
        """Insert the load of an element of doubles."""
        line = _Line("load", self._fresh(), array.get_reference(), index)
        self._insert(line)
        return line

    def write(self, value: Value, array: Value, index: int) -> None:
        """Insert the store of an element of doubles."""
        at, place, stored = self._fresh(), array.get_reference(), value.get_reference()
        self._insert(
            f"{at} = getelementptr double, {_PLACE} {place}, i64 {index}\n  store double {stored}, {_PLACE} {at}"
        )

    def cut(self) -> None:
        """Go on in a new basic block, if this one is long."""
        if len(self.block.instructions) > LONGEST:
            self._cuts.append(self.append_basic_block())
            self.branch(self._cuts[-1])
            self.position_at_end(self._cuts[-1])

    def keep_cuts(self) -> None:
        """Let LLVM believe that anyone may jump to the new blocks: else it would join them again.

        The array that says so is for LLVM's eyes, there is no memory for it.
        """
        if not self._cuts:
            return
        kind = ir.ArrayType(ir.IntType(8).as_pointer(), len(self._cuts))
        array = ir.GlobalVariable(self.module, kind, "gradc_cuts")
        array.linkage = "available_externally"
        array.initializer = ir.Constant(kind, [ir.BlockAddress(self.function, cut) for cut in self._cuts])

    def _operation(self, opname: str, lhs: Value, rhs: Value, flags: Sequence[str]) -> Value:
        line = _Line(opname, self._fresh(), lhs.get_reference(), rhs.get_reference(), flags)
        self._insert(line)
        return line

    def _fresh(self) -> str:
        self._count += 1
        return f"%v{self._count}"


class _Line:
    """An instruction with a double for a result."""

    __slots__ = ("flags", "left", "name", "opname", "right")

    type = _DOUBLE
    metadata = ()

    def __init__(
        self, opname: str, name: str, left: str, right: str | int, flags: Sequence[str] = ()
    ) -> None:
        self.opname, self.name, self.left, self.right, self.flags = opname, name, left, right, flags

    def get_reference(self) -> str:
        """Its name."""
        return self.name

    def __str__(self) -> str:
        if self.opname == "load":
            at = f"{self.name}.at"
            place = f"{at} = getelementptr double, {_PLACE} {self.left}, i64 {self.right}"
            return f"{place}\n  {self.name} = load double, {_PLACE} {at}"
        return f"{self.name} = {' '.join((self.opname, *self.flags))} double {self.left}, {self.right}"
