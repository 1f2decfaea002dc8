"""The table of emulated programs. A new family is a module with ``COMMANDS`` and a row here."""

from __future__ import annotations

from layerforge.sources.debian.scripts import debconf
from layerforge.sources.debian.scripts.calls import Emulation

COMMANDS: dict[str, Emulation] = {**debconf.COMMANDS}
"""Emulations by the name of the program."""
