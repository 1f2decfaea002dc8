"""Where a finished image goes: siblings with one verb, each in a file of its own.

A new sink is a new file, and a row in ``parse_output`` when it is an ``--output``.
"""

from layerforge.sinks.archive import ArchiveSink
from layerforge.sinks.layout import LayoutSink
from layerforge.sinks.local import LocalSink
from layerforge.sinks.registry import RegistrySink
from layerforge.sinks.sink import Sink, parse_output

__all__ = ["ArchiveSink", "LayoutSink", "LocalSink", "RegistrySink", "Sink", "parse_output"]
