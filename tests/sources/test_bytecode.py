"""Bytecode depends on path, source and interpreter alone: not on the process that makes it, nor on its history.

Every Python from 3.10 to 3.14 that this machine has is asked, each in processes of its own.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.sources.interpreters import bytecode_program, worker
from layerforge.sources.interpreters.worker import Program, Work, compile_chunks

Sources = list[tuple[str, bytes]]


def _find_pythons() -> dict[str, Program]:
    """By version, one for each minor: the one that runs the tests, and what else is on the path."""
    found: dict[str, Program] = {}
    question = "import sys; print(*sys.version_info[:3], sep='.'); print(sys.base_prefix); print(sys.executable)"
    for name in (sys.executable, *(f"python3.{minor}" for minor in range(10, 15))):
        path = shutil.which(name)
        if path is None:
            continue
        answer = subprocess.run([path, "-c", question], capture_output=True, text=True)  # a shim may have none below it
        if answer.returncode == 0:
            version, prefix, program = answer.stdout.split("\n")[:3]
            found.setdefault(version.rpartition(".")[0], Program((program,), Path(prefix)))
    return found


PYTHONS = _find_pythons()


@pytest.fixture(params=sorted(PYTHONS), ids=str)
def python(request: pytest.FixtureRequest) -> Program:
    program = PYTHONS[request.param]
    assert worker.runs(program)
    return program


# Equal constants, sets, slices and names, across functions and files: what processes disagreed about.
SETS = ", ".join(repr(f"name {number}") for number in range(300))
AWKWARD: Sources = [
    (
        f"a/{number}.py",
        f'''
"""The text."""
import os, sys
def first(x, *, key=1.5):
    if x in {{"engine", "min_count", None, 3, (1, "two"), b"x", {number}}}:
        return x[1:2], x[:, 0], x[-1:], "no name", 1_000_000, 1.5
    return x in {{{SETS}}}
def second(x, *, key=1.5):
    if x in {{"engine", "min_count", None, 3, (1, "two"), b"x", {number}}}:
        return x[1:2], x[:, 0], x[-1:], "no name", 1_000_000, 1.5, (x := 2.5j), ("a", ("b", 2.5)), f"{{x!r:>{{key}}}}"
    return lambda: (first, ..., "é", "\\udcff", "", b"", (), frozenset, -7, 2**70)
class Third:
    first = second = "no name {number}"
    fourth = "{{", "%", "{{", "\xa0", "", "no name {number}"
'''.encode(),
    )
    for number in range(12)
]


def _compile(program: Program, sources: Sources) -> dict[str, bytes | None]:
    work = Work([sources])
    compile_chunks(program, work)
    (compiled,) = work.compiled
    return {path: code for (path, _), code in zip(sources, compiled, strict=True)}


def _standard_library(count: int) -> Sources:
    """Modules of the library of the Python that runs the tests, the same in every run."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in library.glob("*/*.py") if "test" not in path.parts[-2])
    return [(str(path.relative_to(library)), path.read_bytes()) for path in random.Random(4).sample(paths, count)]


def test_bytes_are_the_same_whatever_the_process_did(python: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = AWKWARD + _standard_library(40)
    once = _compile(python, sources)
    assert all(once[path] is not None for path, _ in AWKWARD)
    assert _compile(python, random.Random(1).sample(sources, len(sources))) == once
    for path, source in (*AWKWARD[:2], sources[-1]):
        assert _compile(python, [(path, source)])[path] == once[path]
    environment = worker._environment
    for seed in ("1", "77"):
        monkeypatch.setattr(worker, "_environment", lambda p, seed=seed: environment(p) | {"PYTHONHASHSEED": seed})
        assert _compile(python, sources) == once


_BUSY = """
import sys, runpy, marshal
import argparse, asyncio, email.parser, http.client, logging, unittest, xml.dom.minidom
sys.path.insert(0, sys.argv[1])
import bytecode_program
kept = [sys.intern(chr(number)) for number in range(256)] + [sys.intern("")]
def keep(*arguments, compile=compile, **options):
    kept.append(compile(*arguments, **options))
    return compile(*arguments, **options)
bytecode_program.compile = keep
bytecode_program.main()
"""


def test_bytes_are_the_same_in_a_process_that_is_full_of_other_things(python: Program) -> None:
    sources = AWKWARD + _standard_library(20)
    folder = Path(bytecode_program.__file__).parent
    requests = b"".join(_frame(path, source) for path, source in reversed(sources))
    done = subprocess.run(
        [*python.command, "-s", "-B", "-c", _BUSY, str(folder)],
        input=requests,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": "5"},
        check=True,
    )
    answers = b"".join(_answer(code) for code in reversed(_compile(python, sources).values()))
    assert done.stdout == answers


def _frame(path: str, source: bytes) -> bytes:
    name = path.encode()
    return len(name).to_bytes(4, "little") + len(source).to_bytes(4, "little") + name + source


def _answer(code: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if code is None else len(code).to_bytes(4, "little") + code


_COMPARE = """
import importlib.util, marshal, sys
size = int(sys.stdin.buffer.readline())
source, code = sys.stdin.buffer.read(size), sys.stdin.buffer.read()
assert code[:4] == importlib.util.MAGIC_NUMBER and code[4:8] == bytes([1, 0, 0, 0]), code[:8]
assert code[8:16] == importlib.util.source_hash(source)
def flat(code):
    fields = "argcount posonlyargcount kwonlyargcount stacksize flags code names varnames freevars cellvars filename"
    fields += " name firstlineno linetable" + " qualname exceptiontable" * (sys.version_info >= (3, 11))
    consts = [flat(c) if isinstance(c, type(code)) else (type(c), c if c == c else 0) for c in code.co_consts]
    return [getattr(code, "co_" + field) for field in fields.split()] + consts
assert flat(marshal.loads(code[16:])) == flat(compile(source, sys.argv[1], "exec", dont_inherit=True))
"""


def test_it_is_the_compilers_code_and_has_the_sources_hash(python: Program) -> None:
    for path, source in (*AWKWARD[:1], *_standard_library(3)):
        code = _compile(python, [(path, source)])[path]
        assert code is not None
        told = b"%d\n" % len(source) + source + code
        subprocess.run([*python.command, "-c", _COMPARE, f"/{path}"], input=told, check=True)


def test_what_does_not_compile_has_none(python: Program) -> None:
    sources = [("a.py", b"("), ("b.py", b"\0"), ("c.py", b"# coding: nonsense\n"), ("d.py", b"x = 1\n")]
    assert [code is not None for code in _compile(python, sources).values()] == [False, False, False, True]


# -- any source ------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "name", "no name", "", "é", "a" * 300, "engine"])
ATOMS = st.one_of(
    NAMES,
    NAMES.map(str.encode),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([None, True, False, ..., 2j]),
)
CONSTANTS = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
SETS_OF = st.lists(CONSTANTS, min_size=1, max_size=6).map(lambda items: "{" + ", ".join(map(repr, items)) + "}")
LINES = st.one_of(
    CONSTANTS.map(lambda value: f"y = {value!r}"),
    SETS_OF.map(lambda text: f"y = x in {text}"),
    st.tuples(ATOMS, ATOMS, ATOMS).map(lambda ends: f"y = x[{ends[0]!r}:{ends[1]!r}:{ends[2]!r}]"),
    st.tuples(NAMES.filter(str.isidentifier), CONSTANTS).map(lambda pair: f"def {pair[0]}(z={pair[1]!r}): return z"),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=12))
def test_any_code_is_the_compilers_and_always_the_same(lines: list[str]) -> None:
    source = "\n".join([*lines, "def again():", *(f"    {line}" for line in lines)]).encode()
    first = bytecode_program.build("a.py", source)
    code = compile(source, "/a.py", "exec", dont_inherit=True, optimize=0)
    assert first is not None
    assert first[:4] == importlib.util.MAGIC_NUMBER
    assert marshal.loads(first[16:]) == code
    kept = (code, marshal.loads(first[16:]), marshal.loads(marshal.dumps(code)))
    assert bytecode_program.build("a.py", source) == first
    assert all(bytecode_program.encode(each, first[8:16]) == first[16:] for each in kept)
