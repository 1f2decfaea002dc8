"""Where this machine takes standalone builds from: the settings that uv knows, and one of our own.

A mirror of the release files: ``LAYERFORGE_PYTHON_MIRROR``, else ``UV_PYTHON_INSTALL_MIRROR``, else
``python-install-mirror`` in ``uv.toml``. Another catalogue: ``UV_PYTHON_DOWNLOADS_JSON_URL``, else
``python-downloads-json-url`` in ``uv.toml``.
Source: uv, ``docs/reference/settings.md`` and ``docs/reference/environment.md``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import tomli

ORIGIN = "https://github.com/astral-sh/python-build-standalone/releases/download"
"""Where the project publishes its archives; what a mirror stands in for."""

OWN_SETTING = "LAYERFORGE_PYTHON_MIRROR"
_MIRROR_VARIABLES = (OWN_SETTING, "UV_PYTHON_INSTALL_MIRROR")
_CATALOGUE_VARIABLE = "UV_PYTHON_DOWNLOADS_JSON_URL"
_RELEASES = "/releases/download/"


class ArchiveSettings(msgspec.Struct, frozen=True):
    """``mirror``: the URL that stands in for ORIGIN; ``catalogue``: URL or path of a catalogue. Empty: none set."""

    mirror: str = ""
    catalogue: str = ""


def read_archive_settings(environment: Mapping[str, str] = os.environ) -> ArchiveSettings:
    """The settings of this machine."""
    files = _read_uv_files(environment)
    mirror = next((environment[name] for name in _MIRROR_VARIABLES if environment.get(name)), "")
    catalogue = environment.get(_CATALOGUE_VARIABLE, "")
    return ArchiveSettings(
        mirror or files.get("python-install-mirror", ""), catalogue or files.get("python-downloads-json-url", "")
    )


def list_locations(url: str, settings: ArchiveSettings) -> tuple[str, ...]:
    """Where the archive that the catalogue has at ``url`` may be had, best first.

    A mirror is asked instead of the origin, never besides: it may be there to control what is used.
    """
    _, found, path = url.partition(_RELEASES)
    if not found:
        return (url,)
    if settings.mirror:
        return (f"{settings.mirror.rstrip('/')}/{path}",)
    return tuple(dict.fromkeys((url, f"{ORIGIN}/{path}")))


def without_user(url: str) -> str:
    """``url`` without user name, password, query and fragment: fit for a lock, which others read."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _read_uv_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings in uv's files: those of the user go before the machine's."""
    home = Path(environment.get("HOME") or "/")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "uv/uv.toml"
    named = environment.get("UV_CONFIG_FILE")
    found: dict[str, str] = {}
    for path in (Path(named),) if named else (Path("/etc/uv/uv.toml"), user):
        try:
            document = tomli.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError):
            continue  # uv itself complains of it, when it is asked for packages
        found |= {name: value for name, value in document.items() if isinstance(value, str)}
    return found
