"""The signature of an imported model, written as source, gives the document that its own source gives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from layerforge.errors import SchemaError
from layerforge.execution import BEGIN, END
from layerforge.schema import generate_schema
from tests.runtime.harness import RUNTIME

MODEL = """
    import dataclasses, enum
    from typing import *
    from cog import BaseModel, BaseRunner, ConcatenateIterator, File, Input, Opaque, Path, Secret, concurrent, streaming

    class Colour(str, enum.Enum):
        RED = "red"
        BLUE = "blue"

    class Inner(TypedDict, total=False):
        a: Required[int]
        b: List[str]

    @dataclasses.dataclass
    class Point:
        x: float
        y: float = 0.5
        tags: list[str] = dataclasses.field(default_factory=list)

    class Output(BaseModel):
        inner: Inner
        point: Point
        colour: Colour
        files: Optional[List[Path]]
        many: dict[str, Inner]
        note: str = "n"
        again: Optional["Output"] = None

    class Foreign: ...

    class Runner(BaseRunner):
        def run(
            self,
            text: str,
            count: int = 3,
            ratio: float = Input(default=0.5, ge=0, le=1.5, description="it's a \\"ratio\\"\\n"),
            style: str = Input(choices=["a", "b"], default="a"),
            kind: Literal["x", "y"] = "x",
            image: Optional[Path] = Input(description="no default"),
            other: Optional[Path] = Input(default=None),
            key: Secret = Input(default=None),
            numbers: List[int] = [1, 2],
            anything: dict = {"a": (1, 2)},
            union: Union[int, str, None] = None,
            colour: str = Input(default=Colour.RED, choices=list(Colour)),
            opaque: Annotated[Optional[Foreign], Opaque] = None,
            noted: Annotated[int, "metadata"] = 1,
            old: bool = Input(default=True, deprecated=True),
            slug: str = Input(default="ok", regex=r"^[a-z\\\\]+$", min_length=1, max_length=9),
            sound: Path = Input(accept="audio/*", default=None),
        ) -> RETURNS: ...
"""
RETURNS = ["Output", "Iterator[Path]", "ConcatenateIterator[str]", "List[Inner]", "Dict[str, Any]", "Colour", "Any"]


def describe(folder: Path, reference: str = "run.py:Runner", mode: str = "run") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cog.server.stub", reference, mode],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def executed(folder: Path, source: str, reference: str = "run.py:Runner", mode: str = "run") -> dict[str, Any]:
    (folder / "run.py").write_text(textwrap.dedent(source))
    result = describe(folder, reference, mode)
    assert result.returncode == 0, result.stderr
    stub = result.stdout.partition(f"\n{BEGIN}\n")[2].partition(f"\n{END}\n")[0]
    return generate_schema({"stub": stub.encode()}.get, "stub", reference.partition(":")[2], mode=mode)


@pytest.mark.parametrize("returns", RETURNS)
def test_importing_and_reading_give_one_document(returns: str, tmp_path: Path) -> None:
    source = textwrap.dedent(MODEL.replace("RETURNS", returns))
    static = generate_schema({"run.py": source.encode()}.get, "run.py", "Runner")
    assert executed(tmp_path, source) == static


def test_what_only_importing_tells(tmp_path: Path) -> None:
    source = """
        import inspect, functools
        from cog import Input, streaming
        from typing import Iterator
        print("chatter")
        class Runner:
            @streaming
            async def run(self, a: str = Input(choices=[chr(c) for c in bytes((97, 98))]), b=1) -> Iterator[str]:
                yield a
            kept = [each for each in inspect.signature(run).parameters.values() if each.name != "b"]
            run.__signature__ = inspect.Signature(kept)
    """
    data = textwrap.dedent(source).encode()
    with pytest.raises(SchemaError):
        generate_schema({"run.py": data}.get, "run.py", "Runner")
    found = executed(tmp_path, source)
    assert found["components"]["schemas"]["a"]["enum"] == ["a", "b"]
    assert list(found["components"]["schemas"]["Input"]["properties"]) == ["a"]
    assert found["paths"]["/predictions"]["post"]["x-cog-streaming"] is True


def test_a_training_function(tmp_path: Path) -> None:
    source = "from cog import Path\ndef train(data: Path, n: int = 2) -> Path: ...\n"
    static = generate_schema({"run.py": source.encode()}.get, "run.py", "train", mode="train")
    assert executed(tmp_path, source, "run.py:train", "train") == static


def test_values_without_a_literal_stay_errors(tmp_path: Path) -> None:
    source = "class Runner:\n    def run(self, a: dict = {'x': object()}) -> str: ...\n"
    with pytest.raises(SchemaError, match="object_has_no_literal"):
        executed(tmp_path, source)


def test_a_module_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import missing_package\n")
    result = describe(tmp_path)
    assert result.returncode != 0
    assert "missing_package" in result.stderr
    assert BEGIN not in result.stdout
