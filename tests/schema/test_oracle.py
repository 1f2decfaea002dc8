"""Random models: what the source says is what Python itself has after importing it."""

from __future__ import annotations

import sys
import types
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cog
import cog.input
from cog.server import stub
from layerforge.errors import SchemaError
from layerforge.schema import generate_schema

HEAD = """
import dataclasses, enum, typing
from typing import *
from cog import *
from cog import Path as CogPath
NAMES = ["a", "b", "c"]
LIMITS = {"low": 1, "high": 9, "kinds": {"x": 1.5, "y": 2}}
class Limits:
    STEPS = 4
    SCALE = STEPS / 2
def sized(default, *, high=64, **more):
    return Input(default=default, ge=0, le=high, **more)
class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"
class Inner(BaseModel):
    value: int
    note: Optional[str] = None
@dataclasses.dataclass
class Point:
    x: float
    inner: Inner
class Options(TypedDict, total=False):
    a: int
    b: List[str]
"""

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
_quoted = st.sampled_from([repr, ascii, lambda text: f"{text[: len(text) // 2]!r} {text[len(text) // 2 :]!r}"])
_text = st.one_of(
    st.builds(lambda quote, text: quote(text), _quoted, _texts),
    st.sampled_from(["NAMES[0]", "f'{NAMES[1]}!'", "', '.join(NAMES)", "'%s-%d' % ('a', 3)", "Colour.RED", "str(12)"]),
)
_whole = st.one_of(
    st.integers(-(2**40), 2**40).map(repr),
    st.sampled_from(["Limits.STEPS", "LIMITS['high'] * 2", "len(NAMES)", "2 ** 10", "-(3)", "max(1, 2)", "True and 4"]),
)
_number = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.sampled_from(["Limits.SCALE", "1 / 4", "LIMITS['kinds']['x']", "1e-3", "7", "round(2.345, 1)", "sum([0.5, 1])"]),
)
_lists = st.lists(_whole, max_size=3).map(lambda items: f"[{', '.join(items)}]")
_KINDS: dict[str, st.SearchStrategy[str]] = {
    "str": _text, "int": _whole, "float": _number, "bool": st.sampled_from(["True", "False", "not 1"]),
    "List[int]": _lists, "list[int]": _lists, "Path": st.just("None"), "CogPath": st.just("None"),
    "dict": st.sampled_from(["{}", "{'a': [1, 2.5]}", "{**LIMITS}", "dict(a=1)"]),
    "Secret": st.just("None"), "Any": st.sampled_from(["1", "[None]", "{'x': True}"]),
    "'int'": _whole, "Annotated[str, 'noted']": _text, "Options": st.just("{'b': []}"),
    "Annotated[List[Point], Opaque]": st.just("[]"),
}  # fmt: skip
OUTPUTS = [
    "str", "Path", "List[Path]", "Iterator[str]", "ConcatenateIterator[str]", "AsyncIterator[int]", "dict", "Any",
    "Dict[str, List[float]]", "Inner", "List[Inner]", "Point", "Options", "Colour", "Literal['a', 'b']",
    "Generator[str, None, None]", "Iterator[Inner]", "dict[str, Point]", "'Inner'", "Annotated[List[Any], Opaque]",
]  # fmt: skip


@st.composite
def parameters(draw: st.DrawFn, order: int) -> str:
    kind = draw(st.sampled_from(list(_KINDS)))
    values = _KINDS[kind]
    optional = draw(st.booleans())
    name = draw(st.sampled_from([f"input_{order}", f"n{order}", f"num_{order}_x"]))
    form = draw(st.sampled_from(["Optional[{}]", "Union[{}, None]"])) if optional else "{}"
    annotation = form.format(kind)
    default = draw(st.one_of(values, st.just("None")))
    if default == "Colour.RED":
        default = "Colour.RED.value"
    description = draw(st.one_of(st.none(), _text))
    arguments = [f"default={default}"] if draw(st.booleans()) else []
    arguments += [] if description is None else [f"description={description}"]
    way = draw(st.sampled_from(["plain", "input", "choices", "bounds", "helper"]))
    if way == "plain":
        return f"{name}: {annotation} = {default}"
    if way == "choices" and kind == "str":
        chosen = draw(
            st.sampled_from(["NAMES", "list(LIMITS)", "[n + '!' for n in NAMES]", "sorted(Colour.__members__)"])
        )
        return f"{name}: {annotation} = Input(choices={chosen}, default={chosen}[0])"
    if way == "bounds" and kind in ("int", "float"):
        low = draw(st.sampled_from(["1", "LIMITS['low']", "0.5"]))
        return f"{name}: {annotation} = Input(default=3, ge={low}, le=50)"
    if way == "helper" and kind == "int":
        return f"{name}: {annotation} = sized(5, high=Limits.STEPS * 4)"
    return f"{name}: {annotation} = Input({', '.join(arguments)})"


@st.composite
def models(draw: st.DrawFn) -> str:
    count = draw(st.integers(0, 5))
    lines = [draw(parameters(order)) for order in range(count)]
    future = "from __future__ import annotations\n" if draw(st.booleans()) else ""
    coroutine = draw(st.sampled_from(["", "async "]))
    method = draw(st.sampled_from(["run", "predict"]))
    arguments = ", ".join(["self", *lines])
    returns = draw(st.sampled_from(OUTPUTS))
    return f"{future}{HEAD}class Runner(BaseRunner):\n    {coroutine}def {method}({arguments}) -> {returns}: ...\n"


def imported(source: str) -> dict[str, Any]:
    """The document of the module as Python has it, by the way of ``layerforge schema --execute``."""
    module = types.ModuleType("generated_model")
    sys.modules[module.__name__] = module
    original = cog.Input
    stub._record_defaults()
    try:
        exec(compile(source, "run.py", "exec", dont_inherit=True), module.__dict__)
        target = module.__dict__["Runner"]
        text = stub.Stub().text("Runner", target, "run" if "def run(" in source else "predict")
    finally:
        del sys.modules[module.__name__]
        cog.Input = cog.input.Input = original
    return generate_schema({"stub": text.encode("utf-8", "surrogatepass")}.get, "stub", "Runner")


@given(models())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_reading_and_importing_agree(source: str) -> None:
    try:
        static = generate_schema({"run.py": source.encode()}.get, "run.py", "Runner")
    except SchemaError as error:
        assert "the default" in error.message, error
        return
    assert static == imported(source)
