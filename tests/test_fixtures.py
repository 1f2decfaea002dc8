"""The fixtures do what their READMEs say, run with their own code and the SDK of ``runtime/``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = ("digits", "hello", "stream", "thumbnail")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """A function that imports a module of a fixture, as the worker does: its folder is on the path, and then gone."""
    before = set(sys.modules)

    def load_module(name: str, module: str = "run") -> ModuleType:
        monkeypatch.syspath_prepend(FIXTURES / name)
        return importlib.import_module(module)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield load_module
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(FIXTURES)):
            del sys.modules[module]


def make_runner(module: ModuleType) -> Any:
    """The fixture's runner after its setup."""
    runner = module.Runner()
    runner.setup()
    return runner


def test_every_fixture_is_listed() -> None:
    assert sorted(path.parent.name for path in FIXTURES.glob("*/cog.yaml")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_cog_yaml_is_complete(name: str) -> None:
    config = yaml.safe_load((FIXTURES / name / "cog.yaml").read_text())
    assert set(config) == {"build", "run"}
    assert config["run"] == "run.py:Runner"
    assert config["build"]["python_version"] == ("3.11" if name == "thumbnail" else "3.13")
    requirements = config["build"].get("python_requirements")
    assert requirements is None or (FIXTURES / name / requirements).is_file()
    assert (FIXTURES / name / "README.md").read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("name", NAMES)
def test_readme_names_every_input(name: str, load: Callable[..., ModuleType]) -> None:
    readme = (FIXTURES / name / "README.md").read_text()
    inputs = [input_name for input_name in inspect.signature(load(name).Runner.run).parameters if input_name != "self"]
    assert inputs
    assert [input_name for input_name in inputs if f"| `{input_name}` |" not in readme] == []


def test_hello(load: Callable[..., ModuleType]) -> None:
    assert make_runner(load("hello")).run(name="Ada") == "hello Ada"


@pytest.fixture
def digits(load: Callable[..., ModuleType]) -> ModuleType:
    return load("digits")


@pytest.mark.parametrize("digit", range(10))
def test_digits_reads_every_sample(digit: int, digits: ModuleType) -> None:
    reading = make_runner(digits).run(image=digits.Path(FIXTURES / "digits" / "samples" / f"{digit}.png"))
    assert reading.digit == digit
    assert len(reading.probabilities) == 10
    assert max(reading.probabilities) == reading.probabilities[digit] > 0.8
    assert sum(reading.probabilities) == pytest.approx(1, abs=1e-5)


def test_digits_reads_held_out_images(digits: ModuleType) -> None:
    from safetensors.numpy import load_file

    held_out = load_file(FIXTURES / "digits" / "heldout.safetensors")
    pixels, labels = held_out["pixels"], held_out["labels"]
    assert len(pixels) == len(labels) == 360
    assert (pixels.min(), pixels.max(), set(labels.tolist())) == (0, 16, set(range(10)))
    right = digits.Network().classify(pixels / 16).argmax(axis=1) == labels
    assert right.mean() >= 0.97
    readme = (FIXTURES / "digits" / "README.md").read_text()
    assert f"reads {right.sum()} of the 360 held-out images correctly: {right.mean():.2%}".replace("%", " %") in readme


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_digits_reads_every_mode(mode: str, digits: ModuleType, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(FIXTURES / "digits" / "samples" / "0.png") as image:
        sample = image.convert("L")
    if mode in ("I;16", "I"):
        picture = Image.fromarray(np.asarray(sample).astype(np.uint16) * 257)
        picture = picture if mode == "I;16" else picture.convert("I")
    elif mode == "F":
        picture = Image.fromarray(np.asarray(sample).astype(np.float32) / 255)
    else:
        picture = sample.convert(mode)
    path = tmp_path / "picture.tiff"
    picture.save(path)
    assert make_runner(digits).run(image=digits.Path(path)).digit == 0


def test_digits_weights_are_small_and_several() -> None:
    sizes = [path.stat().st_size for path in (FIXTURES / "digits" / "weights").glob("*.safetensors")]
    assert len(sizes) == 3
    assert sum(sizes) < 100_000


@pytest.fixture
def thumbnail(load: Callable[..., ModuleType]) -> ModuleType:
    return load("thumbnail")


def make_thumbnail(module: ModuleType, path: Path, **inputs: Any) -> tuple[str, tuple[int, int], str]:
    """Format, size and mode of the thumbnail of the picture at ``path``."""
    from PIL import Image

    arguments = {"size": 128, "square": False, "format": "png", **inputs}
    result = module.Runner().run(image=module.Path(path), **arguments)
    assert isinstance(result, module.Path)
    with Image.open(result) as image:
        image.load()
        return str(image.format), image.size, image.mode


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, ("PNG", (128, 85), "RGB")),
        ({"size": 64, "format": "jpeg"}, ("JPEG", (64, 43), "RGB")),
        ({"square": True, "format": "webp"}, ("WEBP", (128, 128), "RGB")),
        ({"size": 2048}, ("PNG", (480, 320), "RGB")),
    ],
)
def test_thumbnail(inputs: dict[str, Any], expected: tuple[str, tuple[int, int], str], thumbnail: ModuleType) -> None:
    sample = FIXTURES / "thumbnail" / "samples" / "mandelbrot.png"
    assert make_thumbnail(thumbnail, sample, **inputs) == expected


def test_thumbnail_of_transparent_and_deep_pictures(thumbnail: ModuleType, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.new("RGBA", (300, 150), (0, 0, 0, 0)).save(path)
    assert make_thumbnail(thumbnail, path) == ("PNG", (128, 64), "RGBA")
    assert make_thumbnail(thumbnail, path, format="jpeg") == ("JPEG", (128, 64), "RGB")
    Image.new("I;16", (150, 300), 128 * 257).save(path)
    result = thumbnail.Runner().run(image=thumbnail.Path(path), size=30, square=False, format="png")
    with Image.open(result) as image:
        assert (image.size, image.getpixel((7, 7))) == ((15, 30), (128, 128, 128))


def test_stream(load: Callable[..., ModuleType]) -> None:
    runner = make_runner(load("stream"))
    story = list(runner.run(words=12, seed=0, delay=0))
    assert "".join(story) == "Alice had not a White Rabbit say to itself, Oh dear! I"
    assert len(story) == 12
    assert list(runner.run(words=12, seed=0, delay=0)) == story
    assert list(runner.run(words=12, seed=1, delay=0)) != story
    assert len(list(runner.run(words=10_000, seed=2, delay=0))) == 10_000
