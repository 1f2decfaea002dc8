"""What scripts do and an image does not need, each with its reason. Reviewed by hand: add nothing without one."""

from __future__ import annotations

IRRELEVANT: dict[str, str] = {
    "deb-systemd-helper": "no init system starts services in an image",
    "deb-systemd-invoke": "nothing runs while an image is made",
    "invoke-rc.d": "nothing runs while an image is made",
    "service": "nothing runs while an image is made",
    "sync": "nothing is lost in a model",
    "systemctl": "nothing runs while an image is made",
    "update-rc.d": "no init system starts services in an image",
}
"""Programs by name: doing nothing is right, and they succeed."""

CALLS: tuple[tuple[str, str], ...] = (
    (r"\S*/python3\.\d+ .*/py_compile\.py\b", "bytecode is compiled when the interpreter's layer is made"),
)
"""Calls by a regular expression that their beginning matches."""

SCRIPTS: dict[tuple[str, str], str] = {}
"""Whole scripts by (package, script)."""
