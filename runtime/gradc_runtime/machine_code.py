"""Compiled functions as bytes, and back: object code and names, never pickles.

Numba compiles a function to a library of object code.  What is kept is that object code, with every function in it
private but the ones that are called from outside, so that it cannot be mixed up with code that is compiled in the
process that loads it; the bitcode that other compiled code may inline; and the names that it needs from outside.
Nothing is linked before every one of these names is known: LLVM ends the process at the first that is not.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module, resources
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
import scipy
from llvmlite import ir
from numba.core import registry, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.environment import Environment
from numba.core.runtime.nrt import rtsys

from gradc_runtime import kernel_library, store
from gradc_runtime.kernel_library import MachineCode
from gradc_runtime.linking import announce, is_provided
from gradc_runtime.numba_function import description, overload
from gradc_runtime.object_code import Building, Later, Ready, Source, codegen, declared_in, source_of

Json = Any
_numba: Any = numba  # Numba's types leave out its configuration
SETTINGS = (
    "OPT",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "ENABLE_AVX",
    "FULL_TRACEBACKS",
)


@cache
def machine() -> str:
    """Everything but a kernel's own text that its machine code depends on, as one line."""
    packages = (numba, llvmlite, np, scipy)
    versions = [platform.python_version(), *(package.__version__ for package in packages)]
    settings = [str(getattr(_numba.config, name, None)) for name in SETTINGS]
    return " ".join([*versions, *map(str, codegen().magic_tuple()), *settings, _runtime()])


@cache
def _runtime() -> str:
    """The SHA-256 of the runtime's own source, which is compiled into kernels."""
    digest = hashlib.sha256()
    for entry in sorted(resources.files("gradc_runtime").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()


def key_of(*parts: str) -> str:
    """The key of what `parts` say, compiled for this machine."""
    return hashlib.sha256("\0".join((machine(), *parts)).encode()).hexdigest()


@cache
def _context() -> Any:
    return registry.cpu_target.target_context


# --- kernels ------------------------------------------------------------------------------------------------


def keep_kernel(key: str, name: str, dispatcher: Any) -> None:
    """Keep the one compiled overload of a dispatcher, if it is of a kind that can be kept."""
    (result,) = dispatcher.overloads.values()
    described = _described(result.signature.return_type)
    constants = [_constant(value) for value in result.environment.consts]
    if described is None or None in constants:
        return
    function = result.fndesc
    names = (function.llvm_func_name, function.llvm_cpython_wrapper_name, function.llvm_cfunc_wrapper_name)
    head = {
        "name": name,
        "mangled": function.mangled_name,
        "unique": function.unique_name,
        "environment": function.env_name,
        "constants": constants,
        "returns": described,
    }
    _keep(key, head, _machine_code(result.library, (*names, function.env_name)))


def kept_kernel(key: str, dispatcher: Any, arguments: tuple[Any, ...]) -> bool:
    """Give a dispatcher the kept overload for `arguments`; whether there was one."""
    found = _kept(key)
    if found is None:
        return False
    head, code = found
    library = kernel_library.loaded(head["mangled"], code)
    function: Callable[..., Any] = dispatcher.py_func
    names = {"mangler": lambda *names, **options: head["mangled"], "env_name": head["environment"]}
    described = description(function, arguments, _type(head["returns"]), head["unique"], **names)
    environment = Environment.from_fndesc(described)
    environment.consts.extend(np.dtype(name) for name in head["constants"])
    dispatcher.add_overload(overload(library, described, environment))
    return True


# --- functions that kernels call by symbol ------------------------------------------------------------------

_loaded: list[Any] = []  # libraries live as long as the process: kernels hold addresses in them


def keep_function(symbol: str, library: Any, wrapper: str) -> None:
    """Keep the function of a library that has a symbol; `wrapper` is its name in the library."""
    _keep(_symbol_key(symbol), {"name": symbol, "wrapper": wrapper}, _machine_code(library, (wrapper,)))


def provide_emitted(
    symbol: str,
    kind: ir.FunctionType,
    emit: Callable[[ir.IRBuilder, Any], None],
    *,
    straight: bool = False,
) -> None:
    """Define a symbol: a C function of this kind whose body `emit` writes, unless it is kept.

    It does not go through Numba's front end, which takes a millisecond for every statement; of a body that is
    `straight` see `gradc_runtime.object_code.Source`.
    """

    def source() -> Source:
        context = _context().subtarget(enable_nrt=True)
        module = context.codegen()._create_empty_module(symbol)
        builder = ir.IRBuilder(ir.Function(module, kind, symbol).append_basic_block("entry"))
        emit(builder, context)
        return source_of(module, straight=straight)

    with global_compiler_lock:
        if is_provided(symbol) or provide_kept(symbol):
            return
        if _postponed is None:
            build(source())
        else:
            _postponed.append(Later(lambda: _building(source())))
            announce(symbol, _postponed[-1])


_postponed: list[Later] | None = None


@contextmanager
def emitted_later() -> Iterator[None]:
    """Let threads begin with what needs functions inside before these are emitted."""
    global _postponed
    with global_compiler_lock:
        outer, _postponed = _postponed, []
        try:
            yield
        finally:
            postponed, _postponed = _postponed, outer
        for later in postponed:
            _ = later.made


def provide_source(source: Source) -> None:
    """Define a symbol by the function of a module, unless it is kept."""
    (symbol,) = source.public
    if not is_provided(symbol) and not provide_kept(symbol):
        build(source)


def build(source: Source) -> None:
    """Define a symbol by the function of a module: a thread makes machine code of it, and keeps that."""
    (symbol,) = source.public
    announce(symbol, _building(source))


def _building(source: Source) -> Building:
    (symbol,) = source.public
    key = _symbol_key(symbol)

    def keep(code: bytes) -> None:
        _keep(key, {"name": symbol, "wrapper": symbol}, MachineCode([code], b"", [symbol], source.needs))

    return Building(source, keep)


def provide_kept(symbol: str) -> bool:
    """Define a symbol from what is kept; whether it could be."""
    found = _kept(_symbol_key(symbol))
    if found is None:
        return False
    head, code = found
    if head["wrapper"] == symbol:
        announce(symbol, Ready(code.codes[0], code.needs))
    else:
        _loaded.append(kernel_library.loaded(symbol, code))
        llvm.add_symbol(symbol, _loaded[-1].get_pointer_to_function(head["wrapper"]))
    return True


def _symbol_key(symbol: str) -> str:
    """Functions that launch tasks differ with and without a pool of threads."""
    pool = import_module("gradc_runtime.threads").available()
    return key_of("symbol", symbol, "threads" if pool else "serial")


def _provide(symbol: str) -> bool:
    """Define a symbol of ours that kept code needs; whether it is defined now."""
    if is_provided(symbol):
        return True
    if symbol in ("gradc_parallel_for", "gradc_get_num_threads", "gradc_clock", "gradc_launch_state"):
        import_module("gradc_runtime.threads").available()
    elif symbol == "gradc_pool":
        import_module("gradc_runtime.memory").define_pool()
    elif symbol.startswith("gradc_python_"):
        import_module("gradc_runtime.entry").define_symbols()
    elif symbol.startswith("gradc_special_"):
        import_module("gradc_runtime.special")
    elif symbol.startswith("gradc_") and not provide_kept(symbol):
        import_module("gradc_runtime.linalg")  # BLAS and LAPACK
    return is_provided(symbol)


# --- bytes --------------------------------------------------------------------------------------------------


def _machine_code(library: Any, public: tuple[str, ...]) -> MachineCode:
    """The machine code of a library; `public` are the names that stay visible."""
    if hasattr(library, "machine_code"):
        return library.machine_code
    _, _, (code, bitcode) = library.serialize_using_object_code()
    module = llvm.parse_bitcode(library._final_module.as_bitcode(), llvm.create_context())
    hidden = False
    for value in (*module.functions, *module.global_variables):
        if value.is_declaration or value.name.startswith("llvm."):
            continue
        if value.name not in public and value.linkage.name not in ("internal", "private"):
            value.linkage, hidden = "private", True
    if hidden:
        code = library._codegen._tm.emit_object(module)
    return MachineCode([code], bitcode, public, declared_in(module))


def _keep(key: str, head: dict[str, Json], made: MachineCode) -> None:
    """Write machine code to the store, unless it needs what is defined in this process alone."""
    if all(name.startswith("gradc_") or llvm.address_of_symbol(name) for name in made.needs):
        head = {**head, "public": list(made.public), "needs": list(made.needs)}
        store.write(key, store.packed(head, made.bitcode, *made.codes))


def _kept(key: str) -> tuple[dict[str, Json], MachineCode] | None:
    """Read what is kept from the store, and provide what it needs; None where there is nothing that can be used."""
    payload = store.read(key)
    if payload is None:
        return None
    rtsys.initialize(_context())  # defines the symbols of Numba's memory management
    head, (bitcode, *codes) = store.unpacked(payload)
    made = MachineCode(codes, bitcode, head["public"], head["needs"])
    return (head, made) if all(map(_provide, made.needs)) else None


def _constant(value: Any) -> str | None:
    """The name of a dtype; None for other constants, which are not kept."""
    return value.name if isinstance(value, np.dtype) and value.names is None else None


def _described(kind: Any) -> Json:
    """A result type as lists and strings; None where that is impossible."""
    kind = types.unliteral(kind)  # a constant is returned as any number
    if isinstance(kind, types.Tuple | types.UniTuple):
        parts = [_described(part) for part in kind.types]
        return None if None in parts else parts
    if isinstance(kind, types.Array):
        found = {"dtype": kind.dtype.name, "rank": kind.ndim}
        return found if _type(found) == kind else None
    text = kind.name if isinstance(kind, types.Number | types.Boolean) else None
    return text if text is not None and _type(text) == kind else None


def _type(described: Json) -> Any:
    """The type that `_described` described."""
    if isinstance(described, list):
        return types.Tuple([_type(part) for part in described])
    if isinstance(described, dict):
        return types.Array(_type(described["dtype"]), described["rank"], "C")
    return types.boolean if described == "bool" else getattr(types, described, None)
