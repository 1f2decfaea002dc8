"""The table of emulated programs. A new family is a module with ``COMMANDS`` and a row here."""

from __future__ import annotations

from layerforge.sources.debian.scripts import (
    accounts,
    alternatives,
    arguments,
    capabilities,
    configfiles,
    copying,
    debconf,
    diversions,
    dpkg,
    files,
    inspection,
    matching,
    permissions,
    sysusers,
    text,
)
from layerforge.sources.debian.scripts.calls import Emulation

COMMANDS: dict[str, Emulation] = {
    **accounts.COMMANDS,
    **alternatives.COMMANDS,
    **arguments.COMMANDS,
    **capabilities.COMMANDS,
    **configfiles.COMMANDS,
    **copying.COMMANDS,
    **debconf.COMMANDS,
    **diversions.COMMANDS,
    **dpkg.COMMANDS,
    **files.COMMANDS,
    **inspection.COMMANDS,
    **matching.COMMANDS,
    **permissions.COMMANDS,
    **sysusers.COMMANDS,
    **text.COMMANDS,
}
"""Emulations by the name of the program."""
