from __future__ import annotations

import pytest

from layerforge.errors import ConfigError
from layerforge.requirements import Requirements, parse_project
from tests.test_requirements import Files

NAMED = ("cog.yaml", 4)
TEXT = """\
[project]
name = "model"
dependencies = [
    "numpy>=1.26",
    "pillow; sys_platform == 'linux'",
    "cog>=0.9",
]

[project.optional-dependencies]
Fast_Json = ["orjson"]

[dependency-groups]
base = ["six"]
serve = [{include-group = "base"}, "uvloop"]
"""


def parse(text: str = TEXT, extras: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> Requirements:
    return parse_project("pyproject.toml", extras, groups, Files({"pyproject.toml": text}), NAMED)


def test_dependencies_with_their_places() -> None:
    found = parse()
    assert [(line.name, line.where) for line in found.lines] == [
        ("numpy", "pyproject.toml:4"),
        ("pillow", "pyproject.toml:5"),
    ]
    assert "left out" in found.notices[0]


def test_extras_and_groups() -> None:
    assert [line.name for line in parse(extras=("fast-json",), groups=("serve",)).lines[2:]] == [
        "orjson",
        "six",
        "uvloop",
    ]


def test_a_project_that_is_a_package_is_installed() -> None:
    build = '\n[build-system]\nrequires = ["hatchling"]\n'
    (line,) = [line for line in parse(TEXT + build).lines if line.origin is not None]
    assert line.origin is not None
    assert (line.origin.path, line.origin.editable) == (".", True)
    assert all(line.origin is None for line in parse(TEXT + build + "[tool.uv]\npackage = false\n").lines)


@pytest.mark.parametrize(
    ("text", "extras", "groups", "message"),
    [
        (TEXT, ("nope",), (), "has no extra 'nope'; there are: fast-json"),
        (TEXT, (), ("nope",), "has no dependency group 'nope'; there are: base, serve"),
        ('[dependency-groups]\na = [{include-group = "a"}]', (), ("a",), "includes itself"),
        ('[project]\ndynamic = ["dependencies"]', (), (), "dynamic"),
        ('[project]\ndependencies = "numpy"', (), (), "no list of requirements"),
        ('[project]\ndependencies = ["x"]\n[tool.uv.sources]\nx = {path = "x"}', (), (), "only uv understands"),
        ("[project", (), (), "not valid TOML"),
        ('[project]\ndependencies = ["numpy=1"]', (), (), "is not a requirement"),
    ],
)
def test_what_cannot_be_taken_is_refused(
    text: str, extras: tuple[str, ...], groups: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text, extras, groups)


def test_a_lock_of_uv_stands_beside_its_project() -> None:
    files = Files({"sub/uv.lock": "", "sub/pyproject.toml": ""})
    found = parse_project("sub/uv.lock", ("x",), ("y",), files, NAMED)
    assert (found.frozen, found.extras, found.groups) == ("sub/uv.lock", ("x",), ("y",))
    assert found.local_paths == ("sub/uv.lock", "sub/pyproject.toml")
    for name in ("uv.lock", "other/uv.lock"):
        with pytest.raises(ConfigError, match="there is no such file") as caught:
            parse_project(name, (), (), files, NAMED)
        assert caught.value.problems[0].line == 4
