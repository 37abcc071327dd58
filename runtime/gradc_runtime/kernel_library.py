"""Machine code in Numba's libraries: how it is made beside Python, and how it is linked.

Numba would link all modules of a library into one, and have it optimised and translated while Python waits.  Here each
module of a kernel that launches tasks is on its way to machine code as soon as it is added
(`gradc_runtime.object_code`): the kernel itself, and what calls it from Python and from C.  Its tasks are symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from gradc_runtime.linking import link, link_needed
from gradc_runtime.object_code import Building, Source, codegen, source_of


@dataclass(frozen=True, slots=True)
class MachineCode:
    """The machine code of a library.

    Attributes
    ----------
    codes : sequence of bytes
        Object code.
    bitcode : bytes
        What other compiled code may inline; declarations at least.
    public : sequence of str
        The names that it defines.
    needs : sequence of str
        The names that it needs from outside.
    """

    codes: Sequence[bytes]
    bitcode: bytes
    public: Sequence[str]
    needs: Sequence[str]

    def linked_into(self, library: Any) -> None:
        """Link it, and let a library that has nothing yet stand for it."""
        link_needed(self.needs)
        link(self.codes)
        codegen()._engine._defined_symbols.update(self.public)
        library._shared_module = llvm.parse_bitcode(self.bitcode)
        library._finalized = True


def loaded(name: str, code: MachineCode) -> Any:
    """A library of machine code that was kept."""
    library = codegen().create_library(name)
    code.linked_into(library)
    library._disable_inspection = True  # Numba warns who wants to read it
    return library


def build_beside(library: Any, *, as_it_stands: bool = False) -> None:
    """Let threads make machine code of the modules that Numba adds to a library; its finalisation waits for them.

    LLVM leaves what is better compiled `as_it_stands` as it is.
    """
    made: list[Building] = []
    declared = library.create_ir_module(library.name)

    def add(module: ir.Module) -> None:
        made.append(Building(source_of(module, library=library, straight=as_it_stands)))
        for function in module.functions:
            if function.name in made[-1].source.public:
                ir.Function(declared, function.function_type, function.name)

    def finalize() -> None:
        codes, bitcode = [part.code() for part in made], llvm.parse_assembly(str(declared)).as_bitcode()
        public = dict.fromkeys(name for part in made for name in part.source.public)
        needs = dict.fromkeys(name for part in made for name in part.source.needs if name not in public)
        library.machine_code = MachineCode(codes, bitcode, tuple(public), tuple(needs))
        library.machine_code.linked_into(library)

    library.add_ir_module, library.finalize = add, finalize
    _show(library, lambda: [part.source.optimised().as_bitcode() for part in made])


# --- for readers --------------------------------------------------------------------------------------------


def shown_with(library: Any, name: str, source: Source) -> None:
    """Let what is read of a library contain a module that it calls, its function under a `name` for readers."""
    if not hasattr(library, "shown"):
        _show(library, lambda: [library._final_module.as_bitcode()])
    library.shown[source] = name


def _show(library: Any, own: Callable[[], Sequence[bytes]]) -> None:
    """Let what is read of a library be its `own` modules, as LLVM leaves them, with what they call."""
    library.shown = {}

    def whole() -> Any:
        context = llvm.create_context()
        called = (source.optimised().as_bitcode() for source in library.shown)
        first, *others = [llvm.parse_bitcode(bitcode, context) for bitcode in (*own(), *called)]
        for other in others:
            first.link_in(other)
        return first

    def named(text: str) -> str:
        for source, name in library.shown.items():
            text = text.replace(source.public[0], name)
        return text

    library.get_llvm_str = lambda: named(str(whole()))
    library.get_asm_str = lambda: named(codegen()._tm.emit_assembly(whole()))
