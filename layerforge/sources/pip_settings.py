"""Where this machine looks for Python packages, by pip's own settings, for handing on to uv, which does not read them.

Source: https://pip.pypa.io/en/stable/topics/configuration/ (files, later ones win; then ``PIP_…`` variables).
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

_SECTIONS = ("global", "install", "download")


class PipSettings(msgspec.Struct, frozen=True):
    """What pip is told about indexes. URLs may hold user names and passwords: never print them."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_index: bool = False
    certificates: str = ""
    keyring_provider: str = ""


def read_pip_settings(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """pip's settings of this machine and user. What cannot be read is passed over, for it is not ours."""
    values: dict[str, str] = {}
    for path in _config_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in _SECTIONS:
            if parser.has_section(section):
                values.update((key.replace("_", "-"), value) for key, value in parser.items(section))
    for name, value in environment.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            values[name[4:].lower().replace("_", "-")] = value
    return PipSettings(
        index_url=values.get("index-url", "").strip(),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        no_index=values.get("no-index", "").strip().lower() in {"1", "true", "yes", "on", "y", "t"},
        certificates=values.get("cert", "").strip(),
        keyring_provider=values.get("keyring-provider", "").strip(),
    )


def _config_files(environment: Mapping[str, str]) -> list[Path]:
    """Those that may exist, least important first. ``PIP_CONFIG_FILE`` set to the null device turns all of them off."""
    chosen = environment.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    home = Path(environment.get("HOME") or "/")
    system = [Path(folder) / "pip/pip.conf" for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*reversed(system), Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf"]
    if environment.get("VIRTUAL_ENV"):
        files.append(Path(environment["VIRTUAL_ENV"]) / "pip.conf")
    return [*files, Path(chosen)] if chosen else files
