"""``GET /docs`` in a real browser: the form, its errors, results of every kind, streams, cancel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.runtime.browser import Browser, open_browser
from tests.runtime.harness import Serve, Server, write_model

MODEL = """
import base64, tempfile, time
from typing import Any, List, Optional, Union
from cog import BaseRunner, Input, Path, Secret

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

def write(name, data):
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(data)
    return path

class Runner(BaseRunner):
    def run(
        self,
        what: str = Input(description="What to do", choices=["inputs", "picture", "files", "raise", "sleep", "html"]),
        prompt: str = Input(default="hello", max_length=20),
        steps: int = Input(default=4, ge=1, le=9),
        scale: Optional[float] = Input(default=None),
        level: int = Input(default=2, choices=[1, 2, 3]),
        flag: bool = Input(default=True),
        image: Optional[Path] = Input(default=None),
        token: Optional[Secret] = Input(default=None),
        tags: List[str] = Input(default=["a"]),
        numbers: List[int] = Input(default=[]),
        images: List[Path] = Input(default=[]),
        options: dict = Input(default={"k": 1}),
        value: Union[int, str] = Input(default="x", deprecated=True),
        title: str = "names like those of the page's own elements",
        run: str = "",
    ) -> Any:
        print("printed")
        self.record_metric("steps", steps)
        if what == "inputs":
            return {
                "prompt": prompt, "steps": steps, "scale": scale, "level": level, "flag": flag, "tags": tags,
                "image": image and [image.name, image.read_text()], "token": token and token.get_secret_value(),
                "numbers": numbers, "images": [each.read_text() for each in images], "options": options, "value": value,
            }
        if what == "picture":
            return write("a.png", PIXEL)
        if what == "files":
            return [write("a.wav", b"RIFF"), write("b.mp4", b"0"), write("c.bin", b"123"), "https://example.org/x.png"]
        if what == "raise":
            raise ValueError("went wrong")
        if what == "sleep":
            time.sleep(60)
        return "<img src=x onerror='window.broken = 1'><script>window.broken = 1</script>"
"""

STREAM = """
import time
from cog import BaseRunner, ConcatenateIterator, streaming
class Runner(BaseRunner):
    @streaming
    def run(self, words: int = 3, pause: float = 0.4) -> ConcatenateIterator[str]:
        for number in range(words):
            print("word", number)
            yield f"word{number} "
            time.sleep(pause)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or ""
    require(program, "chromium is not installed")
    with open_browser(program, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, MODEL)
    return start_server(folder)


def show(browser: Browser, server: Server) -> None:
    browser.requests.clear()
    browser.problems.clear()
    browser.open(f"http://127.0.0.1:{server.port}/docs")
    browser.wait("document.querySelector('#run') && document.querySelectorAll('.field').length > 1")


def choose(browser: Browser, what: str) -> None:
    browser.run(
        f"(() => {{ const box = document.querySelector('#in-what'); box.value = [...box.options].find("
        f"(each) => each.text === {json.dumps(what)}).value; }})()"
    )


def submit(browser: Browser, status: str) -> None:
    browser.run("document.querySelector('#state').textContent = ''")  # the last one's
    browser.click("#run")
    browser.wait(f"document.querySelector('#state').textContent === '{status}'")


def result(browser: Browser) -> dict[str, object]:
    found: dict[str, object] = json.loads(browser.run("document.querySelector('#json').textContent"))
    return found


def test_the_form_sends_what_was_entered(browser: Browser, server: Server, tmp_path: Path) -> None:
    show(browser, server)
    choose(browser, "inputs")
    submit(browser, "succeeded")
    defaults = {
        "prompt": "hello",
        "steps": 4,
        "scale": None,
        "level": 2,
        "flag": True,
        "tags": ["a"],
        "image": None,
        "token": None,
        "numbers": [],
        "images": [],
        "options": {"k": 1},
        "value": "x",
    }
    assert result(browser)["output"] == defaults
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"content of {name}")
    browser.fill("#in-prompt", "other")
    browser.fill("#in-steps", "7")
    browser.fill("#in-scale", "1.5")
    browser.fill("#in-level", "2")
    browser.click("#in-flag")
    browser.fill("#in-token", "sesame")
    browser.click("#in-tags")
    browser.fill("#in-tags\\.1", "b")
    browser.click("#in-numbers")
    browser.fill("#in-numbers\\.0", "5")
    browser.fill("#in-options", '{"deep": [1]}')
    browser.fill("#in-value", "12")
    browser.choose_file("[data-picker='in-image']", tmp_path / "a.txt")
    browser.click("#in-images")
    browser.choose_file("[data-picker='in-images.0']", tmp_path / "b.txt")
    submit(browser, "succeeded")
    assert result(browser)["output"] == {
        "prompt": "other",
        "steps": 7,
        "scale": 1.5,
        "level": 3,
        "flag": False,
        "tags": ["a", "b"],
        "image": ["file.txt", "content of a.txt"],
        "token": "sesame",
        "numbers": [5],
        "images": ["content of b.txt"],
        "options": {"deep": [1]},
        "value": 12,
    }
    assert "printed" in browser.run("document.querySelector('#logs').textContent")
    assert json.loads(browser.run("document.querySelector('#metrics').textContent"))["steps"] == 7
    assert "sesame" not in browser.run("document.querySelector('#curl').textContent")
    assert "sesame" not in browser.run("document.querySelector('#history').textContent")
    browser.click("#reset")
    assert browser.run("document.querySelector('#in-prompt').value") == "hello"


def test_everything_that_is_wrong_is_shown_at_its_field(browser: Browser, server: Server) -> None:
    show(browser, server)
    browser.fill("#in-options", "{")
    browser.click("#run")
    browser.wait("document.querySelector('[data-field=options] .wrong').innerText.startsWith('not JSON')")
    browser.fill("#in-options", "{}")
    browser.fill("#in-steps", "99")
    submit(browser, "failed")
    assert browser.text("[data-field=steps] .wrong") == "99 is greater than the maximum of 9"
    assert browser.text("[data-field=what] .wrong") == "Field required"
    assert "see the form" in browser.text("#error")


def test_pictures_files_and_links(browser: Browser, server: Server) -> None:
    show(browser, server)
    choose(browser, "picture")
    submit(browser, "succeeded")
    browser.wait("document.querySelector('#view-output img').naturalWidth === 1")
    choose(browser, "files")
    submit(browser, "succeeded")
    shown = "[...document.querySelectorAll('#view-output audio, #view-output video, #view-output a[download]')]"
    kinds = browser.run(f"{shown}.map((each) => each.tagName + ' ' + (each.download || ''))")
    assert kinds == [
        *("AUDIO ", "A output.wav", "VIDEO ", "A output.mp4", "A output.bin", "A x.png"),
    ]


def test_failures_are_shown(browser: Browser, server: Server) -> None:
    show(browser, server)
    choose(browser, "raise")
    submit(browser, "failed")
    assert browser.text("#error") == "Prediction failed: ValueError: went wrong"
    assert "Traceback" in browser.run("document.querySelector('#logs').textContent")


def test_a_prediction_is_canceled(browser: Browser, server: Server) -> None:
    show(browser, server)
    choose(browser, "sleep")
    browser.click("#run")
    server.wait_for("BUSY")
    browser.click("#cancel")
    browser.wait("document.querySelector('#state').textContent === 'canceled'")
    server.wait_for("READY")


def test_what_a_model_returns_is_text_and_not_part_of_the_page(browser: Browser, server: Server) -> None:
    show(browser, server)
    choose(browser, "html")
    submit(browser, "succeeded")
    assert browser.text("#view-output").startswith("<img src=x")
    assert browser.run("window.broken === undefined")


def test_nothing_comes_from_elsewhere_and_nothing_is_complained_about(browser: Browser, server: Server) -> None:
    show(browser, server)
    choose(browser, "picture")
    submit(browser, "succeeded")
    mine = (f"http://127.0.0.1:{server.port}/", "data:", "blob:")
    assert [url for url in browser.requests if not url.startswith(mine)] == []
    assert [each for each in browser.problems if "Password" not in each] == []
    headers = server.request("GET", "/docs").headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_stream_is_shown_as_it_comes(browser: Browser, serve: Serve) -> None:
    server = serve(STREAM)
    show(browser, server)
    browser.click("#run")
    browser.wait("document.querySelector('#view-output').innerText.trim() === 'word0'")
    browser.wait("document.querySelector('#view-output').innerText.trim() === 'word0 word1'")
    browser.wait("document.querySelector('#state').textContent === 'succeeded'")
    assert browser.text("#view-output").strip() == "word0 word1 word2"
    browser.fill("#in-words", "100")
    browser.click("#run")
    browser.wait("document.querySelector('#view-output').innerText.trim().startsWith('word0')")
    browser.click("#cancel")
    browser.wait("document.querySelector('#state').textContent === 'canceled'")


def test_without_a_document_the_page_says_so(browser: Browser, serve: Serve) -> None:
    server = serve("def run() -> str:\n    return 'x'\n", reference="run.py:run", schema=False)
    browser.open(f"http://127.0.0.1:{server.port}/docs")
    browser.wait("document.querySelector('.error').innerText.includes('OpenAPI schema not available')")
