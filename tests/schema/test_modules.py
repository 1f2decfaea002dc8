"""Names followed through files: imports, aliases, inheritance, rebinding."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from layerforge.errors import SchemaError
from layerforge.schema import derive_schema, generate_schema

MODEL = "from cog import BaseModel\nclass Output(BaseModel):\n    value: int\n"
VALUE = {"type": "object", "properties": {"value": {"type": "integer", "title": "Value"}}, "required": ["value"]}


def schemas(files: dict[str, str], file: str = "run.py", name: str = "Runner") -> Any:
    data = {path: textwrap.dedent(text).encode() for path, text in files.items()}
    return generate_schema(data.get, file, name)["components"]["schemas"]


def inputs(files: dict[str, str], file: str = "run.py", name: str = "Runner") -> Any:
    return schemas(files, file, name)["Input"]["properties"]


def runner(signature: str, head: str = "") -> str:
    return f"from cog import *\n{textwrap.dedent(head)}\nclass Runner:\n    def run({signature}: ...\n"


@pytest.mark.parametrize(
    ("head", "files"),
    [
        ("from models import Output", {"models.py": MODEL}),
        ("from models import Output as Result\nOutput = Result", {"models.py": MODEL}),
        ("from models import *", {"models.py": MODEL}),
        (
            "from pkg import Output",
            {"pkg/__init__.py": "from .deep.models import Output\n", "pkg/deep/models.py": MODEL},
        ),
        ("import pkg.models\nOutput = pkg.models.Output", {"pkg/models.py": MODEL}),
        ("import pkg.models as m\nOutput = m.Output", {"pkg/models.py": MODEL}),
        ("from pkg import models\nOutput = models.Output", {"pkg/models.py": MODEL}),
        ("from pkg import models\nOutput = models.Output", {"pkg/__init__.py": "", "pkg/models.py": MODEL}),
        ("from models import Output", {"models.pyi": MODEL}),
        ("try:\n    from models import Output\nexcept ImportError:\n    Output = dict", {"models.py": MODEL}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models import Output", {"models.py": MODEL}),
        (
            "from a import Output",
            {"a.py": "from b import *\n", "b.py": "from models import Output\n", "models.py": MODEL},
        ),
    ],
)
def test_types_come_from_other_files(head: str, files: dict[str, str]) -> None:
    found = schemas({"run.py": runner("self) -> Output", head), **files})
    assert found["Output"] == {**VALUE, "title": "Output"}


def test_relative_imports_start_at_the_file() -> None:
    files = {
        "src/app/run.py": runner("self) -> Output", "from ..models import Output"),
        "src/models.py": MODEL,
        "models.py": MODEL.replace("value", "other"),
    }
    assert schemas(files, "src/app/run.py")["Output"]["required"] == ["value"]


def test_inherited_run_is_read_in_its_own_file() -> None:
    base = "from cog import Path as P\nSIZE = 3\nclass Base:\n    def run(self, image: P, size: int = SIZE) -> P: ...\n"
    found = inputs({"run.py": "from base import Base\nclass Runner(Base): pass\n", "base.py": base})
    assert found["image"]["format"] == "uri"
    assert found["size"]["default"] == 3


def test_target_may_be_re_exported_or_an_alias() -> None:
    source = "from cog import BasePredictor\nclass Real(BasePredictor):\n    def predict(self, a: str) -> str: ...\n"
    assert "a" in inputs({"run.py": "from impl import Real as Runner\n", "impl.py": source})
    assert "a" in inputs({"run.py": source + "Runner = Real\n"})
    assert "a" in inputs({"run.py": "def go(a: str) -> str: ...\n"}, name="go")


def test_run_is_preferred_to_predict_even_inherited() -> None:
    source = (
        "class A:\n    def run(self, a: str) -> str: ...\nclass Runner(A):\n    def predict(self, b: str) -> str: ...\n"
    )
    assert list(inputs({"run.py": source})) == ["a"]


def test_method_bound_by_assignment() -> None:
    source = "class Runner:\n    def _go(self, a: str) -> str: ...\n    run = _go\n"
    assert list(inputs({"run.py": source})) == ["a"]


def test_last_definition_counts() -> None:
    source = (
        "class Runner:\n    def run(self, a: str) -> str: ...\nclass Runner:\n    def run(self, b: str) -> str: ...\n"
    )
    assert list(inputs({"run.py": source})) == ["b"]


def test_two_kinds_of_path_and_builtins_shadowed() -> None:
    head = "from pathlib import Path as Local\nfrom cog import Path as CogPath\nimport cog"
    found = inputs({"run.py": runner("self, a: CogPath, b: Local, c: cog.Path) -> cog.Path", head)})
    assert {name: schema.get("format") for name, schema in found.items()} == {"a": "uri", "b": "uri", "c": "uri"}


def test_future_annotations_change_nothing() -> None:
    plain = runner("self, a: 'int | None' = None, b: list[str] = Input(default=['x'])) -> Path")
    assert schemas({"run.py": plain}) == schemas({"run.py": "from __future__ import annotations\n" + plain})


def test_cyclic_imports_and_aliases_end() -> None:
    files = {"run.py": runner("self) -> Output", "from a import Output"), "a.py": "from b import Output\n"}
    with pytest.raises(SchemaError, match="not defined"):
        schemas({**files, "b.py": "from a import Output\n"})
    with pytest.raises(SchemaError, match="nested too deeply or defined by itself"):
        schemas({"run.py": runner("self) -> A", "A = list['B']\nB = list['A']")})


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("import torch\nX = [1]\nX.append(torch.f())", "`torch.f` is not run here"),
        ("import torch\nif torch.f():\n    X = [1]\nelse:\n    X = [2]", "depends on the condition on line 3"),
        ("X = []\nwhile True:\n    X.append(1)", "changes on line 3"),
        ("X = [1]\nfor i in range(30):\n    X.extend(X)", "OverflowError"),
        ("X = 0\nfor i in range(9999):\n    for j in range(9999):\n        X += 1", "too many steps"),
        ("def f(n):\n    return f(n)\nX = f(1)", "too deeply"),
        ("def f():\n    yield 1\nX = f()", "generators"),
        ("class A:\n    def __init__(self): self.x = 1\nX = A().x", "__init__ is not run here"),
        ("import os\nX = os.environ['HOME']", "does not set HOME"),
        ("try:\n    import q\n    X = [1]\nexcept ImportError:\n    X = [2]", "depends on the condition on line 2"),
        ("X, Y = make()", "comes from unpacking on line 2"),
        ("from torch import X", "`torch.X` is not part of the project"),
        ("X = open('f').read()", "the project has no file f"),
        ("X = open('/etc/passwd').read()", "/etc/passwd is not a file of the project"),
        ("X = open('../secret').read()", "not a file of the project"),
        ("X = open('f', 'w')", "files are not written here"),
        ("import yaml\nX = yaml.safe_load('[')", "ValueError"),
        ("X = X", "defined by itself"),
        ("X = [0] * 10**9", "OverflowError"),
        ("X = 9**9**9", "OverflowError"),
        ("X = f'{1:>999999999}'", "OverflowError"),
        ("X = [[i for i in range(9999)] for j in range(9999)]", "too many"),
        ("X = [1, lambda: 2]", "a function has no JSON form"),
    ],
)
def test_values_that_cannot_be_known_are_errors(head: str, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schemas({"run.py": runner("self, a: int = Input(choices=X)) -> str", head)})
    assert reason in caught.value.message
    assert caught.value.where.startswith("run.py:")
    assert caught.value.hint


def test_main_guard_does_not_count() -> None:
    head = "X = [1]\nif __name__ == '__main__':\n    X = [2]"
    assert schemas({"run.py": runner("self, a: int = Input(choices=X)) -> str", head)})["a"]["enum"] == [1]


@pytest.mark.parametrize(
    "head",
    [
        "import sys\nsys.path.append('lib')",
        "import sys\nsys.path.insert(0, './lib/')",
        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))",
        "import sys\nfrom pathlib import Path\nLIB = Path(__file__).parent / 'lib'\nsys.path.append(str(LIB))",
    ],
)
def test_folders_put_on_the_path(head: str) -> None:
    found = schemas({"run.py": runner("self) -> Output", f"{head}\nfrom models import Output"), "lib/models.py": MODEL})
    assert found["Output"]["required"] == ["value"]


def test_pythonpath_of_cog_yaml() -> None:
    files = {"run.py": runner("self) -> Output", "from models import Output"), "lib/models.py": MODEL}
    data = {path: text.encode() for path, text in files.items()}
    derived = derive_schema(data.get, run=("run.py", "Runner"), environment={"PYTHONPATH": "/src/lib:/opt"})
    assert derived.document["components"]["schemas"]["Output"]["required"] == ["value"]


CONDITIONAL = """
    from flags import FAST
    class Runner:
        if FAST:
            def run(self, a: str) -> str: ...
        else:
            def run(self, b: str) -> str: ...
        removed = {}
        if not FAST:
            removed["b"] = None
        if removed:
            run = remove(run, removed)
"""


def test_conditions_in_a_class_body() -> None:
    assert list(inputs({"run.py": CONDITIONAL, "flags.py": "FAST = True\n"})) == ["a"]
    with pytest.raises(SchemaError, match="signature of method is changed"):
        inputs({"run.py": CONDITIONAL, "flags.py": "FAST = False\n"})
    with pytest.raises(SchemaError, match="what run is depends on the condition on line 4"):
        inputs({"run.py": CONDITIONAL, "flags.py": "import torch\nFAST = torch.cuda.is_available()\n"})
    classes = (
        "import torch\nif torch.f():\n    class Runner: ...\nelse:\n    class Runner:\n        def run(self): ...\n"
    )
    with pytest.raises(SchemaError, match="what Runner is depends on the condition on line 2"):
        inputs({"run.py": classes})


def test_nested_classes_and_values_of_the_class() -> None:
    source = """
        from cog import BaseModel, Input
        class Runner:
            SIZES = [1, 2]
            class Output(BaseModel):
                value: int
            def run(self, a: int = Input(choices=SIZES, default=SIZES[0])) -> Output: ...
    """
    found = schemas({"run.py": source})
    assert found["a"]["enum"] == [1, 2]
    assert found["Output"] == {**VALUE, "title": "Output"}
