"""The configuration blob. Source: OCI image specification 1.1, ``config.md``."""

from __future__ import annotations

import re
from typing import Any

from layerforge.oci import CONFIG, Descriptor, ImageConfig, decode
from layerforge.validate.findings import Findings
from layerforge.validate.manifest import inspect_annotations

_PORT = re.compile(r"([0-9]{1,5})(/(tcp|udp))?")
_SIGNAL = re.compile(r"SIG[A-Z0-9]+([+-][0-9]+)?|[0-9]{1,2}")


def validate_config(data: bytes, descriptor: Descriptor, *, layers: int | None = None) -> ImageConfig:
    """The configuration of an image with that many ``layers``; None when it is to be looked at alone.

    Raises:
        ImageError: everything that is wrong with it.
    """
    findings = Findings(f"config {descriptor.digest.short}")
    inspect_config(data, descriptor, layers, findings)
    findings.check()
    return decode(data, ImageConfig)


def inspect_config(data: bytes, descriptor: Descriptor, layers: int | None, findings: Findings) -> None:
    """Note what is wrong with a configuration."""
    findings.measure(data, descriptor)
    if descriptor.media_type != CONFIG:
        findings.add("", f"its descriptor says {descriptor.media_type}, not {CONFIG}")
    document = findings.parse(data)
    for key in ("architecture", "os"):
        if findings.get(document, key, str, needed=True) == "":
            findings.add(key, "is empty")
    for key in ("author", "variant", "os.version"):
        findings.get(document, key, str)
    created = findings.get(document, "created", str)
    if created is not None:
        findings.check_time(created, "created")
    _inspect_container(findings.get(document, "config", dict) or {}, findings)
    count = _inspect_rootfs(findings.get(document, "rootfs", dict, needed=True), findings)
    if count is not None and layers is not None and count != layers:
        findings.add("rootfs.diff_ids", f"has {count} entries for {layers} layers")
    _inspect_history(findings.get(document, "history", list), count, findings)


def _inspect_rootfs(rootfs: dict[str, Any] | None, findings: Findings) -> int | None:
    if rootfs is None:
        return None
    kind = findings.get(rootfs, "type", str, "rootfs", needed=True)
    if kind not in (None, "layers"):
        findings.add("rootfs.type", f"is {kind!r}, not 'layers'")
    if findings.get(rootfs, "diff_ids", list, "rootfs", needed=True) is None:
        return None
    for number, diff_id in enumerate(findings.get_strings(rootfs, "diff_ids", "rootfs")):
        findings.check_digest(diff_id, f"rootfs.diff_ids[{number}]")
    return len(rootfs["diff_ids"])


def _inspect_history(history: list[Any] | None, layers: int | None, findings: Findings) -> None:
    if history is None:
        return
    made = 0
    for number, entry in enumerate(history):
        place = f"history[{number}]"
        if not isinstance(entry, dict):
            findings.add(place, "is not an object")
            continue
        created = findings.get(entry, "created", str, place)
        if created is not None:
            findings.check_time(created, f"{place}.created")
        for key in ("author", "created_by", "comment"):
            findings.get(entry, key, str, place)
        made += not findings.get(entry, "empty_layer", bool, place)
    if layers is not None and made != layers:
        findings.add("history", f"tells of {made} layers, where there are {layers}")


def _inspect_container(container: dict[str, Any], findings: Findings) -> None:
    for key in ("User", "StopSignal", "WorkingDir"):
        findings.get(container, key, str, "config")
    signal = container.get("StopSignal")
    if isinstance(signal, str) and signal and not _SIGNAL.fullmatch(signal):
        findings.add("config.StopSignal", f"{signal!r} is not a signal")
    folder = container.get("WorkingDir")
    if isinstance(folder, str) and folder and not folder.startswith("/"):
        findings.add("config.WorkingDir", f"{folder!r} is not absolute")
    for key in ("Entrypoint", "Cmd"):
        findings.get_strings(container, key, "config")
    _inspect_environment(findings.get_strings(container, "Env", "config"), findings)
    for port in _inspect_set(container, "ExposedPorts", findings):
        match = _PORT.fullmatch(port)
        if match is None or not 1 <= int(match[1]) <= 65535:
            findings.add("config.ExposedPorts", f"{port!r} is not PORT, PORT/tcp or PORT/udp")
    for path in _inspect_set(container, "Volumes", findings):
        if not path.startswith("/"):
            findings.add("config.Volumes", f"{path!r} is not absolute")
    inspect_annotations(findings.get(container, "Labels", dict, "config"), "config.Labels", findings)


def _inspect_environment(entries: list[str], findings: Findings) -> None:
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        name, equals, _ = entry.partition("=")
        place = f"config.Env[{number}]"
        if not name or not equals or "\0" in entry:
            findings.add(place, f"{entry!r} is not NAME=value")
        elif name in seen:
            findings.add(place, f"{name} is set twice")
        seen.add(name)


def _inspect_set(container: dict[str, Any], key: str, findings: Findings) -> list[str]:
    """The members of a Go ``map[string]struct{}``: keys, each with an empty object."""
    members = findings.get(container, key, dict, "config") or {}
    for member, value in members.items():
        if value != {}:
            findings.add(f"config.{key}[{member!r}]", "is not an empty object")
    return list(members)
