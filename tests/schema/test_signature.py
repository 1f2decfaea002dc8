"""Random signatures: rendered to source, read back, compared. And how long a typical model takes."""

from __future__ import annotations

import keyword
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.schema import generate_schema

_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and name not in ("self", "str", "int", "float", "bool", "list")
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NUMBERS = st.integers(-(2**40), 2**40)
_FLOATS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))
_TYPES: dict[str, tuple[st.SearchStrategy[Any], dict[str, Any]]] = {
    "str": (_TEXT, {"type": "string"}),
    "int": (_NUMBERS, {"type": "integer"}),
    "float": (_FLOATS, {"type": "number"}),
    "bool": (st.booleans(), {"type": "boolean"}),
    "list[int]": (st.lists(_NUMBERS, max_size=3), {"type": "array", "items": {"type": "integer"}}),
    "dict": (st.dictionaries(_TEXT, _NUMBERS, max_size=3), {"type": "object"}),
}


@st.composite
def parameters(draw: st.DrawFn) -> tuple[str, dict[str, Any], bool]:
    """Source of one parameter, what its schema must say, and whether it is required."""
    name = draw(_NAMES)
    kind = draw(st.sampled_from(list(_TYPES)))
    values, expected = _TYPES[kind]
    expected = {**expected, "title": " ".join(part[:1].upper() + part[1:] for part in name.split("_"))}
    arguments = []
    optional = draw(st.booleans())
    if optional:
        expected["nullable"] = True
    default = draw(st.one_of(st.just(...), values, *([st.none()] if optional else [])))
    if default is not ...:
        arguments.append(f"default={default!r}")
        expected["default"] = default
    if draw(st.booleans()):
        expected["description"] = draw(_TEXT)
        arguments.append(f"description={expected['description']!r}")
    if kind in ("int", "float") and draw(st.booleans()):
        low = draw(_NUMBERS) if default in (..., None) else default
        arguments.append(f"ge={low!r}")
        expected["minimum"] = low
    annotation = f"Optional[{kind}]" if optional else kind
    return f"{name}: {annotation} = Input({', '.join(arguments)})", expected, default is ... and not optional


@given(st.lists(parameters(), max_size=6, unique_by=lambda parameter: parameter[0].partition(":")[0]))
@settings(deadline=None)
def test_what_was_written_is_what_is_read(given_parameters: list[tuple[str, dict[str, Any], bool]]) -> None:
    source = "from typing import Optional\nfrom cog import Input\nclass Runner:\n    def run(self, "
    source += ", ".join(text for text, _, _ in given_parameters) + ") -> str: ...\n"
    found = generate_schema({"run.py": source.encode()}.get, "run.py", "Runner")["components"]["schemas"]["Input"]
    expected = {
        text.partition(":")[0]: {**schema, "x-order": order} for order, (text, schema, _) in enumerate(given_parameters)
    }
    assert found["properties"] == expected
    assert found.get("required", []) == [text.partition(":")[0] for text, _, needed in given_parameters if needed]


def test_a_typical_model_takes_under_30_ms() -> None:
    inputs = "".join(
        f"        input_{n}: float = Input(description='Input ' 'number {n}', default={n} / 2, ge=0, le=HIGH),\n"
        for n in range(25)
    )
    body = "".join(f"    def step_{n}(self, x):\n        return [x + {n} for _ in range(x)]\n" for n in range(150))
    source = (
        "from typing import List, Optional\nfrom cog import BasePredictor, Input, Path\nHIGH = 100\n"
        f"class Runner(BasePredictor):\n{body}    def predict(self,\n{inputs}    ) -> List[Path]: ...\n"
    ).encode()
    times = []
    for _ in range(5):
        started = time.process_time()
        generate_schema({"run.py": source}.get, "run.py", "Runner")
        times.append(time.process_time() - started)
    assert min(times) < 0.030
