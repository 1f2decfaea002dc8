"""What has to change in a model written for a Python older than the supported ones. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from layerforge.config.values import Config, Entry

FIRST_WHEELS = {
    "h5py": "3.6.0",
    "lxml": "4.6.3",
    "matplotlib": "3.5.0",
    "numba": "0.55.0",
    "numpy": "1.21.2",
    "onnxruntime": "1.12.0",
    "pandas": "1.3.3",
    "pillow": "8.3.2",
    "pyyaml": "6.0",
    "scikit-image": "0.19.0",
    "scikit-learn": "1.0.2",
    "scipy": "1.7.2",
    "sentencepiece": "0.1.96",
    "tensorflow": "2.8.0",
    "tokenizers": "0.11.5",
    "torch": "1.11.0",
    "torchaudio": "0.11.0",
    "torchvision": "0.12.0",
    "xformers": "0.0.16",
}
"""The first version of each package that has a wheel for CPython 3.10 on Linux. Source: the package index, asked with
``uv pip compile --resolution lowest-direct --python-version 3.10 --no-build``.
"""

_GENERAL = (
    "older pins (numpy before 1.21.2, torch before 1.11, tensorflow before 2.8 have no wheels for it), and imports of "
    "collections.Mapping and the like, which are in collections.abc now"
)
_PIN = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*={2,3}\s*([0-9][0-9.]*)")


def explain_changes(config: Config) -> str:
    """What needs changing when such a model moves to Python 3.10: its own pins, where they stand in cog.yaml.

    Requirements files are not read here; ``layerforge lock`` names what is wrong with them.
    """
    pins = [_describe(entry, first) for entry, first in _find_outdated(config)]
    if pins:
        return f"then change {', '.join(pins)}; docs/python.md lists what else usually needs changing"
    return f"what usually needs changing: {_GENERAL} (docs/python.md has a list)"


def _find_outdated(config: Config) -> Iterator[tuple[Entry, str]]:
    for entry in config.python_packages:
        match = _PIN.match(entry.text)
        first = FIRST_WHEELS.get(re.sub(r"[-_.]+", "-", match[1]).lower(), "") if match else ""
        if match and first and _numbers(match[2]) < _numbers(first):
            yield entry, first


def _describe(entry: Entry, first: str) -> str:
    return f"{entry.text.strip()} (line {entry.line}) to {first} or later"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)
