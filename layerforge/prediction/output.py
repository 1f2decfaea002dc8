"""What a prediction gave, on stdout or in files."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, TextIO

import msgspec

from layerforge.errors import EngineError, InputError
from layerforge.prediction.media import decode_data_url, find_extension
from layerforge.prediction.schema import PREDICTIONS, Schema, find_items, find_output, is_file, resolve


class Prediction(msgspec.Struct):
    """What the server answered. ``status`` is ``succeeded``, ``failed`` or ``canceled``; ``metrics`` has seconds."""

    status: str
    output: Any = None
    error: str | None = None
    logs: str | None = ""
    metrics: dict[str, Any] | None = None
    id: str | None = None


def write_output(
    prediction: Prediction, schema: Schema, out: Path | None, stdout: TextIO, *, kind: str = PREDICTIONS
) -> list[Path]:
    """Show the output as its ``schema`` (the OpenAPI document's) says, and give the paths of the files written.

    Text is printed, a ``ConcatenateIterator``'s pieces joined, anything else printed as JSON; files are written to
    ``out`` or else ``output`` with the extension of their type, the members of a list as ``output.0.png`` and so on.
    With ``out`` everything goes there; a folder means a file in it.

    Raises:
        EngineError: the prediction did not succeed, or its output is damaged.
        InputError: ``out`` cannot be written to.
    """
    if prediction.status != "succeeded":
        reason = (
            prediction.error.removeprefix("Prediction failed: ") if prediction.error else "the model gave no reason"
        )
        raise EngineError(f"the prediction {prediction.status}: {reason}")
    if prediction.output is None:
        return []
    described = find_output(schema, kind)
    written: list[Path] = []
    value = write_files(prediction.output, described, schema, Target.of(choose_path(out)), written)
    if written and not isinstance(value, dict):
        return written
    if isinstance(value, list) and described.get("x-cog-array-display") == "concatenate":
        value = "".join(str(piece) for piece in value)
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    if out is None:
        stdout.write(text if text.endswith("\n") else text + "\n")
    else:
        written.append(write_file(choose_path(out), text.encode()))
    return written


def write_json(
    prediction: Prediction, schema: Schema, out: Path | None, stdout: TextIO, *, kind: str = PREDICTIONS
) -> list[Path]:
    """Show the whole answer as JSON, whatever its status, with files written out and replaced by their paths.

    Raises:
        EngineError: the output is damaged.
        InputError: ``out`` cannot be written to.
    """
    target = choose_path(out, "output.json")
    written: list[Path] = []
    document = msgspec.to_builtins(prediction)
    if prediction.status == "succeeded" and prediction.output is not None:
        beside = Target(Target.of(target).base, "")
        document["output"] = write_files(prediction.output, find_output(schema, kind), schema, beside, written)
    shown = {key: value for key, value in document.items() if key not in ("id", "logs") and value not in (None, {})}
    text = json.dumps({"status": prediction.status, "output": None, **shown}, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        stdout.write(text)
    else:
        written.append(write_file(target, text.encode()))
    return written


def choose_path(out: Path | None, default: str = "output") -> Path:
    """Where a single output goes: ``out``, or a file called ``default`` in it if it is a folder."""
    if out is None:
        return Path(default)
    out = out.expanduser()
    return out / default if out.is_dir() else out


class Target(msgspec.Struct, frozen=True):
    """Where files go: ``base`` has no extension; ``suffix`` is the one asked for, or empty for the type's."""

    base: Path
    suffix: str

    @classmethod
    def of(cls, path: Path) -> Target:
        """``path`` taken apart; digits behind a dot are no extension."""
        suffix = "" if path.suffix[1:].isdigit() else path.suffix
        return cls(path.with_name(path.name.removesuffix(suffix)), suffix)

    def below(self, part: str) -> Target:
        """The target of one member of a list or an object."""
        part = re.sub(r"[^A-Za-z0-9_-]", "_", part) or "_"
        return Target(self.base.with_name(f"{self.base.name}.{part}"), self.suffix)

    def name(self, media_type: str) -> Path:
        """The path of a file of this type."""
        return self.base.with_name(self.base.name + (self.suffix or find_extension(media_type)))


def write_files(value: Any, schema: Schema, document: Schema, target: Target, written: list[Path]) -> Any:
    """``value`` with every file in it written to ``target`` and replaced by its path, which is added to ``written``."""
    schema = resolve(schema, document)
    if isinstance(value, str):
        if value[:5].lower() != "data:" or not (is_file(schema, document) or not schema.get("type")):
            return value
        try:
            data, media_type = decode_data_url(value)
        except ValueError as error:
            raise EngineError(f"the model gave a file that cannot be read: {error}") from error
        written.append(write_file(target.name(media_type), data))
        return str(written[-1])
    if isinstance(value, list):
        items = find_items(schema, document)
        return [write_files(item, items, document, target.below(str(n)), written) for n, item in enumerate(value)]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {
            name: write_files(item, properties.get(name, {}), document, target.below(name), written)
            for name, item in value.items()
        }
    return value


def write_file(path: Path, data: bytes) -> Path:
    """Write ``data`` to ``path``, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/null, a pipe
            path.write_bytes(data)
            return path
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            umask = os.umask(0o022)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        hint = "say with -o where the output can go"
        raise InputError(f"the output cannot be written: {error.strerror}", where=str(path), hint=hint) from error
    return path
