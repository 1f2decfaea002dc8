from __future__ import annotations

from pathlib import Path

from layerforge.lock import Lock, LockedPython, PlatformLock, Wanted
from layerforge.oci import Digest
from layerforge.progress import SILENCE
from layerforge.store import Store
from layerforge.workbench import LocalWorkbench

WHEEL = Digest.of(b"wheel")
COMPILED = {"usr/lib/a.py": b"bytecode" * 1000, "usr/lib/bad.py": None}


def open_bench(store: Store, version: str = "3.13.5") -> LocalWorkbench:
    python = LockedPython("3.13", version, "debian")
    section = PlatformLock("linux/amd64", "trixie", python, (), (), (), (), ())
    return LocalWorkbench(store, Lock(Wanted("3.13"), (section,)), section, Path(), SILENCE)


def test_bytecode_is_kept_for_one_version_of_the_interpreter(store: Store) -> None:
    with open_bench(store) as bench:
        assert bench.find_bytecode("3.13", WHEEL) == {}
        bench.keep_bytecode("3.13", WHEEL, COMPILED)
    with open_bench(store) as again, open_bench(store, "3.13.6") as newer:
        assert again.find_bytecode("3.13", WHEEL) == COMPILED
        assert again.find_bytecode("3.13", Digest.of(b"other")) == {}
        assert newer.find_bytecode("3.13", WHEEL) == {}


def test_bytecode_that_was_torn_is_compiled_again(store: Store) -> None:
    with open_bench(store) as bench:
        bench.keep_bytecode("3.13", WHEEL, COMPILED)
        (note,) = (path for path in (store.root / "notes").rglob("*") if path.is_file())
        whole = note.read_bytes()
        for torn in (b"", whole[: len(whole) // 2], b"\0" * len(whole)):
            note.write_bytes(torn)
            assert bench.find_bytecode("3.13", WHEEL) == {}
