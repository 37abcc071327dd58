"""The store of machine code under every fault that was thought of: right bytes, or none and a warning."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from gradc_runtime import cache, store
from gradc_runtime.store import CacheWarning

KEY = "ab" + "0" * 62
OTHER = "ab" + "1" * 62
PAYLOAD = store.packed({"name": "kernel"}, bytes(range(256)) * 20, b"bitcode")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="owners, links and modes are POSIX's")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GRADC_CACHE", raising=False)
    monkeypatch.delenv("GRADC_CACHE_LIMIT", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def path() -> Path:
    assert store.write(KEY, PAYLOAD)
    return store.path_of(KEY)


def is_refused(why: str = "") -> None:
    """Reading warns once, puts the file aside, and a new entry can be written and read."""
    with pytest.warns(CacheWarning, match=why) as caught:
        assert store.read(KEY) is None
    assert len(caught) == 1
    assert store.read(KEY) is None  # silently: it is gone
    assert store.write(KEY, PAYLOAD)
    assert store.read(KEY) == PAYLOAD


def test_what_is_written_is_read():
    assert store.read(KEY) is None
    assert store.write(KEY, PAYLOAD)
    assert store.read(KEY) == PAYLOAD
    assert store.read(OTHER) is None
    assert store.write(OTHER, b"")
    assert store.read(OTHER) == b""
    head, parts = store.unpacked(PAYLOAD)
    assert (head["name"], parts[1]) == ("kernel", b"bitcode")


def test_files_and_folders_are_private(path: Path, folder: Path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for place in (store.directory(), path.parent):
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == [KEY]  # nothing temporary is left


# --- content ------------------------------------------------------------------------------------------------


def test_every_truncation_is_refused(path: Path):
    whole = path.read_bytes()
    sizes = {0, 1, len(whole) - 1, *(2**power for power in range(13) if 2**power < len(whole))}
    for size in sizes:
        path.write_bytes(whole[:size])
        is_refused("cut short")


def test_every_flipped_byte_is_refused(path: Path):
    whole = path.read_bytes()
    generator = random.Random(0)
    places = [*range(min(4096, len(whole))), *(generator.randrange(len(whole)) for _ in range(1000))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.randrange(8)
        payload, fault = store._payload(KEY, bytes(damaged))
        assert fault, place
        assert payload == b""
    for place in (0, 20, 30, 60, 80, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        is_refused()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (os.urandom(5000), "another format"),
        (b"\x80\x04\x95planted pickle" + bytes(200), "another format"),
        (b"import os\nos.abort()\n" + b"#" * 200, "another format"),
        (b"\0" * 4096, "another format"),
    ],
)
def test_foreign_content_is_refused_and_never_run(path: Path, content: bytes, why: str):
    path.write_bytes(content)
    is_refused(why)


def test_another_kernels_file_is_refused(path: Path):
    assert store.write(OTHER, PAYLOAD)
    shutil.copy(store.path_of(OTHER), path)
    path.chmod(0o600)
    is_refused("another kernel")


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_older_and_newer_formats_are_refused(path: Path, version: int):
    whole = bytearray(path.read_bytes())
    at = len(store.MAGIC)
    whole[at : at + 4] = version.to_bytes(4, "little")
    path.write_bytes(whole)
    is_refused("another format")


def test_appended_bytes_are_refused(path: Path):
    path.write_bytes(path.read_bytes() + b"x")
    is_refused("too long")


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o777])
def test_files_that_others_may_write_are_refused(path: Path, mode: int):
    path.chmod(mode)
    is_refused("others may write")


def test_another_owners_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    own, real = os.getuid(), os.fstat

    def foreign(handle: int) -> os.stat_result:
        found = list(real(handle))
        found[4] = own + 1
        return os.stat_result(found)

    monkeypatch.setattr(store.os, "fstat", foreign)
    with pytest.warns(CacheWarning, match="another user"):
        assert store.read(KEY) is None


def test_links_are_not_followed(path: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    is_refused("it is a link")
    assert elsewhere.read_bytes()  # what the link points to is left alone
    path.unlink()
    path.hardlink_to(elsewhere)
    is_refused("other names")


def test_pipes_and_folders_are_refused_at_once(path: Path):
    path.unlink()
    os.mkfifo(path, 0o600)
    begin = time.monotonic()
    is_refused("no plain file")
    assert time.monotonic() - begin < 5
    path.unlink()
    path.mkdir()
    is_refused()


def test_what_cannot_be_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.open

    def denied(place: Any, *rest: Any, **more: Any) -> int:
        if str(place) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(place, *rest, **more)

    monkeypatch.setattr(store.os, "open", denied)
    with pytest.warns(CacheWarning, match="Permission denied"):
        assert store.read(KEY) is None


# --- the directory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["root", "machine", "shard"])
@pytest.mark.parametrize("fault", ["writable", "link", "file"])
def test_in_a_hostile_directory_nothing_is_read_or_written(
    path: Path, tmp_path: Path, place: str, fault: str
):
    target = {"root": cache.directory(), "machine": store.directory(), "shard": path.parent}[place]
    if fault == "writable":
        target.chmod(0o777)
    else:
        moved = tmp_path / "moved"
        shutil.move(target, moved)
        target.symlink_to(moved) if fault == "link" else target.write_text("")
    assert store.read(KEY) is None
    assert not store.write(OTHER, PAYLOAD)
    assert not list(tmp_path.rglob(OTHER))


def test_turned_off_nothing_is_read_or_written(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADC_CACHE", "off")
    assert store.read(KEY) is None
    assert not store.write(OTHER, PAYLOAD)
    assert path.exists()


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["mkdir", "mkstemp", "fdopen", "fsync", "replace"])
@pytest.mark.parametrize(
    "error", [FULL, OSError(errno.EROFS, "Read-only file system")], ids=["full", "read-only"]
)
def test_a_write_that_fails_leaves_nothing(
    step: str, error: OSError, monkeypatch: pytest.MonkeyPatch, folder: Path
):
    def failing(*given: Any, **more: Any) -> Any:
        raise error

    owner = {"mkdir": Path, "mkstemp": store.tempfile}.get(step, store.os)
    monkeypatch.setattr(owner, step, failing)
    assert not store.write(KEY, PAYLOAD)
    monkeypatch.undo()
    os.environ["GRADC_CACHE_DIR"] = str(folder)
    assert not [place for place in folder.rglob("*") if place.is_file()]


def test_a_rename_that_is_not_seen_is_no_entry(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        store.os, "replace", lambda *given: None
    )  # another host's view of a network file system
    store.write(KEY, PAYLOAD)
    assert store.read(KEY) is None


def test_the_directory_may_vanish_at_any_time(path: Path):
    shutil.rmtree(store.directory())
    assert store.read(KEY) is None
    assert store.write(KEY, PAYLOAD)
    assert store.read(KEY) == PAYLOAD


# --- eviction -----------------------------------------------------------------------------------------------


def aged(key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(store.path_of(key), (then, then))


def test_the_least_recently_used_go_first(monkeypatch: pytest.MonkeyPatch):
    keys = [f"{number:02x}" + "2" * 62 for number in range(8)]
    size = len(PAYLOAD) + store.HEAD.size
    for number, key in enumerate(keys):
        store.write(key, PAYLOAD)
        aged(key, 2 * store.GRACE + 100 * (8 - number))
    store.read(keys[0])  # used again
    monkeypatch.setenv("GRADC_CACHE_LIMIT", str(4 * size))
    store.write(KEY, PAYLOAD)
    left = {entry.key for entry in store.entries()}
    assert left == {KEY, keys[0], keys[6], keys[7]}


def test_what_was_used_lately_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADC_CACHE_LIMIT", "1")
    keys = [f"{number:02x}" + "3" * 62 for number in range(4)]
    for key in keys:
        store.write(key, PAYLOAD)
    assert {entry.key for entry in store.entries()} == set(keys)


def test_clocks_that_were_set_back_and_equal_times_do_no_harm(monkeypatch: pytest.MonkeyPatch):
    keys = [f"{number:02x}" + "4" * 62 for number in range(6)]
    for key in keys:
        store.write(key, PAYLOAD)
        aged(key, -(10**6) if key < "03" else 2 * store.GRACE)
    monkeypatch.setenv("GRADC_CACHE_LIMIT", str(4 * (len(PAYLOAD) + store.HEAD.size)))
    store.write(KEY, PAYLOAD)
    left = {entry.key for entry in store.entries()}
    assert {KEY, *keys[:3]} <= left
    assert len(left) == 4


def test_forgotten_temporary_files_are_removed(path: Path):
    old = path.parent / ".new-forgotten"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    store.write(OTHER, PAYLOAD)
    assert not old.exists()


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.full)])
def test_many_entries(path: Path, count: int):
    content = path.read_bytes()
    for number in range(count):
        key = f"{number % 256:02x}{number:062x}"
        place = store.path_of(key)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        place.write_bytes(content)
    assert store.write(OTHER, PAYLOAD)
    assert store.read(OTHER) == PAYLOAD
    assert len(store._files()) == count + 2


# --- processes ----------------------------------------------------------------------------------------------


def _write_and_read(key: str) -> bool:
    return store.write(key, PAYLOAD) and store.read(key) == PAYLOAD


@pytest.mark.parametrize("same", [True, False], ids=["same key", "different keys"])
def test_sixteen_processes_at_once(same: bool):
    keys = [KEY if same else f"cd{number:062x}" for number in range(16)] * 8
    with get_context("fork").Pool(16) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(pool.map(_write_and_read, keys))
    assert {entry.fault for entry in store.entries()} == {""}


LOOP = """
import sys
sys.path[:] = {path!r}
from gradc_runtime import store
payload = store.packed({{"name": "kernel"}}, bytes(200_000))
print("ready", flush=True)
number = 0
while True:
    store.write(f"{{number % 7:02x}}" + "5" * 62, payload)
    number += 1
"""


def _killed(folder: Path) -> Iterator[float]:
    generator = random.Random(1)
    while True:
        environment = {**os.environ, "GRADC_CACHE_DIR": str(folder)}
        child = subprocess.Popen(
            [sys.executable, "-c", LOOP.format(path=sys.path)], env=environment, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        wait = generator.uniform(0, 0.05)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        yield wait


@pytest.mark.parametrize("count", [10, pytest.param(1000, marks=pytest.mark.full)])
def test_a_process_killed_while_it_writes_leaves_whole_entries(folder: Path, count: int):
    kills = _killed(folder)
    for _ in range(count):
        next(kills)
        assert {entry.fault for entry in store.entries()} <= {""}


@pytest.mark.parametrize("what", [store.clear, lambda: len(list(store.entries()))])
def test_verbs_on_an_empty_store(what: Callable[[], int]):
    assert what() == 0


def test_clear_deletes_entries_and_what_was_put_aside(path: Path, folder: Path):
    store.write(OTHER, PAYLOAD)
    path.write_bytes(b"")
    with pytest.warns(CacheWarning):
        store.read(KEY)
    assert store.clear() == 1
    assert not [place for place in folder.rglob("*") if place.is_file()]
