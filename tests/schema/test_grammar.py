"""Syntax of every version of Python, whatever the one that runs Layerforge."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.errors import SchemaError
from layerforge.schema import derive_schema
from layerforge.schema.grammar import parse_source
from layerforge.schema.newer import rewrite

NEWER = {
    "same_quotes": ('x = f"{d["a"]} and {"b" if c else \'e\'}"', 'x = f\'{d["a"]} and {"b" if c else "e"}\''),
    "backslash": ("x = f'{\"\\t\".join(a)}'", "x = f'{TAB.join(a)}'"),
    "comment_and_newlines": ('x = f"{\n    a  # the "first"\n}" + "b"\ny = 1', "x = f'{a}' + 'b'\ny = 1"),
    "nested": ('x = f"{f"{"a" + "b"}"}"', 'x = f"""{f"{\'a\' + \'b\'}"}"""'),
    "spec": ('x = f"{a:{w["n"]}.2f} {b!r:>{3}}"', "x = f\"{a:{w['n']}.2f} {b!r:>{3}}\""),
    "debug": ('x = f"{d["a"]=}"', "x = f'''{'d[\"a\"]='}{d[\"a\"]!r}'''"),
    "implicit_concatenation": ('x = "a" f"{d["b"]}" \'c\'', "x = 'a' f\"{d['b']}\" 'c'"),
    "raw_and_escaped_braces": ('x = rf"\\{{{d["b"]}}}"', "x = f\"\\\\{{{d['b']}}}\""),
    "type_statement": ("type A[T: (int, str) = int] = list[T]\ntype = 3", "A = list[T]\ntype = 3"),
    "type_parameters": ("class A[\n    T,\n](B):\n    x: T\ndef f[**P](a: P) -> T: ...", None),
    "except_without_parentheses": (
        "try:\n    a\nexcept A, B:\n    b",
        "try:\n    a\nexcept (A, B):\n    b",
    ),
}


@pytest.mark.parametrize("name", NEWER)
def test_newer_syntax_is_read_by_an_older_python(name: str) -> None:
    source, plain = NEWER[name]
    rewritten = rewrite(source, (3, 10))
    tree = rewritten.restore(ast.parse(rewritten.text))
    if plain is not None:
        expected = ast.dump(ast.parse(plain)).replace("Name(id='TAB', ctx=Load())", "Constant(value='\\t')")
        assert ast.dump(tree) == expected
    assert rewritten.text.count("\n") == source.count("\n"), "lines keep their numbers"
    assert rewrite(source, (3, 10), (3, 10)).text == source, "what the model's Python does not have stays an error"


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # it's",
        "x = f'{a!r}' \"{\" '}'\ny = {'a': [1, 2]}",
        "x = f'{{}}{a:>{w}}{b:%H:%M}'",
        "x = '''a\n\"b\" {c}'''\ny = r'\\\\' + b'\\''.decode()",
        "type = 3\nx = type (y)\nprint(type)\nmatch = [i for i in a if i]",
        "try:\n    a\nexcept (A, B) as e:\n    pass\nexcept C:\n    pass",
        "class A(B[int]):\n    def f(self, *a, **k): return self.x[1, a]\n",
        "x = a if b else c; y = d[e](f)[g]\nlambda: (yield)",
        "x = \\\n    1\nif x: y = 2",
        "x = f'''{a}\n{b}''' f'{c}'",
    ],
)
def test_older_syntax_stays_as_it_is(text: str) -> None:
    rewritten = rewrite(text, (3, 11))
    assert rewritten.text == text
    assert ast.dump(rewritten.restore(ast.parse(rewritten.text))) == ast.dump(ast.parse(text))


@given(st.text(st.sampled_from(list("f\"'{}\\\n#:!= []()abtype,*")), max_size=40))
@settings(deadline=None)
def test_no_text_breaks_the_rewriter(text: str) -> None:
    try:
        rewrite(text, (3, 10))
    except SyntaxError:
        pass


def derive(source: str, python: tuple[int, int]) -> Any:
    data = textwrap.dedent(source).encode()
    return derive_schema({"run.py": data}.get, run=("run.py", "Runner"), python=python).document


MODEL = """
    from cog import BaseModel, Input
    type Texts = list[str]
    NAMES = {"a": "b"}
    class Output[T](BaseModel):
        texts: Texts
    class Runner:
        def run(self, a: str = Input(default=f"{NAMES["a"]}!", choices=[f"{"b"}!", "c"])) -> Output:
            print(f"{"\\n".join([a])}")
"""


def test_a_model_of_python_3_12() -> None:
    schemas = derive(MODEL, (3, 12))["components"]["schemas"]
    assert schemas["a"]["enum"] == ["b!", "c"]
    assert schemas["Input"]["properties"]["a"]["default"] == "b!"
    assert schemas["Output"]["properties"]["texts"] == {"type": "array", "items": {"type": "string"}, "title": "Texts"}


@pytest.mark.parametrize(
    ("source", "oldest"),
    [
        ("x = f'{a['b']}'", (3, 12)),
        ("type A = int", (3, 12)),
        ("class A[T]: ...", (3, 12)),
        ("match a:\n    case 1: ...", (3, 10)),
        ("try: ...\nexcept* A: ...", (3, 11)),
    ],
)
def test_an_older_model_cannot_use_newer_syntax(source: str, oldest: tuple[int, int]) -> None:
    parse_source(source.encode(), "run.py", oldest)
    before = (3, oldest[1] - 1)
    with pytest.raises(SchemaError) as caught:
        parse_source(b"\n" + source.encode(), "run.py", before)
    assert f"not Python 3.{before[1]}" in caught.value.message
    assert caught.value.where in ("run.py:2", "run.py:3")
    assert "python_version" in caught.value.hint or "quotes" in caught.value.hint


def test_errors_show_the_line_as_it_was_written() -> None:
    source = 'x = f"{d["a"]}"\ny = f"{"z"} {1 +}"\n'
    with pytest.raises(SchemaError) as caught:
        parse_source(source.encode(), "run.py", (3, 14))
    assert caught.value.where.startswith("run.py:")
    assert "__layerforge" not in caught.value.message


def test_conditions_on_the_version_are_decided_for_the_model() -> None:
    source = """
        import sys
        from typing import TYPE_CHECKING
        from cog import Input
        if sys.version_info >= (3, 13):
            CHOICES = ["new"]
        elif sys.version_info[:2] == (3, 12):
            CHOICES = ["twelve"]
        else:
            CHOICES = ["old"]
        if not TYPE_CHECKING:
            CHOICES = []
        class Runner:
            def run(self, a: str = Input(choices=CHOICES)) -> str: ...
    """
    expected = {(3, 13): "new", (3, 12): "twelve", (3, 11): "old"}
    for python, choice in expected.items():
        assert derive(source, python)["components"]["schemas"]["a"]["enum"] == [choice]
