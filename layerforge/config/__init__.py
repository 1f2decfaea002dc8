"""``cog.yaml``: text in, :class:`Config` out. Pure: no file is read here."""

from layerforge.config.names import parse_base
from layerforge.config.parse import decode_config, parse_config
from layerforge.config.unsupported import SUPPORTED_PYTHON, refuse_unsupported
from layerforge.config.values import (
    Command,
    Concurrency,
    Config,
    Entry,
    Mount,
    PythonVersion,
    Settings,
    Target,
    Weight,
    WeightSource,
)

__all__ = [
    "SUPPORTED_PYTHON",
    "Command",
    "Concurrency",
    "Config",
    "Entry",
    "Mount",
    "PythonVersion",
    "Settings",
    "Target",
    "Weight",
    "WeightSource",
    "decode_config",
    "parse_base",
    "parse_config",
    "refuse_unsupported",
]
