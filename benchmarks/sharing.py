"""How much of a model's package layers is there already: ``python -m benchmarks.sharing [YYYY-MM-DD YYYY-MM-DD]``.

Resolves sets of packages as the index was on two days, puts them into layers as a lock does, and prints, for several
bounds of what a large wheel is, which part of the bytes lies in layers that another model, or the older lock, has.
Sizes are those of the wheels; their layers have them within some per cent, bytecode left aside. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import tomli
from packaging.pylock import Pylock

from layerforge import bins
from layerforge.bins import BUDGET, assign_bins, group_bins
from layerforge.lock import LockedWheel
from layerforge.oci import Digest
from layerforge.sources.tags import choose_wheel, list_tags
from layerforge.sources.uv import find_program

MODELS = {
    "vision": "opencv-python-headless pillow numpy onnxruntime scikit-image requests",
    "text": "transformers tokenizers sentencepiece safetensors numpy requests",
    "audio": "librosa soundfile numpy scipy onnxruntime",
    "tabular": "pandas scikit-learn xgboost-cpu lightgbm numpy matplotlib",
    "diffusion": "diffusers transformers safetensors pillow opencv-python-headless",
    "service": "fastapi uvicorn httpx pydantic gradio pandas",
    "language": "spacy nltk gensim sympy pandas",
}
FORTY = """numpy scipy pandas scikit-learn pillow matplotlib transformers tokenizers safetensors huggingface-hub
    fastapi uvicorn pydantic httpx requests tqdm pyyaml regex sentencepiece protobuf grpcio pyarrow h5py imageio
    onnxruntime opencv-python-headless soundfile jinja2 networkx sympy psutil orjson msgpack joblib lxml beautifulsoup4
    sqlalchemy cryptography rich click"""
Wheels = Sequence[LockedWheel]
BOUNDS = (1, 2, 4, 8, 16)
PYTHON, GLIBC = "3.13", 40


def main() -> None:
    """Resolve, assign, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("days", nargs="*", help="an earlier and a later day (default: a month ago, and yesterday)")
    later = date.today() - timedelta(days=1)
    before, after = parser.parse_args().days or (str(later - timedelta(days=30)), str(later))
    old, new = resolve(FORTY.split(), before), resolve(FORTY.split(), after)
    models = {name: resolve(text.split(), after) for name, text in MODELS.items()}
    changed = sum(wheel.size for wheel in new) - _overlap(new, [old])
    print(f"{len(new)} wheels of 40 packages, {_mb(new):.0f} MB; {changed / 1e6:.0f} MB of them new since {before}")
    print("bound   layers   uploaded after a month   one small package more   in layers of other models")
    for bound in BOUNDS:
        bins.LARGE = bound << 20  # nobody but this program asks for another one
        print(f"{bound:2} MiB {_describe(old, new, models)}")
    ideal = [_overlap(wheels, _others(models, name)) for name, wheels in models.items()]
    total = sum(wheel.size for wheels in models.values() for wheel in wheels)
    print(f"in wheels of other models: {sum(ideal) / total:.1%} of {total / 1e6:.0f} MB")


def _describe(old: Sequence[LockedWheel], new: Sequence[LockedWheel], models: Mapping[str, Wheels]) -> str:
    first = assign_bins(old)
    second = assign_bins(new, first)
    small = LockedWheel("zz-small", "1", "zz_small-1-py3-none-any.whl", "", 20_000, Digest.of(b"small"), "")
    third = assign_bins([*new, small], second)
    assigned = {name: assign_bins(wheels) for name, wheels in models.items()}
    total = sum(wheel.size for wheels in models.values() for wheel in wheels)
    shared = sum([_share(wheels, _others(assigned, name)) for name, wheels in assigned.items()])
    month = sum(wheel.size for wheel in second) - _share(second, [first])
    one = sum(wheel.size for wheel in third) - _share(third, [second])
    counts = f"{len(group_bins(second)):2} of {BUDGET}"
    return f"{counts} {month / 1e6:9.0f} MB {one / 1e6:20.1f} MB {shared / total:20.1%}"


def _others(models: Mapping[str, Wheels], name: str) -> list[Wheels]:
    return [wheels for other, wheels in models.items() if other != name]


def _mb(wheels: Iterable[LockedWheel]) -> float:
    return sum(wheel.size for wheel in wheels) / 1e6


def _overlap(wheels: Iterable[LockedWheel], others: Iterable[Iterable[LockedWheel]]) -> int:
    """Bytes of the wheels that one of ``others`` has too."""
    known = {wheel.digest for other in others for wheel in other}
    return sum(wheel.size for wheel in wheels if wheel.digest in known)


def _share(wheels: Iterable[LockedWheel], others: Iterable[Iterable[LockedWheel]]) -> int:
    """Bytes of the wheels in layers that one of ``others`` has too."""
    known = {tuple(wheel.digest for wheel in group) for other in others for group in group_bins(other).values()}
    groups = group_bins(wheels).values()
    return sum(wheel.size for group in groups if tuple(wheel.digest for wheel in group) in known for wheel in group)


def resolve(names: Sequence[str], day: str) -> list[LockedWheel]:
    """The wheels for ``names`` on x86-64, as the index was at the end of ``day``."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "pylock.toml")
        Path(folder, "requirements.in").write_text("\n".join(names))
        command = [
            find_program(),
            "pip",
            "compile",
            "--quiet",
            f"{folder}/requirements.in",
            "--no-build",
            "--output-file",
        ]
        command += [str(output), "--format", "pylock.toml", "--exclude-newer", day, "--python-version", PYTHON]
        command += ["--python-platform", f"x86_64-manylinux_2_{GLIBC}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "UV_SYSTEM_CERTS": "1"})
        packages = Pylock.from_dict(tomli.loads(output.read_text())).packages
    ranks = {tag: rank for rank, tag in enumerate(list_tags(PYTHON, "x86_64", GLIBC))}
    wheels = []
    for package in packages:
        wheel = choose_wheel(package.wheels or (), ranks, frozenset(), None)
        assert wheel is not None, package.name
        digest = Digest.from_hex(wheel.hashes["sha256"])
        url = wheel.url or ""
        wheels.append(LockedWheel(package.name, str(package.version), wheel.filename, url, wheel.size or 0, digest, ""))
    return wheels


if __name__ == "__main__":
    main()
