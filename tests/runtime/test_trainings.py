"""Trainings: in the worker of a model, and with ``--x-mode train``."""

from __future__ import annotations

import json
from pathlib import Path

from layerforge.schema import generate_schema
from tests.runtime.harness import Serve, Server, write_model

RUN = """
class Runner:
    def setup(self):
        print("set up to run")
    def run(self, text: str = "x") -> str:
        return f"ran {text}"
"""
TRAIN = """
from cog import BaseModel, File, Input, Path
class TrainingOutput(BaseModel):
    weights: Path
    steps: int
def train(data: Path, steps: int = Input(default=3, ge=1)) -> TrainingOutput:
    print("training")
    weights = Path("weights.bin")
    weights.write_text(data.read_text() * steps)
    return TrainingOutput(weights=weights, steps=steps)
"""
TRAINER = """
class Trainer:
    async def setup(self):
        print("set up to train")
        self.greeting = "hello train"
    def train(self, s: str) -> str:
        return f"{self.greeting} {s}"
"""
BOTH = """
class Runner:
    def setup(self):
        self.count = 0
    async def run(self) -> int:
        return self.count
    def train(self, by: int = 1) -> int:
        self.count += by
        return self.count
"""


def train(server: Server, **inputs: object) -> dict[str, object]:
    answer = server.request("POST", "/trainings", {"input": inputs})
    assert answer.status == 200, answer.body
    result: dict[str, object] = answer.json
    return result


def add_training_schema(folder: Path, path: str, name: str) -> None:
    """Put what a training takes and gives into the document, as a build does."""
    document = json.loads((folder / ".cog/openapi_schema.json").read_text())

    def read(path: str) -> bytes | None:
        return (folder / path).read_bytes() if (folder / path).is_file() else None

    trains = generate_schema(read, path, name, mode="train")
    document["components"]["schemas"] |= trains["components"]["schemas"]
    (folder / ".cog/openapi_schema.json").write_text(json.dumps(document))


def test_a_function_trains_beside_the_model(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    write_model(tmp_path, RUN)
    add_training_schema(tmp_path, "train.py", "train")
    server = serve(RUN, schema=False, environment={"COG_TRAIN_TYPE_STUB": "train.py:train"})
    result = train(server, data="data:,ab", steps=2)
    assert result["status"] == "succeeded"
    assert result["output"] == {"weights": "data:application/octet-stream;base64,YWJhYg==", "steps": 2}
    assert result["logs"] == "training\n"
    answer = server.request("POST", "/trainings", {"input": {"data": "data:,ab", "steps": 0}})
    assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["body", "input", "steps"])
    assert server.output(text="y") == "ran y"


def test_a_class_trains_and_is_set_up_once(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINER)
    server = serve(RUN, schema=False, environment={"COG_TRAIN_TYPE_STUB": "train.py:Trainer"})
    first, second = train(server, s="a"), train(server, s="b")
    assert (first["output"], first["logs"]) == ("hello train a", "set up to train\n")
    assert (second["output"], second["logs"]) == ("hello train b", "")


def test_a_model_that_trains_itself_keeps_its_state(serve: Serve) -> None:
    server = serve(BOTH, schema=False)
    assert train(server, by=5)["output"] == 5
    assert server.output() == 5


def test_a_model_without_training_says_so(serve: Serve) -> None:
    result = train(serve(RUN, schema=False))
    assert result["status"] == "failed"
    assert result["error"] == "Prediction failed: ValueError: this model cannot be trained: cog.yaml has no `train`"


def test_a_trainer_that_cannot_be_loaded_fails_the_training_only(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import nothing_of_this_name\n")
    server = serve(RUN, schema=False, environment={"COG_TRAIN_TYPE_STUB": "train.py:train"})
    assert "nothing_of_this_name" in str(train(server)["error"])
    assert server.output() == "ran x"


def test_a_server_for_trainings_alone(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINER)
    environment = {"COG_TRAIN_TYPE_STUB": "train.py:Trainer"}
    server = serve("raise OSError\n", "--x-mode", "train", schema=False, environment=environment)
    assert server.health["setup"]["logs"] == "set up to train\n"
    assert train(server, s="c")["output"] == "hello train c"
    assert server.output(s="d") == "hello train d"  # as Cog answers in this mode
