"""Schemas that cannot be: where the error points, and what it says to do."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV30SpecValidator
from syrupy.assertion import SnapshotAssertion

from layerforge.errors import SchemaError
from layerforge.oci import encode
from layerforge.schema import generate_schema


def fault(source: bytes | str, file: str = "run.py") -> SchemaError:
    data = source if isinstance(source, bytes) else source.encode()
    with pytest.raises(SchemaError) as caught:
        generate_schema({"run.py": data}.get, file, "Runner")
    return caught.value


def runner(signature: str, head: str = "") -> str:
    return f"from typing import *\nfrom cog import *\n{head}\nclass Runner:\n    def run({signature}:\n        ...\n"


FAULTS = {
    "no_such_class": "class Runer: pass\n",
    "no_classes": "",
    "no_method": "class Runner:\n    def rum(self): ...\n",
    "method_in_foreign_base": "from lib import Base\nclass Runner(Base): ...\n",
    "foreign_class": "from lib import Runner\n",
    "made_by_a_call": "Runner = make()\n",
    "a_value": "Runner = 3\n",
    "syntax": "class Runner\n    pass\n",
    "indentation": "class Runner:\n  def run(self) -> str:\n\treturn 1\n",
    "unclosed": "class Runner:\n    def run(self, a: str = Input(choices=['a'\n",
    "rewritten_signature": runner("self) -> str") + "    run.__signature__ = x\n",
    "wrapped": runner("self) -> str") + "    run = wrap(run)\n",
    "no_annotation": runner("self, a=1) -> str"),
    "no_return": runner("self, a: str)"),
    "returns_none": runner("self) -> None"),
    "optional_output": runner("self) -> Optional[str]"),
    "union_output": runner("self) -> str | int"),
    "undefined_type": runner("self, a: Pth) -> str"),
    "foreign_type": runner("self) -> Tensor", "from torch import Tensor"),
    "plain_class": runner("self) -> Result", "class Result: ..."),
    "class_input": runner("self, a: M) -> str", "class M(BaseModel): ..."),
    "enum_input": runner("self, a: E) -> str", "from enum import Enum\nclass E(Enum):\n  A = 1"),
    "path_in_union": runner("self, a: Path | str) -> str"),
    "nested_list": runner("self, a: list[list[str]]) -> str"),
    "mixed_literal": runner("self, a: Literal['a', 1]) -> str"),
    "tuple_input": runner("self, a: Tuple[int, int]) -> str"),
    "broken_string_type": runner("self, a: 'list[') -> str"),
    "variadic": runner("self, *a: str) -> str"),
    "unknown_argument": runner("self, a: str = Input(descripton='x')) -> str"),
    "default_factory": runner("self, a: list = Input(default_factory=list)) -> str"),
    "default_outside_choices": runner("self, a: str = Input(default='c', choices=['a', 'b'])) -> str"),
    "mixed_choices": runner("self, a: str = Input(choices=['a', 1])) -> str"),
    "empty_choices": runner("self, a: str = Input(choices=[])) -> str"),
    "bound_on_text": runner("self, a: str = Input(ge=1)) -> str"),
    "length_on_number": runner("self, a: int = Input(max_length=1)) -> str"),
    "default_below": runner("self, a: int = Input(default=0, ge=1)) -> str"),
    "default_not_matching": runner("self, a: str = Input(default='b', regex='^a$')) -> str"),
    "huge_bound": runner("self, a: int = Input(le=10**400)) -> str"),
    "broken_regex": runner("self, a: str = Input(regex='[')) -> str"),
    "half_a_character": runner("self, a: str = Input(description='\\ud800')) -> str"),
    "default_of_no_variant": runner("self, a: int | str = []) -> str"),
    "infinite_length": runner("self, a: str = Input(max_length=float('inf'))) -> str"),
    "infinite_bound": runner("self, a: float = Input(le=float('-inf'))) -> str"),
    "text_for_number": runner("self, a: int = 'three') -> str"),
    "accept_on_text": runner("self, a: str = Input(accept='image/*')) -> str"),
    "unknown_default": runner("self, a: str = Input(default=os.getpid())) -> str", "import os"),
    "enum_member": runner("self, a: str = E.A) -> str", "from enum import Enum\nclass E(Enum):\n  A = 'a'"),
    "api_of_2021": "import cog\nclass Runner:\n    @cog.input('a', type=str)\n    def predict(self, a): ...\n",
    "streaming_text": "import cog\nclass Runner:\n    @cog.streaming\n    def run(self) -> str: ...\n",
    "concurrent_sync": "import cog\nclass Runner:\n    @cog.concurrent(max=2)\n    def run(self) -> str: ...\n",
}


def test_missing_file() -> None:
    error = fault("x = 1\n", "ruin.py")
    assert "does not exist" in error.message


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str, snapshot: SnapshotAssertion) -> None:
    error = fault(FAULTS[name])
    assert f"{error}\nhint: {error.hint}" == snapshot


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",
        b"# -*- coding: klingon -*-\n",
        b"x = '\xe9'\n",
        b"a = 1\0\n",
        b"(" * 100_000,
        b"x = " + b"-" * 100_000 + b"1\n",
        b"x = " + b"1+" * 50_000 + b"1\n",
        b"\n" * 3_000_000,
        b"x = 1\n" * 900_000,
        b"x = f'" + b"{" * 500 + b"}" * 500 + b"'\n",
        b"\t  if x:\n\ty\n",
        "x = 'é'\n".encode("utf-16"),
        b"class Runner(" * 50,
    ],
)
def test_no_file_breaks_the_reader(data: bytes) -> None:
    started = time.process_time()
    assert fault(data).where.startswith("run.py")
    assert time.process_time() - started < 2


def test_other_encodings_are_read_as_declared() -> None:
    source = "# coding: latin-1\nclass Runner:\n    def run(self, a: str = 'é') -> str: ...\n"
    for data in (source.encode("latin-1"), b"\xef\xbb\xbf" + source.replace("latin-1", "utf-8").encode()):
        found = generate_schema({"run.py": data}.get, "run.py", "Runner")
        assert found["components"]["schemas"]["Input"]["properties"]["a"]["default"] == "é"


def test_long_chains_of_constants_end() -> None:
    head = "A0 = [1]\n" + "".join(f"A{n} = A{n - 1} + A{n - 1}\n" for n in range(1, 60))
    error = fault(runner("self, a: int = Input(choices=A59)) -> str", head))
    assert "OverflowError" in error.message
    head = "A0 = 1\n" + "".join(f"A{n} = A{n - 1} + 1\n" for n in range(1, 5000))
    error = fault(runner("self, a: int = A4999) -> str", head))
    assert "too many steps" in error.message


_FRAGMENTS = st.sampled_from(
    [
        *("class Runner:", "\n", "    ", "def run(self", ", a: ", "str", "int", "list[", "]", " = ", "Input("),
        *(
            "default=",
            "choices=",
            "ge=",
            "1",
            "'x'",
            "[",
            ")",
            ") -> ",
            ": ...",
            "from cog import *",
            "import os",
            "Optional[",
        ),
        *("|", "None", "lambda: 0", "{", "}", "**", "*", "f'{a}'", "@", "X", ".", "Literal[", "'list['"),
    ]
)


_TYPES = ["str", "int", "float", "bool", "Path", "Secret", "list", "List[int]", "Optional[str]", "dict", "Any", "T",
          "int | str | None", "Literal['a', 'b']", "Optional[List[Path]]", "Annotated[T, Opaque]"]  # fmt: skip
_ARGUMENTS = [
    "default",
    "description",
    "ge",
    "le",
    "min_length",
    "max_length",
    "regex",
    "choices",
    "deprecated",
    "accept",
]
_VALUES = ["None", "0", "1", "-1", "2.5", "True", "'a'", "'b'", "''", "[]", "['a', 'b']", "[1, 2]", "(1, 'a')", "{}",
           "{'a': [None]}", "float('inf')", "float('-inf')", "float('nan')", "10**400", "-10**30", "1e308", "E.A", "E",
           "list(E)", "{'a', 'b'}", "{'x': E}.keys()", "b'x'", "1j", "'(a+)+$'", "'['", "'\\ud800'", "lambda: 1",
           "Path('x')", "range(3)", "[[1]]", "print", "Input(default=1)", "...", "'x' * 99999"]  # fmt: skip


class TestProperties:
    @given(st.text())
    @settings(deadline=None)
    def test_any_text(self, text: str) -> None:
        self._check(text.encode("utf-8", "surrogatepass"))

    @given(st.lists(_FRAGMENTS, max_size=30))
    @settings(deadline=None)
    def test_any_fragments(self, fragments: list[str]) -> None:
        self._check("".join(fragments).encode())

    @given(st.lists(_FRAGMENTS, max_size=12))
    @settings(max_examples=200, deadline=None)
    def test_any_parameters(self, fragments: list[str]) -> None:
        self._check(runner(f"self, a: {''.join(fragments)}) -> str").encode())

    @given(st.lists(_FRAGMENTS, max_size=12))
    @settings(max_examples=200, deadline=None)
    def test_any_default(self, fragments: list[str]) -> None:
        self._check(runner(f"self, a: str = {''.join(fragments)}) -> str").encode())

    @given(st.sampled_from(_TYPES), st.dictionaries(st.sampled_from(_ARGUMENTS), st.sampled_from(_VALUES), max_size=4))
    @settings(max_examples=150, deadline=None)
    def test_any_arguments(self, kind: str, arguments: dict[str, str]) -> None:
        given_arguments = ", ".join(f"{name}={value}" for name, value in arguments.items())
        head = "from enum import Enum\nclass E(str, Enum):\n    A = 'a'\nclass T(TypedDict):\n    a: int"
        self._check(runner(f"self, a: {kind} = Input({given_arguments})) -> str", head).encode())

    @staticmethod
    def _check(data: bytes) -> None:
        try:
            found = generate_schema({"run.py": data}.get, "run.py", "Runner")
        except SchemaError as error:
            assert error.message
            return
        problems = [error.message for error in OpenAPIV30SpecValidator(json.loads(encode(found))).iter_errors()]
        # Cog describes Any as an object, whatever its default.
        assert not [problem for problem in problems if not problem.endswith("is not of type 'object'")]


CYCLES = {
    "imports": {
        "run.py": "from a import *\nfrom b import Runner\n",
        "a.py": "from b import *\n",
        "b.py": "from a import *\n",
    },
    "bases": {"run.py": "class A(B): ...\nclass B(A): ...\nclass Runner(A): ...\n"},
    "aliases": {"run.py": "Runner = A\nA = B\nB = Runner\n"},
    "types": {"run.py": runner("self) -> A", "class A(BaseModel):\n    b: 'B'\nclass B(BaseModel):\n    a: list[A]")},
    "values": {"run.py": runner("self, a: int = A) -> str", "A = B + 1\nB = [A][0]")},
    "functions": {"run.py": runner("self, a: int = f(1)) -> str", "def f(n): return g(n)\ndef g(n): return f(n)")},
    "path": {"run.py": "import sys\nsys.path.append(sys.path[0])\nfrom missing import Runner\n"},
    "package": {
        "run.py": "from pkg import Runner\n",
        "pkg/__init__.py": "from pkg import Runner\nfrom .pkg import *\n",
    },
}


@pytest.mark.parametrize("name", CYCLES)
def test_what_goes_in_circles_ends(name: str) -> None:
    started = time.process_time()
    files = {path: text.encode() for path, text in CYCLES[name].items()}
    if name == "types":
        assert generate_schema(files.get, "run.py", "Runner")
    else:
        with pytest.raises(SchemaError) as caught:
            generate_schema(files.get, "run.py", "Runner")
        assert caught.value.hint
    assert time.process_time() - started < 2


SLOW = [
    "X = [i for i in range(9999) for j in range(9999)]",
    "X = ''\nfor i in range(9999):\n    X = X + 'abcdefghij' * 9\n    Y = X.upper().replace('A', 'b').split('C')",
    "X = list(range(9999))\nfor i in range(9999):\n    sorted(X, key=lambda n: -n)\n    X = [n + 1 for n in X]",
    "X = {str(i): str(i) * 50 for i in range(9999)}\nfor k in X:\n    X = {**X, k: ''}",
    "X = 'a' * 99999\nfor i in range(9999):\n    Y = [X in X, X.count('a'), X.find('b'), f'{X}'[:5]]",
    "X = 3\nfor i in range(9999):\n    X = X * X % (10 ** 1000)",
    "import itertools\nX = len(list(itertools.product(*[range(9)] * 9)))",
    "import re\nX = re.match('(a+)+$', 'a' * 40 + 'b')",
    "def f(n):\n    return f(n - 1) + f(n - 1) if n else 1\nX = f(18)",
    "import json\nX = json.loads('[' * 9999 + ']' * 9999)",
    "import yaml\nX = yaml.safe_load('a: &a [1,1]\\nb: &b [*a,*a,*a,*a,*a]\\nc: [*b,*b,*b,*b,*b]\\n')\nX = [X] * 9999",
]


@pytest.mark.parametrize("head", SLOW)
def test_nothing_takes_long(head: str) -> None:
    started = time.process_time()
    with pytest.raises(SchemaError):
        generate_schema({"run.py": runner("self, a: Any = X) -> str", head).encode()}.get, "run.py", "Runner")
    assert time.process_time() - started < 2
