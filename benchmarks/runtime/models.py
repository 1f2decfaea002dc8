"""The models that both servers serve."""

from __future__ import annotations

import json
from pathlib import Path

from layerforge.schema import generate_schema

SYNCHRONOUS = """\
class Runner:
    def run(self, x: str = "a") -> str:
        return x
"""
ASYNCHRONOUS = """\
from cog import concurrent


class Runner:
    @concurrent(max=64)
    async def run(self, x: str = "a") -> str:
        return x
"""
FILES = """\
import tempfile

from cog import Path


class Runner:
    def run(self, file: Path) -> Path:
        copy = Path(tempfile.mkdtemp()) / "copy.bin"
        copy.write_bytes(file.read_bytes())
        return copy
"""
TOKENS = """\
import time

from cog import ConcatenateIterator, streaming


class Runner:
    @streaming
    def run(self, count: int = 200, pause: float = 0.0) -> ConcatenateIterator[str]:
        for number in range(count):
            if pause and number:
                time.sleep(pause)
            yield f"token {number} "
"""
MODELS = {"synchronous": SYNCHRONOUS, "asynchronous": ASYNCHRONOUS, "files": FILES, "tokens": TOKENS}
SLOTS = {"asynchronous": 64}


def write_models(folder: Path) -> None:
    """Write each model into a folder of its own below ``folder``, with its OpenAPI document where a build puts it."""
    for name, code in MODELS.items():
        target = folder / name
        (target / ".cog").mkdir(parents=True)
        (target / "run.py").write_text(code)
        document = generate_schema({"run.py": code.encode()}.get, "run.py", "Runner")
        (target / ".cog/openapi_schema.json").write_text(json.dumps(document))
