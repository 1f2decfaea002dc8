"""Constants that more than one expression makes: loops, helper functions, objects, data files, the environment."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from layerforge.errors import SchemaError
from layerforge.schema import derive_schema


def value(head: str, expression: str = "X", **files: str) -> Any:
    """What ``expression`` is worth as a default, after ``head``."""
    source = f"from cog import *\n{textwrap.dedent(head)}\nclass Runner:\n    def run(self, a: Any = {expression})"
    data = {"run.py": ("from typing import *\n" + source + " -> str: ...\n").encode()}
    data |= {name.replace("__", "/").replace("_py", ".py").replace("_json", ".json").replace("_yaml", ".yaml")
             .replace("_txt", ".txt"): text.encode() for name, text in files.items()}  # fmt: skip
    document = derive_schema(data.get, run=("run.py", "Runner"), environment={"SIZE": "7"}).document
    return document["components"]["schemas"]["Input"]["properties"]["a"]["default"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("X = [1]\nX.append(2)\nX.extend([3])\nX += [4]", [1, 2, 3, 4]),
        ("X = {}\nX['a'] = 1\nX.update(b=2)\ndel X['a']", {"b": 2}),
        ("X = []\nfor i in range(3):\n    if i == 1:\n        continue\n    X.append(i)", [0, 2]),
        ("D = {'a': 1, 'b': 2}\nX = []\nfor k, v in D.items():\n    if v > 1:\n        X.append(k)", ["b"]),
        ("X = []\nfor a in 'ab':\n    for b in (1, 2):\n        X.append(f'{a}{b}')\n        break", ["a1", "b1"]),
        ("FAST = False\nif FAST:\n    X = 1\nelse:\n    X = 2", 2),
        ("X, (Y, Z) = 1, (2, 3)\nX = X + Z", 4),
        ("X = 1\nX *= 5", 5),
        ("X = [1]\nif 1 + 1 == 2:\n    X.append(2)\n    X += [3]", [1, 2, 3]),
        ("X = {}\ntry:\n    X['a'] = 1\nfinally:\n    X['b'] = 2", {"a": 1, "b": 2}),
        ("def f(n, *rest, k=2, **kw):\n    'Doc.'\n    total = n + k + len(rest) + len(kw)\n    return total\n"
         "X = f(1, 5, 5, z=0)", 6),
        ("def f(n):\n    if n > 3:\n        return 'big'\n    return 'small'\nX = [f(n) for n in (1, 9)]",
         ["small", "big"]),
        ("def f(items):\n    found = []\n    for item in items:\n        found.append(item.upper())\n    return found\n"
         "NAMES = ['a']\nX = f(NAMES) + NAMES", ["A", "a"]),
        ("f = lambda a, b=2: a * b\nX = f(4)", 8),
        ("from functools import partial\ndef f(a, b): return a - b\nX = partial(f, b=1)(3)", 2),
        ("X = sorted(['bb', 'a'], key=len) + list(map(str, (1, 2))) + list(filter(None, ['', 'c']))",
         ["a", "bb", "1", "2", "c"]),
        ("X = sorted({3, 1} | {2} - {1})", [1, 2, 3]),
        ("class A:\n    N = 2\n    L = [N, N * 2]\n    class B:\n        M = 3\nX = A.L + [A.B.M]", [2, 4, 3]),
        ("from dataclasses import dataclass, field\n@dataclass\nclass A:\n    n: int = 1\n"
         "    l: list = field(default_factory=lambda: [1])\na = A(n=5)\nX = [a.n, a.l, A.n]", [5, [1], 1]),
        ("class A:\n    def name(self): return self.k + '!'\n    k = 'a'\nX = A().name()", "a!"),
        ("from types import SimpleNamespace\nS = SimpleNamespace(a=1)\nX = S.a", 1),
        ("from enum import Enum, IntEnum, auto\nclass E(Enum):\n    A = auto()\n    B = auto()\n"
         "X = [e.value for e in E] + [E['A'].value, E(2).name]", [1, 2, 1, "B"]),
        ("from enum import StrEnum, auto\nclass E(StrEnum):\n    ONE = auto()\nX = list(E.__members__)", ["ONE"]),
        ("from typing import Literal, get_args\nL = Literal['a', 'b']\nX = list(get_args(L))", ["a", "b"]),
        ("import os\nX = int(os.environ['SIZE']) + len(os.environ.get('SIZE', ''))", 8),
        ("import numpy as np, sys\nX = [np.iinfo(np.int32).max, sys.maxsize]", [2147483647, 9223372036854775807]),
        ("X = (n := 4) + n", 8),
        ("import itertools\nX = [f'{a}{b}' for a, b in itertools.product('ab', (1,))]", ["a1", "b1"]),
        ("A = {'x': 1}\nX = {**A, 'y': [*A, *range(2)]}", {"x": 1, "y": ["x", 0, 1]}),
        ("class P:\n    pass\nX = {'a': P, 'b': P()}.keys()", ["a", "b"]),
    ],
)  # fmt: skip
def test_statements(head: str, expected: Any) -> None:
    assert value(head) == expected


def test_a_value_is_that_of_its_line() -> None:
    source = (
        "X = ['a']\nY = X + ['y']\nclass Runner:\n    def run(self, a: list = X, b: list = Y) -> str: ...\nX = ['b']\n"
    )
    document = derive_schema({"run.py": source.encode()}.get, run=("run.py", "Runner")).document
    found = document["components"]["schemas"]["Input"]["properties"]
    assert (found["a"]["default"], found["b"]["default"]) == (["a"], ["a", "y"])


def test_changes_of_one_name_leave_others_alone() -> None:
    assert value("A = [1]\nB = [A, 2]\nX = A + [0]\nX.append(3)\nY = A", "[X, Y, B]") == [[1, 0, 3], [1], [[1], 2]]


@pytest.mark.parametrize(
    "head",
    [
        "import json\nX = json.load(open('data.json'))['names']",
        "import json\nwith open('data.json') as f:\n    X = json.load(f)['names']",
        "import json, os\nX = json.loads(open(os.path.join(os.path.dirname(__file__), 'data.json')).read())['names']",
        "import json\nfrom pathlib import Path\nD = Path(__file__).parent\n"
        "X = json.loads((D / 'data.json').read_text())"
        "['names']",
        "import json, pathlib\nP = pathlib.Path('/src') / 'data.json'\nX = json.loads(P.read_text())['names']",
        "import yaml\nX = yaml.safe_load(open('data.yaml'))['names']",
        "X = open('names.txt').read().splitlines()",
        "X = [line.strip() for line in open('names.txt') if line.strip()]",
        "with open('names.txt', encoding='utf-8') as f:\n    X = [line.rstrip() for line in f.readlines()]",
        "def load(path):\n    with open(path) as f:\n        return f.read().split()\nX = load('names.txt')",
        "from config import NAMES\nX = NAMES",
    ],
)
def test_data_files(head: str) -> None:
    files = {"data_json": '{"names": ["a", "b"]}', "data_yaml": "names: [a, b]", "names_txt": "a\nb\n",
             "config_py": "import json\nNAMES = json.load(open('data.json'))['names']"}  # fmt: skip
    assert value(head, **files) == ["a", "b"]


def test_a_large_data_file_is_not_read() -> None:
    with pytest.raises(SchemaError, match="300,000 bytes"):
        value("X = open('names.txt').read()", names_txt="a" * 300_000)


def test_inputs_made_by_helpers() -> None:
    source = """
        from functools import partial
        from cog import Input
        from shared import COMMON, sized, Inputs
        class Runner:
            STYLES = ["x", "y"]
            def run(
                self,
                a: int = sized(512, high=1024),
                b: str = Inputs.prompt,
                c: int = COMMON["steps"],
                d: str = Input(choices=STYLES, default=STYLES[0]),
                e: int = partial(sized, high=8)(4),
            ) -> str: ...
    """
    shared = """
        from cog import Input as Field
        class Inputs:
            prompt: str = Field(description="p", default="x")
        COMMON = dict(steps=Field(default=4, ge=1, le=50))
        def sized(default, *, high=256):
            bounds = {"ge": 1}
            if high > 500:
                bounds["le"] = high
            return Field(default=default, description=f"up to {high}", **bounds)
    """
    data = {"run.py": textwrap.dedent(source).encode(), "shared.py": textwrap.dedent(shared).encode()}
    schemas = derive_schema(data.get, run=("run.py", "Runner")).document["components"]["schemas"]
    found = schemas["Input"]["properties"]
    assert (found["a"]["default"], found["a"]["maximum"], found["a"]["description"]) == (512, 1024, "up to 1024")
    assert (found["b"]["default"], found["b"]["description"]) == ("x", "p")
    assert (found["c"]["minimum"], found["c"]["maximum"]) == (1, 50)
    assert schemas["d"]["enum"] == ["x", "y"]
    assert (found["e"]["default"], "maximum" in found["e"]) == (4, False)


def test_the_environment_is_taken_as_unset_with_a_warning() -> None:
    source = b"import os\nN = os.getenv('STEPS', '4')\nclass Runner:\n    def run(self, a: str = N) -> str: ...\n"
    derived = derive_schema({"run.py": source}.get, run=("run.py", "Runner"))
    assert derived.document["components"]["schemas"]["Input"]["properties"]["a"]["default"] == "4"
    [warning] = derived.warnings
    assert str(warning).startswith("run.py:2: the schema takes STEPS to be unset")
    assert "environment:" in warning.hint


def test_a_default_of_another_type_is_converted_as_cog_does_it() -> None:
    source = b"class Runner:\n    def run(self, a: float = '7', b: bool = 1, c: int = 2.0) -> str: ...\n"
    derived = derive_schema({"run.py": source}.get, run=("run.py", "Runner"))
    found = derived.document["components"]["schemas"]["Input"]["properties"]
    assert [found[name]["default"] for name in "abc"] == [7, True, 2]
    assert type(found["b"]["default"]) is bool
    assert "'7' is taken as 7.0" in str(derived.warnings[0])
