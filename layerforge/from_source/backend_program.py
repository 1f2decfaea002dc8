"""Calls a build backend (PEP 517, PEP 660). Runs in the room where packages are built: standard library only.

``python backend_program.py ORDER OUT``; ORDER is a JSON file, the answer is ``answer.json`` in the folder OUT:
``{"requires": [...]}`` when the backend wants more than was provided, ``{"wheel": name}`` when it has built one.
Sources: https://peps.python.org/pep-0517/ and https://peps.python.org/pep-0660/
"""

# The functions of os are what there is on every Python.
# ruff: noqa: PTH100, PTH118

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def main(order_path: str, out: str) -> int:
    """Carry out the order."""
    with open(order_path, encoding="utf-8") as file:
        order = json.load(file)
    os.chdir(order["source"])
    sys.argv = ["setup.py"]
    sys.path[:1] = [os.path.abspath(folder) for folder in order["backend_path"]]
    backend = load_backend(order["backend"])
    settings = order["settings"] or None
    kind = "editable" if order["editable"] else "wheel"
    if not hasattr(backend, f"build_{kind}"):
        print(f"error: the backend {order['backend']} cannot build an {kind} (PEP 660)", flush=True)
        return 2
    ask = getattr(backend, f"get_requires_for_build_{kind}", None)
    wanted = list(ask(settings)) if ask is not None else []
    if any(requirement not in order["provided"] for requirement in wanted):
        return answer(out, {"requires": wanted})
    before = list_built(".") if order["editable"] else set()
    name = getattr(backend, f"build_{kind}")(out, settings)
    built = sorted(list_built(".") - before) if order["editable"] else []
    return answer(out, {"wheel": name, "built": built})


def load_backend(name: str) -> Any:
    """The object that ``build-backend`` names."""
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    return found


def list_built(folder: str) -> set[str]:
    """The libraries below ``folder``."""
    suffixes = (".so", ".pyd", ".dylib")
    return {os.path.join(top, name) for top, _, names in os.walk(folder) for name in names if name.endswith(suffixes)}


def answer(out: str, document: dict[str, Any]) -> int:
    """Write the answer."""
    with open(os.path.join(out, "answer.json"), "w", encoding="utf-8") as file:
        json.dump(document, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
