"""What each construct of a signature becomes, without its envelope."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from layerforge.oci import encode
from layerforge.schema import generate_schema

ENVELOPE = {"PredictionRequest", "PredictionResponse", "Status", "HTTPValidationError", "ValidationError",
            "TrainingRequest", "TrainingResponse"}  # fmt: skip


def document(source: str, name: str = "Runner", mode: str = "run", **others: str) -> dict[str, Any]:
    """The document of ``source`` in run.py; ``others`` are more files, with ``__`` for ``/``."""
    files = {"run.py": source, **{key.replace("__", "/") + ".py": text for key, text in others.items()}}
    data = {path: textwrap.dedent(text).encode() for path, text in files.items()}
    return generate_schema(data.get, "run.py", name, mode=mode)


def essence(found: dict[str, Any]) -> dict[str, Any]:
    """The components that depend on the model."""
    schemas = found["components"]["schemas"]
    return {name: schema for name, schema in schemas.items() if name not in ENVELOPE}


def method(parameters: str, returns: str = "str", head: str = "") -> str:
    """A runner with one method."""
    return (
        "from typing import *\nfrom cog import *\n"
        + textwrap.dedent(head)
        + f"\nclass Runner(BaseRunner):\n    def run(self, {parameters}) -> {returns}: ...\n"
    )


INPUTS = {
    "scalars": "a: str, b: int, c: float, d: bool",
    "files": "a: Path, b: File, c: Secret",
    "plain_defaults": "a: str = 'x', b: int = 3, c: float = 0.5, d: bool = True",
    "integral_float": "a: float = 7.0, b: float = Input(default=1.0, ge=0.0, le=2.0)",
    "text_arguments": "a: str = Input(default='ab', description='d', min_length=1, max_length=9, regex='^a')",
    "deprecated": "a: str = Input(default='ab', deprecated=True), b: int = Input(deprecated=False)",
    "bounds": "a: int = Input(ge=1, le=10), b: float = Input(default=0.5, ge=-1.5)",
    "positional_default": "a: int = Input(4, ge=1)",
    "accept": "a: Path = Input(accept='image/*')",
    "choices_str": "a: str = Input(choices=['x', 'y'], default='x', description='d')",
    "choices_int": "a: int = Input(choices=[1, 2])",
    "choices_in_list": "a: list[str] = Input(choices=['x', 'y'], default=['x'])",
    "literal": "a: Literal['x', 'y'], b: Literal[1, 2] = 2, c: Optional[Literal['q', 'r']] = None",
    "optional": "a: Optional[str], b: int | None = None, c: Union[None, Path] = Input(description='d')",
    "none_on_plain_type": "a: str = None, b: int = Input(default=None)",
    "none_on_secret": "a: Secret = Input(default=None), b: Optional[Secret] = None",
    "lists": "a: list[str], b: List[int] = [1, 2], c: Sequence[Path] = None",
    "optional_and_bare_lists": "a: Optional[list[str]] = None, b: list = []",
    "dicts": "a: dict, b: Dict[str, int] = {'x': 1}, c: Any = None, d: list[dict] = [{'a': (1, 2.0)}]",
    "unions": "a: str | int, b: Union[str, float, None] = None, c: int | list[str] = 3",
    "opaque": "a: Annotated[list[object], Opaque], b: Annotated[Optional[int], Opaque] = None",
    "annotated": "a: Annotated[int, 'metadata'] = 3",
    "string_annotations": "a: 'str', b: 'Optional[\"Path\"]' = None, c: list['int'] = [1]",
    "keyword_only": "a: str, *, b: int = 1, c: str",
    "implicit_concatenation": "a: str = Input(description='one '\n        'two ' f'{1 + 1}', default='a\\nb')",
    "underscores": "num_inference_steps: int, _private: int = 1, x__y: str = 'a'",
}

OUTPUTS = {
    "str": "str",
    "path": "Path",
    "list_of_paths": "List[Path]",
    "dict": "dict",
    "typed_dict": "dict[str, list[dict[str, float]]]",
    "any": "Any",
    "bare_list": "list",
    "iterator": "Iterator[Path]",
    "async_iterator": "AsyncIterator[str]",
    "generator": "Generator[int, None, None]",
    "bare_iterator": "Iterator",
    "concatenate": "ConcatenateIterator[str]",
    "bare_concatenate": "ConcatenateIterator",
    "literal": "Literal['a', 'b']",
    "opaque": "Annotated[list['Foreign'], Opaque]",
}

RECORDS = {
    "base_model": """
        class Output(BaseModel):
            text: str
            score: Optional[float]
            file: Path | None = None
            tags: list[str] = []
    """,
    "nested": """
        class Inner(BaseModel):
            value: int
        class Output(BaseModel):
            inner: Inner
            many: list[Inner]
            named: dict[str, Inner]
    """,
    "inherited": """
        class Base(BaseModel):
            first: int
            second: str
        class Output(Base):
            second: float
            third: bool = True
    """,
    "recursive": """
        class Output(BaseModel):
            value: int
            children: list["Output"]
    """,
    "pydantic": """
        from pydantic import BaseModel as Model, Field
        class Output(Model):
            model_config = {}
            kind: ClassVar[str] = "x"
            value: int = Field(ge=0)
            note: str = "n"
    """,
    "dataclass": """
        from dataclasses import dataclass, field
        @dataclass(frozen=True)
        class Output:
            value: int
            note: str = "n"
    """,
    "typed_dict": """
        class Base(TypedDict):
            always: int
        class Output(Base, total=False):
            maybe: str
            surely: Required[float]
    """,
    "enumeration": """
        from enum import Enum
        class Output(str, Enum):
            RED = "red"
            BLUE = "blue"
    """,
    "alias": """
        Output = list[Path]
    """,
}

CONSTANTS = {
    "names": """
        SIZE = 512
        NAMES = ['a', 'b']
        DEFAULT = NAMES[0]
        ---
        a: int = Input(default=SIZE, ge=64, le=SIZE * 2), b: str = Input(default=DEFAULT, choices=NAMES)
    """,
    "keys_of_classes": """
        import x
        KINDS = {'DDIM': x.DDIM, 'PNDM': x.make()}
        ---
        a: str = Input(choices=KINDS.keys()), b: str = Input(choices=list(KINDS), default='DDIM'),
        c: str = Input(choices=sorted(KINDS.keys(), reverse=True))
    """,
    "joined": """
        A = ['a']
        B = A + ['b', *A, *('c',)]
        ---
        a: str = Input(choices=B, description=f'one of {", ".join(B)} ({len(B)})')
    """,
    "comprehensions": """
        RATIOS = {'1:1': (1, 1), '1:2': (1, 2), '2:1': (2, 1)}
        ---
        a: str = Input(choices=[name for name, (width, height) in RATIOS.items() if width >= height]),
        b: int = Input(choices=[64 * i for i in range(1, 4)])
    """,
    "enumeration": """
        from enum import Enum
        class Style(Enum):
            A = 'a'
            B = 'b'
        ---
        a: str = Input(choices=[style.value for style in Style], default=Style.A.value)
    """,
    "class_attributes": """
        class Inputs:
            prompt = Input(description='p', default='x')
            size: int = 8
            @staticmethod
            def steps(default, top=50):
                return Input(default=default, ge=1, le=top)
        ---
        a: str = Inputs.prompt, b: int = Inputs.steps(4), c: int = Inputs.steps(default=5, top=9), d: int = Inputs.size
    """,
    "helper_function": """
        def sized(default=256, **extra):
            'Documentation.'
            return Input(default=default, ge=64, **extra)
        ---
        a: int = sized(), b: int = sized(512, description='d')
    """,
    "unpacked_arguments": """
        COMMON = {'ge': 0, 'le': 1}
        ---
        a: float = Input(default=0.5, **COMMON)
    """,
    "environment": """
        import os
        D = os.environ.get('MODEL', 'base')
        ---
        a: str = Input(default=D)
    """,
    "arithmetic": """
        FAST = True
        N = 4 if FAST else 50
        ---
        a: int = N, b: int = -N, c: int = 2 ** 31 - 1, d: bool = not FAST
    """,
    "text_methods": """
        T = 'a, b ,c'
        ---
        a: str = Input(choices=[part.strip() for part in T.split(',')], description='%s!' % T.upper())
    """,
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name: str, snapshot: SnapshotAssertion) -> None:
    found = essence(document(method(INPUTS[name])))
    assert found.pop("Output") == {"title": "Output", "type": "string"}
    assert pretty(found) == snapshot


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name: str, snapshot: SnapshotAssertion) -> None:
    head = "from foreign import Foreign"
    assert pretty(essence(document(method("", OUTPUTS[name], head)))["Output"]) == snapshot


@pytest.mark.parametrize("name", RECORDS)
def test_records(name: str, snapshot: SnapshotAssertion) -> None:
    assert pretty(essence(document(method("", "Output", RECORDS[name])))["Output"]) == snapshot


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str, snapshot: SnapshotAssertion) -> None:
    head, _, parameters = CONSTANTS[name].partition("        ---\n")
    found = essence(document(method(parameters.strip(), head=head)))
    del found["Output"]
    assert pretty(found) == snapshot


def test_whole_document(snapshot: SnapshotAssertion) -> None:
    source = """
        from cog import BaseRunner, ConcatenateIterator, Input, streaming

        class Runner(BaseRunner):
            @streaming
            def run(self, prompt: str = Input(description="What to say")) -> ConcatenateIterator[str]:
                yield prompt
    """
    assert pretty(document(source) | {"info": {"title": "Cog", "version": "0"}}) == snapshot


def test_training_document(snapshot: SnapshotAssertion) -> None:
    source = """
        from cog import BaseModel, Input, Path

        class TrainingOutput(BaseModel):
            weights: Path

        def train(images: Path, steps: int = Input(default=100, ge=1)) -> TrainingOutput: ...
    """
    found = document(source, "train", "train")
    assert pretty(found | {"info": {"title": "Cog", "version": "0"}}) == snapshot


def test_encoding_is_canonical() -> None:
    one = document(method("b: int, a: str"))
    assert encode(one) == encode(json.loads(encode(one)))


def pretty(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, sort_keys=True)
