"""Constants that stand in small data files of the project: texts, JSON and YAML, and the paths that lead to them."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable
from typing import Any

from layerforge.schema.modules import Module, Project
from layerforge.schema.values import OpenFile, PathText

ROOT = "/src"
"""Where the project is in the image, and the directory that the model is started in."""


def file_name(module: Module) -> PathText | str:
    """``__file__`` of a module."""
    return posixpath.join(ROOT, module.path)


def text_of(path: Any) -> str:
    """A path as text.

    Raises:
        TypeError: it is none.
    """
    if isinstance(path, PathText):
        return path.text
    if isinstance(path, str):
        return path
    raise TypeError(f"{type(path).__name__} is not a path")


def project_path(path: Any) -> str:
    """The path from the project's root of what a running model would open as ``path``.

    Raises:
        ValueError: it lies outside the project.
    """
    whole = posixpath.normpath(posixpath.join(ROOT, text_of(path)))
    if not whole.startswith(f"{ROOT}/"):
        raise ValueError(f"{whole} is not a file of the project")
    return whole[len(ROOT) + 1 :]


def read_file(project: Project, file: Any) -> str:
    """The text of a file of the project, given as a path or opened.

    Raises:
        ValueError: it does not exist, is large, or is not UTF-8.
    """
    path = file.path if isinstance(file, OpenFile) else project_path(file)
    data = project.read_data(path)
    if data is None:
        raise ValueError(f"the project has no file {path}")
    return data.decode("utf-8-sig").replace("\r\n", "\n")


def read_lines(project: Project, file: Any) -> list[str]:
    """The lines of a file, with their ends."""
    return read_file(project, file).splitlines(keepends=True)


def parse_json(text: Any) -> Any:
    """The value of a JSON text."""
    return json.loads(text)


def parse_yaml(text: Any) -> Any:
    """The value of a YAML text of plain types."""
    import yaml  # few models need it

    if "&" in text and text.count("*") > 20:
        raise ValueError("YAML with many aliases is not read")
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _join(*parts: Any) -> str:
    return posixpath.join(*map(text_of, parts))


PATH_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "os.path.join": _join,
    "os.path.dirname": lambda path: posixpath.dirname(text_of(path)),
    "os.path.basename": lambda path: posixpath.basename(text_of(path)),
    "os.path.abspath": lambda path: posixpath.normpath(posixpath.join(ROOT, text_of(path))),
    "os.path.realpath": lambda path: posixpath.normpath(posixpath.join(ROOT, text_of(path))),
    "os.path.normpath": lambda path: posixpath.normpath(text_of(path)),
    "os.path.splitext": lambda path: posixpath.splitext(text_of(path)),
    "os.fspath": text_of,
    "os.getcwd": lambda: ROOT,
    "pathlib.Path.cwd": lambda: PathText(ROOT),
    **dict.fromkeys(
        ("pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "pathlib.PurePosixPath", "cog.Path"),
        lambda *parts: PathText(_join(*parts) if parts else "."),
    ),
}


def path_attribute(path: PathText, name: str) -> Any:
    """An attribute of a path that its text alone decides.

    Raises:
        AttributeError: there is no such attribute.
    """
    text = path.text
    match name:
        case "parent":
            return PathText(posixpath.dirname(text) or ".")
        case "name":
            return posixpath.basename(text)
        case "stem":
            return posixpath.splitext(posixpath.basename(text))[0]
        case "suffix":
            return posixpath.splitext(text)[1]
        case "parents":
            found = []
            while text not in ("", "/", "."):
                text = posixpath.dirname(text)
                found.append(PathText(text or "."))
            return found
    raise AttributeError(f"`.{name}` of a path is not looked up here")


def path_method(project: Project, path: PathText, name: str, arguments: list[Any]) -> Any:
    """A method of a path.

    Raises:
        TypeError: it asks for more than the path's text and the project's files.
    """
    match name:
        case "resolve" | "absolute" | "expanduser":
            return PathText(posixpath.normpath(posixpath.join(ROOT, path.text)))
        case "joinpath":
            return PathText(_join(path, *arguments))
        case "with_suffix":
            return PathText(posixpath.splitext(path.text)[0] + arguments[0])
        case "with_name":
            return PathText(_join(posixpath.dirname(path.text), arguments[0]))
        case "as_posix" | "__str__":
            return path.text
        case "open":
            return OpenFile(project_path(path))
        case "read_text":
            return read_file(project, path)
    raise TypeError(f"the method {name} of a path is not run here")
