"""Machine code that threads make, and the symbols that it defines."""

import ctypes
import os
import threading
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gradc_runtime import linking, object_code
from gradc_runtime.machine_code import emitted_later, provide_emitted
from gradc_runtime.object_code import Building, Linked, Source

WORD = ir.IntType(64)
KIND = ir.FunctionType(WORD, [WORD])
LOOP = """
define double @{name}(double* %x, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %sum = phi double [ 0.0, %entry ], [ %more, %loop ]
  %place = getelementptr double, double* %x, i64 %i
  %value = load double, double* %place
  %scaled = fmul double %value, {factor}.0
  %more = fadd reassoc double %sum, %scaled
  %next = add i64 %i, 1
  %done = icmp eq i64 %next, %n
  br i1 %done, label %end, label %loop
end:
  ret double %more
}}
"""


def loop(factor: int) -> Source:
    head = f'target triple = "{llvm.get_process_triple()}"\n'
    return Source(head + LOOP.format(name="gradc_test_loop", factor=factor), ("gradc_test_loop",))


def emit_calls(symbols: tuple[str, ...]) -> Any:
    """Write a function of an integer: one more than what these symbols make of it, one after the other."""

    def emit(builder: ir.IRBuilder, context: Any) -> None:
        (value,) = builder.function.args
        for symbol in symbols:
            value = builder.call(ir.Function(builder.module, KIND, symbol), [value])
        builder.ret(builder.add(value, WORD(1)))

    return emit


def test_threads_make_what_one_after_the_other_makes():
    sources = [loop(factor) for factor in range(1, 13)]
    alone = [source.object_code() for source in sources]
    assert len(set(alone)) == len(sources)
    for _ in range(3):
        assert [building.code() for building in [Building(source) for source in sources]] == alone


def test_a_refused_module_is_an_error_of_who_waits():
    building = Building(Source("define i64 @wrong() { ret double 0.0 }", ("wrong",)))
    with pytest.raises(RuntimeError, match="LLVM refuses a module"):
        building.code()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_makes_what_the_thread_of_its_parent_had_not_begun(monkeypatch: pytest.MonkeyPatch):
    turns = threading.Semaphore(0)
    monkeypatch.setattr(object_code, "_turns", lambda: turns)
    building = Building(loop(2))
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, building.code()[:4])
        os._exit(0)
    os.waitpid(child, 0)
    turns.release()
    assert os.read(reading, 8) == building.code()[:4]
    os.close(reading)
    os.close(writing)


def test_a_symbol_is_linked_when_it_is_needed_with_what_it_needs():
    names = [f"gradc_test_chain_{at}" for at in range(4)]
    for at, name in enumerate(names):
        provide_emitted(name, KIND, emit_calls(tuple(names[max(0, at - 1) : at])))
        assert linking.is_provided(name)
    assert not any(map(llvm.address_of_symbol, names))
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(linking.address_of(names[2]))
    assert call(5) == 8
    assert [bool(llvm.address_of_symbol(name)) for name in names] == [True, True, True, False]


def test_functions_are_emitted_behind_what_needs_them_or_when_they_are_asked_for():
    names, emitted = [f"gradc_test_later_{at}" for at in range(4)], []

    def emit(name: str, *needs: str) -> Any:
        def noting(builder: ir.IRBuilder, context: Any) -> None:
            emitted.append(name)
            for needed in needs:
                provide_emitted(needed, KIND, emit(needed))
            emit_calls(needs)(builder, context)

        return noting

    with emitted_later():
        provide_emitted(names[0], KIND, emit(names[0], names[1]))
        provide_emitted(names[0], KIND, emit(names[0]))
        provide_emitted(names[2], KIND, emit(names[2]))
        assert emitted == []
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(linking.address_of(names[2]))
        assert call(5) == 6
        assert emitted == [names[2]]
    assert emitted == [names[2], names[0], names[1]]

    def refused() -> None:
        with emitted_later():
            provide_emitted(names[3], KIND, emit(names[3], names[0]))
            raise KeyError

    with pytest.raises(KeyError):
        refused()
    assert emitted[-1] == names[1]
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(linking.address_of(names[3]))
    assert call(5) == 8


def test_compiled_code_of_numba_waits_for_the_symbols_that_it_calls():
    @intrinsic
    def awaited(typing: Any, value: Any) -> Any:
        """Provide a symbol, and call it."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            provide_emitted("gradc_test_awaited", KIND, emit_calls(()))
            return builder.call(ir.Function(builder.module, KIND, "gradc_test_awaited"), values)

        return types.intp(types.intp), generate

    call: Any = awaited
    run: Any = numba.njit(lambda value: 10 * call(value))
    assert run(4) == 50


def test_functions_that_are_linked_have_no_name_in_object_code():
    """LLVM's linker knows functions of an object by name, private ones too: Numba's are called alike elsewhere."""
    head = f'target triple = "{llvm.get_process_triple()}"\n'
    helper = head + (
        "define linkonce_odr i64 @gradc_test_helper(i64 %x, i64 %unused) noinline {\n"
        "  %y = mul i64 %x, 3\n  ret i64 %y\n}\n"
    )
    text = head + (
        "declare i64 @gradc_test_helper(i64, i64)\n"
        "define i64 @gradc_test_caller(i64 %x) {\n"
        "  %y = call i64 @gradc_test_helper(i64 %x, i64 7)\n  ret i64 %y\n}\n"
    )
    bitcode = llvm.parse_assembly(helper, llvm.create_context()).as_bitcode()
    linked = Linked(bitcode, ("gradc_test_helper",), (), ())
    code = Source(text, ("gradc_test_caller",), (), (linked,)).object_code()
    assert b"gradc_test_caller" in code
    assert b"gradc_test_helper" not in code


def test_a_straight_block_is_the_same_function():
    numbers = np.arange(1.0, 6.0)
    results = []
    for straight in (False, True):
        name = f"gradc_test_straight_{straight}"
        source = Source(loop(3).text.replace("gradc_test_loop", name), (name,), straight=straight)
        linking.announce(name, Building(source))
        kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p, ctypes.c_int64)
        results.append(kind(linking.address_of(name))(numbers.ctypes.data, 5))
    assert results == [45.0, 45.0]
