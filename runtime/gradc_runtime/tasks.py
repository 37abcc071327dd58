"""Loops that run in parts, on as many threads as there are: tasks of generated kernels.

    @task
    def rows_1(part, parts, n, x, y): ...       # part `part` of `parts` of a loop

    run_tasks(rows_1, parts_of(n, 12, 0), n * 12, n, x, y)

How many parts a loop has follows from its extents alone, never from the number of threads: sums over parts have the
same bits on one thread as on many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import callconv, cgutils, types
from numba.core.typing import templates
from numba.extending import lower_builtin, type_callable

from gradc_runtime import threads
from gradc_runtime.arrays import address_of, called_symbol
from gradc_runtime.kernel_library import shown_with
from gradc_runtime.kernel_types import WithText
from gradc_runtime.opaque import infer_global, opaque
from gradc_runtime.routines import exported
from gradc_runtime.simd import prefer_wide_vectors
from gradc_runtime.task_code import TaskCode, error_type, task_code, to_table

MOST = 64  # parts of one loop
ENOUGH, LONGER = 16, 8  # parts; of more each has so many times the least work: a part has its own costs
# The lanes of the widest vectors, and the iterations of a part that make it worth its while to begin with whole ones.
WHOLE, LONG = 16, 128
COPIES = 1 << 25  # elements of the copies that all parts have together, where each has one
WORK = 1 << 16  # of a part at least, in operations: some ten microseconds, several times what a launch takes
# Nanoseconds that a loop may take before a barrier counts as stalled: several times what one thread needs, even where
# every operation waits for memory.
PATIENCE, PER_OPERATION = 1_000_000, 2


def parts_of(extent: int, work: int, size: int) -> int:
    """How many parts a loop over `extent` has.

    `work` is the number of operations of one iteration, `size` the number of elements of which every part has a
    copy of its own: sums are cleared and added up once for each part.  It is a power of two where the extent allows it,
    so that 2, 4 or 8 threads get equally many parts.
    """
    if extent <= 1:
        return extent
    wanted = extent * work // (WORK + 96 * size)
    wanted = min(MOST, extent, max(min(wanted, ENOUGH), wanted // LONGER), COPIES // max(size, 1))
    found = 1
    while 2 * found * found <= wanted * wanted and found < MOST:  # the nearest power: 3 becomes 4, 5 too
        found *= 2
    return min(found, extent)


def start_of(part: int, count: int, extent: int) -> int:
    """Where a part begins; it ends where the next one begins.  A task that asks for it uses the widest vectors.

    Long parts are of whole vectors, but for the last one.
    """
    first = extent * part // count
    return first - first % WHOLE if part < count and extent >= LONG * count else first


def run_tasks(function: Any, count: int, work: int, *arguments: Any) -> None:
    """Call ``function(part, count, *arguments)`` for every part, in any order or at once.

    `work` is the number of operations of all parts together.  A launch that takes much longer than they do makes
    the next ones run on one thread (`gradc_runtime.threads`): where other programs hold the processors, a barrier
    waits for milliseconds.
    """
    for part in range(count):
        function(part, count, *arguments)


class Task(WithText):
    """A function that kernels run in parts; called from Python it runs as it stands."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.name = function.__name__
        self._compiled: dict[tuple[Any, ...], TaskCode] = {}

    @property
    def signatures(self) -> tuple[tuple[Any, ...], ...]:
        """The types of arguments that it was compiled for."""
        return tuple(self._compiled)

    def __call__(self, *arguments: Any) -> None:
        """Run one part."""
        self.function(*arguments)

    def begin(self, context: Any, given: Sequence[Any]) -> None:
        """Begin to compile it for a call of `run_tasks` with arguments of these types."""
        self.compiled(context, given)

    def compiled(self, context: Any, given: Sequence[Any]) -> TaskCode:
        """The code for a call of `run_tasks` with arguments of these types: without what Python would call."""
        kinds = (types.intp, types.intp, *map(types.unliteral, given[3:]))
        if kinds not in self._compiled:
            self._compiled[kinds] = task_code(context, self.function, kinds, self.text)
        return self._compiled[kinds]


def task(function: Callable[..., None]) -> Task:
    """Make a function a task."""
    return Task(function)


_TaskType = opaque(Task)


@type_callable(parts_of)
@type_callable(start_of)
def _type_of_number(context: Any) -> Any:
    return lambda first, second, third: types.intp


@lower_builtin(parts_of, types.Integer, types.Integer, types.Integer)
def _lower_parts(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    words = [builder.sext(value, ir.IntType(64)) for value in values]
    return called_symbol(builder, exported("gradc_parts_of", parts_of).symbol, words)


@lower_builtin(start_of, types.Integer, types.Integer, types.Integer)
def _lower_start(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
    prefer_wide_vectors(builder)
    word = ir.IntType(64)
    part, count, extent = (builder.sext(value, word) for value in values)
    found = builder.sdiv(builder.mul(extent, part), count)
    inner = builder.icmp_signed("<", part, count)
    long = builder.icmp_signed(">=", extent, builder.mul(count, word(LONG)))
    found = builder.select(builder.and_(inner, long), builder.and_(found, word(-WHOLE)), found)
    positive = builder.icmp_signed(">", found, word(0))  # LLVM must see that no index is negative
    return builder.select(positive, found, word(0))


@infer_global(run_tasks)
class _RunTasks(templates.AbstractTemplate):
    """Any arguments behind the task and two numbers."""

    def generic(self, arguments: Any, keywords: Any) -> Any:
        """Return the signature, if this is a task."""
        is_task = len(arguments) > 2 and isinstance(arguments[0], _TaskType) and not keywords
        return templates.signature(types.none, *arguments) if is_task else None


@lower_builtin(run_tasks, _TaskType, types.Integer, types.Integer, types.VarArg(types.Any))
def _lower_run(context: Any, builder: ir.IRBuilder, called: Any, values: Any) -> Any:
    """Launch a task over the parts; its arguments lie on the stack of the caller."""
    function, _, _, *kinds = called.args
    _, count, work, *arguments = values
    code = function.made.compiled(context, called.args)
    threads.launcher()  # defines the symbol
    word = ir.IntType(64)
    packed = [count]
    for kind, value in zip(kinds, arguments, strict=True):
        packed.append(address_of(builder, value) if isinstance(kind, types.Array) else value)
    packed += [word(0)] * code.may_fail
    with builder.goto_entry_block():  # `alloca_once` would clear it, element by element
        table = builder.alloca(word, size=word(len(packed)))
    for at, value in enumerate(packed):
        to_table(builder, table, at, value)
    shown_with(context.active_code_library, function.made.name, code.source)
    entry = code.declared_in(builder.module)
    declared = ir.FunctionType(ir.VoidType(), [word] * 4)
    launch = cgutils.get_or_insert_function(builder.module, declared, "gradc_launch")
    address, place = builder.ptrtoint(entry, word), builder.ptrtoint(table, word)
    patience = builder.add(word(PATIENCE), builder.mul(work, word(PER_OPERATION)))
    builder.call(launch, [address, count, place, patience])
    if code.may_fail:
        error = builder.load(builder.gep(table, [word(len(packed) - 1)], inbounds=True))
        with builder.if_then(builder.icmp_signed("!=", error, word(0)), likely=False):
            builder.store(builder.inttoptr(error, error_type(builder.function)), builder.function.args[1])
            builder.ret(callconv.RETCODE_USEREXC)
    return context.get_dummy_value()
