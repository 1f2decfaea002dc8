"""Whole documents: two targets in one, stubs, what a validator of OpenAPI says, and the table for people."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings
from openapi_spec_validator import OpenAPIV30SpecValidator
from syrupy.assertion import SnapshotAssertion

from layerforge.errors import SchemaError
from layerforge.schema import derive_schema, format_table
from tests.schema.test_constructs import CONSTANTS, INPUTS, OUTPUTS, RECORDS, document, method
from tests.schema.test_signature import parameters

BOTH = """
    from typing import Literal, Optional
    from cog import BaseModel, BaseRunner, ConcatenateIterator, Input, Path, Secret

    class Trained(BaseModel):
        weights: Path
        loss: float

    class Runner(BaseRunner):
        def run(
            self,
            prompt: str = Input(description="What to say", max_length=100),
            style: Literal["plain", "fancy"] = "plain",
            steps: int = Input(default=4, ge=1, le=50, description="More take longer"),
            key: Secret = Input(default=None),
            images: Optional[list[Path]] = None,
            size: int | str = Input(default=3, deprecated=True),
        ) -> ConcatenateIterator[str]: ...

    def train(data: Path = Input(accept=".zip"), style: str = Input(choices=["a", "b"])) -> Trained: ...
"""


def both() -> dict[str, Any]:
    data = textwrap.dedent(BOTH).encode()
    return derive_schema({"run.py": data}.get, run=("run.py", "Runner"), train=("run.py", "train")).document


def test_a_model_that_is_run_and_trained_has_one_document() -> None:
    found = both()
    assert set(found["paths"]) >= {"/trainings", "/trainings/{training_id}/cancel", "/predictions", "/health-check"}
    schemas = found["components"]["schemas"]
    assert {"Input", "Output", "TrainingInput", "TrainingOutput", "TrainingRequest", "PredictionRequest"} <= set(
        schemas
    )
    assert schemas["style"]["enum"] == ["plain", "fancy"], "of two components of one name the prediction's stays"


def test_neither_run_nor_train() -> None:
    with pytest.raises(SchemaError, match="neither"):
        derive_schema({}.get)


def test_the_table(snapshot: SnapshotAssertion) -> None:
    assert format_table(both()) == snapshot


@pytest.mark.parametrize("name", [*INPUTS, *OUTPUTS, *RECORDS, *CONSTANTS])
def test_documents_are_valid_openapi(name: str) -> None:
    if name in INPUTS:
        source = method(INPUTS[name])
    elif name in RECORDS:
        source = method("", "Output", RECORDS[name])
    elif name in OUTPUTS:
        source = method("", OUTPUTS[name], "from foreign import Foreign")
    else:
        head, _, arguments = CONSTANTS[name].partition("        ---\n")
        source = method(arguments.strip(), head=head)
    validate(document(source))


@given(parameters())
@settings(max_examples=40, deadline=None)
def test_any_document_is_valid_openapi(parameter: tuple[str, dict[str, Any], bool]) -> None:
    head = "from typing import Optional\nfrom cog import Input\nclass Runner:\n"
    source = f"{head}    def run(self, {parameter[0]}) -> str: ..."
    validate(derive_schema({"run.py": source.encode()}.get, run=("run.py", "Runner")).document)


def test_both_documents_are_valid_openapi() -> None:
    validate(both())


def validate(found: dict[str, Any]) -> None:
    problems = [error.message for error in OpenAPIV30SpecValidator(json.loads(json.dumps(found))).iter_errors()]
    assert not problems


def test_a_stub_beside_the_file_counts_more_than_the_file() -> None:
    files = {
        "run.py": b"import torch\nclass Runner:\n    def run(self, x, y=torch.f()): ...\n",
        "run.pyi": b"class Runner:\n    def run(self, x: str, y: int = 3) -> str: ...\n",
    }
    found = derive_schema(files.get, run=("run.py", "Runner")).document["components"]["schemas"]["Input"]
    assert list(found["properties"]) == ["x", "y"]
    with pytest.raises(SchemaError, match="has no type"):
        derive_schema({**files, "run.pyi": b"class Other: ...\n"}.get, run=("run.py", "Runner"))


def test_a_stub_of_another_package_gives_its_constants() -> None:
    files = {
        "run.py": b"from whisper.tokenizer import LANGUAGES\nfrom cog import Input\nclass Runner:\n"
        b"    def run(self, x: str = Input(choices=sorted(LANGUAGES.values()))) -> str: ...\n",
        "whisper/tokenizer.pyi": b"LANGUAGES = {'en': 'english', 'de': 'german'}\n",
    }
    found = derive_schema(files.get, run=("run.py", "Runner")).document["components"]["schemas"]
    assert found["x"]["enum"] == ["english", "german"]


def test_numbers_are_written_as_cog_writes_them() -> None:
    source = (
        "from cog import Input\nclass Runner:\n"
        "    def run(self, a: int = Input(default=2**63-1, ge=-2**63, le=2**64-1),\n"
        "        b: float = Input(default=123456789012345678.0, ge=1e-7, le=1e22)) -> str: ...\n"
    )
    document = derive_schema({"run.py": source.encode()}.get, run=("run.py", "Runner")).document
    found = document["components"]["schemas"]["Input"]["properties"]
    assert (found["a"]["minimum"], found["a"]["maximum"]) == (-9223372036854776000, 18446744073709552000)
    assert found["a"]["default"] == 9223372036854775807
    assert (found["b"]["default"], found["b"]["minimum"], found["b"]["maximum"]) == (123456789012345680, 1e-7, 1e22)
