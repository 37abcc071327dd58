"""Runs PTX without a GPU: a kernel of independent threads, translated to LLVM and compiled for the CPU.

What runs is the code that goes to a device, after inlining, contraction and the choice of instructions: values
that the simulator cannot vouch for.  Not here: shared memory, barriers, shuffles, atomics, scalar arguments.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from tests.cuda.ptx_arithmetic import BIT, BYTE, LONG, REAL, TYPES, WORD, Arithmetic, bits_of

Value = Any  # of llvmlite

POINTER = ir.PointerType()
# Registers of a thread, passed to the kernel in this order after its parameters.
THREAD = ("%tid.x", "%ctaid.x", "%ntid.x", "%nctaid.x")

_FUNCTION = re.compile(
    r"\.(?P<kind>entry|func)\s+(?:\((?P<result>[^)]*)\)\s*)?(?P<name>[\w$.]+)\s*\((?P<operands>[^)]*)\)\s*\{"
)
_GLOBAL = re.compile(r"\.global\s+\.align\s+(\d+)\s+\.b8\s+([\w$.]+)\[(\d+)\]\s*=\s*\{([^}]*)\}")
_STATEMENT = re.compile(r"\s*(?:(\$?\w+:)|(\{)|(\})|((?:[^;{}]|\{[^{}]*\})+);)", re.DOTALL)
_CALL = re.compile(r"(?:\((.*?)\) ?, ?)?([\w$.]+) ?, ?\((.*)\)$")


class Machine:
    """A kernel to be run by `run`."""

    def __init__(self, ptx: str) -> None:
        self.module, self.functions, self.tables = ir.Module("ptx"), {}, {}
        text = re.sub(r"//[^\n]*", "", ptx)
        for alignment, name, size, content in _GLOBAL.findall(text):
            self._add_table(name, int(alignment), bytes(map(int, content.split(","))).ljust(int(size), b"\0"))
        found = list(_FUNCTION.finditer(text))
        translations = [Translation(self, match, _body(text, match.end())) for match in found]
        for translation in translations:
            translation.run()
        (self.kernel,) = (match["name"] for match in found if match["kind"] == "entry")
        self.engine = _compiled(self.module)

    def _add_table(self, name: str, alignment: int, content: bytes) -> None:
        kind = ir.ArrayType(BYTE, len(content))
        table = ir.GlobalVariable(self.module, kind, name)
        table.initializer, table.linkage = ir.Constant(kind, bytearray(content)), "internal"
        table.align = alignment
        self.tables[name] = table

    def run(self, *arrays: np.ndarray) -> None:
        """Run the kernel on a single thread."""
        words: list[int] = []
        for array in arrays:
            words += [0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides]
        parameters = (ctypes.c_int64 * len(words))(*words)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int32] * len(THREAD))
        kind(self.engine.get_function_address(self.kernel))(ctypes.addressof(parameters), 0, 0, 1, 1)


def _body(text: str, start: int) -> str:
    depth, at = 1, start
    while depth:
        depth += (text[at] == "{") - (text[at] == "}")
        at += 1
    return text[start : at - 1]


def _compiled(module: ir.Module) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=1
    )
    passes = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=1))
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, target)
    engine.finalize_object()
    return engine


class Translation(Arithmetic):
    """One function of PTX on its way to LLVM; every register is a place on the stack."""

    def __init__(self, machine: Machine, match: re.Match[str], body: str) -> None:
        super().__init__(machine.module)
        self.machine, self.body = machine, body
        names = [_last_name(text) for part in ("result", "operands") for text in _listed(match[part])]
        if match["kind"] == "entry":
            kind = ir.FunctionType(ir.VoidType(), [POINTER, *[WORD] * len(THREAD)])
            self.parameters = {name: (0, 8 * position) for position, name in enumerate(names)}
        else:
            kind = ir.FunctionType(ir.VoidType(), [POINTER] * len(names))
            self.parameters = {name: (position, 0) for position, name in enumerate(names)}
        self.function = machine.functions[match["name"]] = ir.Function(machine.module, kind, match["name"])
        self.scopes: list[dict[str, Any]] = [{}]  # what each name stands for, by nesting of braces
        self.labels: dict[str, ir.Block] = {}
        self.stack = ir.IRBuilder(self.function.append_basic_block("stack"))
        self.carry = self.stack.alloca(WORD)

    def run(self) -> None:
        first = self.function.append_basic_block("first")
        self.builder = ir.IRBuilder(first)
        for statement in self._statements():
            self._translate(statement)
        self.stack.branch(first)

    def _statements(self) -> Iterator[str]:
        """Yield braces, labels with their colon, and instructions without their semicolon."""
        at = 0
        while self.body[at:].strip():
            # a brace that opens a block starts a statement; those of operands are inside one
            match = re.compile(r"\s*(\{)").match(self.body, at) or _STATEMENT.match(self.body, at)
            assert match, self.body[at : at + 200]
            yield " ".join(match[0].split()).removesuffix(";")
            at = match.end()

    def _translate(self, statement: str) -> None:
        if statement == "{":
            self.scopes.append({})
        elif statement == "}":
            self.scopes.pop()
        elif statement.endswith(":"):
            block = self._block(statement[:-1])
            if not self.builder.block.is_terminated:
                self.builder.branch(block)
            self.builder = ir.IRBuilder(block)
        elif statement.startswith(".reg"):
            self._declare_registers(statement)
        elif statement.startswith((".param", ".local")):
            name = re.search(r"([\w$.]+)(?:\[(\d+)\])?$", statement)
            assert name, statement
            place = self.stack.alloca(ir.ArrayType(LONG, (int(name[2] or 8) + 7) // 8))
            # a pointer without a type; llvmlite's cast of pointers would keep the type
            self.scopes[-1][name[1]] = self.stack.inttoptr(self.stack.ptrtoint(place, LONG), POINTER)
        elif not statement.startswith((".pragma", ".loc")):
            self._instruction(statement)

    def _declare_registers(self, statement: str) -> None:
        _, kind, names = statement.split(" ", 2)
        for name in _listed(names):
            stem, _, count = name.rstrip(">").partition("<")
            for register in [f"{stem}{k}" for k in range(int(count))] if count else [stem]:
                self.scopes[-1][register] = [TYPES[kind[1:]], None]

    def _block(self, label: str) -> ir.Block:
        if label not in self.labels:
            self.labels[label] = self.function.append_basic_block(label.strip("$"))
        return self.labels[label]

    # --- operands -------------------------------------------------------------------------------------------

    def _found(self, name: str) -> Any:
        """A register as its type and place, made on first use; the address of an array; None for a number."""
        found = next((scope[name] for scope in reversed(self.scopes) if name in scope), None)
        if isinstance(found, list) and found[1] is None:
            found[1] = self.stack.alloca(found[0])
        return found if found is not None else self.machine.tables.get(name)

    def _read(self, text: str, kind: Any) -> Value:
        if text in THREAD:
            return self.as_bits(self.function.args[1 + THREAD.index(text)], kind)
        found = self._found(text)
        if isinstance(found, list):
            return self.as_bits(self.builder.load(found[1], typ=found[0]), kind)
        if found is not None:
            return self.builder.ptrtoint(found, LONG)
        if text[:2].lower() in ("0f", "0d"):  # the bits of a float
            whole = WORD if text[1].lower() == "f" else LONG
            return self.as_bits(ir.Constant(whole, int(text[2:], 16)), kind)
        assert kind not in REAL, text
        return ir.Constant(kind, int(text, 0) & ((1 << kind.width) - 1))

    def _write(self, name: str, value: Value, *, signed: bool = False) -> None:
        kind, place = self._found(name)
        if signed and kind not in REAL and kind.width > bits_of(value.type):
            value = self.builder.sext(value, kind)
        self.builder.store(self.as_bits(value, kind), place)

    def _address(self, text: str, space: str, further: int = 0) -> Value:
        name, _, offset = text.strip("[] ").partition("+")
        more = int(offset or 0) + further
        if space != "param":
            return self.builder.inttoptr(
                self.builder.add(self._read(name, LONG), ir.Constant(LONG, more)), POINTER
            )
        pointer = self._found(name)
        if pointer is None:
            position, start = self.parameters[name]
            pointer, more = self.function.args[position], more + start
        return self.builder.gep(pointer, [ir.Constant(LONG, more)], source_etype=BYTE)

    # --- instructions ---------------------------------------------------------------------------------------

    def _instruction(self, statement: str) -> None:
        opcode, _, rest = statement.partition(" ")
        if opcode.startswith("@"):
            self._branch(opcode[1:], rest.split()[-1])
            return
        name, *flags = opcode.split(".")
        if name == "call":
            self._call_function(rest)
            return
        operands = [text.strip() for text in re.findall(r"\{[^}]*\}|[^,\s][^,]*", rest)]
        method = getattr(self, f"_do_{name}", None)
        if method:
            method(flags, operands)
            return
        self._compute(name, flags[:-1], flags[-1], operands)

    def _branch(self, condition: str, label: str) -> None:
        value = self._read(condition.strip("!"), BIT)
        targets = [self._block(label), self.function.append_basic_block("next")]
        self.builder.cbranch(value, *(reversed(targets) if condition.startswith("!") else targets))
        self.builder = ir.IRBuilder(targets[1])

    def _call_function(self, rest: str) -> None:
        match = _CALL.match(rest)
        assert match, rest
        names = [*_listed(match[1]), *_listed(match[3])]
        self.builder.call(self.machine.functions[match[2]], [self._found(name) for name in names])

    def _compute(self, name: str, flags: list[str], last: str, operands: list[str]) -> None:
        kind, signed, target = TYPES[last], last[0] == "s", operands[0]
        if name in ("shl", "shr"):
            value, count = self._read(operands[1], kind), self._read(operands[2], WORD)
            self._write(target, self.shifted(name, signed, value, count))
            return
        values = [self._read(text, kind) for text in operands[1:]]
        if kind in REAL:
            self._write(target, self.of_reals(name, flags, values))
        elif "cc" in flags or name in ("addc", "subc", "madc"):
            result, carry = self.with_carry(name, flags, values, self.builder.load(self.carry, typ=WORD))
            self._write(target, result)
            if "cc" in flags:
                self.builder.store(carry, self.carry)
        else:
            self._write(target, self.of_integers(name, flags, signed, values))

    def _do_bra(self, flags: list[str], operands: list[str]) -> None:
        self.builder.branch(self._block(operands[0]))

    def _do_ret(self, flags: list[str], operands: list[str]) -> None:
        self.builder.ret_void()

    def _do_cvta(self, flags: list[str], operands: list[str]) -> None:
        self._write(operands[0], self._read(operands[1], LONG))

    def _do_ld(self, flags: list[str], operands: list[str]) -> None:
        kind = TYPES[flags[-1]]
        for position, target in enumerate(_listed(operands[0].strip("{}"))):
            address = self._address(operands[1], flags[0], position * bits_of(kind) // 8)
            self._write(target, self.builder.load(address, typ=kind), signed=flags[-1][0] == "s")

    def _do_st(self, flags: list[str], operands: list[str]) -> None:
        kind = TYPES[flags[-1]]
        for position, source in enumerate(_listed(operands[1].strip("{}"))):
            address = self._address(operands[0], flags[0], position * bits_of(kind) // 8)
            self.builder.store(self._read(source, kind), address)

    def _do_mov(self, flags: list[str], operands: list[str]) -> None:
        kind, (target, source) = TYPES[flags[-1]], operands
        if target.startswith("{"):
            names = _listed(target.strip("{}"))
            for name, part in zip(names, self.divided(self._read(source, kind), len(names)), strict=True):
                self._write(name, part)
        elif source.startswith("{"):
            names = _listed(source.strip("{}"))
            part = ir.IntType(kind.width // len(names))
            self._write(target, self.joined([self._read(name, part) for name in names], kind))
        else:
            self._write(target, self._read(source, kind))

    def _do_setp(self, flags: list[str], operands: list[str]) -> None:
        a, b = (self._read(text, TYPES[flags[-1]]) for text in operands[1:])
        self._write(operands[0], self.compared(flags[0], flags[-1][0], a, b))

    def _do_selp(self, flags: list[str], operands: list[str]) -> None:
        a, b = (self._read(text, TYPES[flags[-1]]) for text in operands[1:3])
        self._write(operands[0], self.builder.select(self._read(operands[3], BIT), a, b))

    def _do_cvt(self, flags: list[str], operands: list[str]) -> None:
        *how, to, source = flags
        value = self.converted(self._read(operands[1], TYPES[source]), how, to, source)
        self._write(operands[0], value, signed=to[0] == "s")

    def _do_clz(self, flags: list[str], operands: list[str]) -> None:
        self._write(operands[0], self.leading_zeros(self._read(operands[1], TYPES[flags[-1]])))

    def _do_bfi(self, flags: list[str], operands: list[str]) -> None:
        value, into = (self._read(text, TYPES[flags[-1]]) for text in operands[1:3])
        self._write(operands[0], self.inserted(value, into, int(operands[3]), int(operands[4])))


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _last_name(text: str) -> str:
    """The name in a declaration such as ``.param .align 8 .b8 name[16]``."""
    return text.split()[-1].partition("[")[0]
