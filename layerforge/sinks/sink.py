"""What every sink can do, and how ``--output`` names one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from layerforge.errors import LayerforgeError
from layerforge.oci import Descriptor
from layerforge.progress import SILENCE, Reporter
from layerforge.store import Store


class Sink(Protocol):
    """One destination."""

    def check(self, name: str) -> None:
        """Find out, before anything is built, whether an image called ``name`` could be delivered; change nothing.

        Raises:
            LayerforgeError: it could not.
        """

    def deliver(self, store: Store, manifest: Descriptor, name: str) -> Descriptor:
        """Deliver the image or index ``manifest`` of ``store`` as ``name``, and say what was delivered.

        All or nothing: on an error, the destination is as it was. Delivering twice is the same as once. Every byte is
        verified on its way.

        Raises:
            VerificationError: the store's copy of a blob is damaged.
            SourceError: a file that a layer is read from has changed.
            LayerforgeError: the destination cannot be written.
        """


def parse_output(text: str, reporter: Reporter = SILENCE) -> Sink:
    """The sink that ``dir:PATH`` or ``tar:PATH`` means.

    Raises:
        LayerforgeError: neither of these.
    """
    from layerforge.sinks.archive import ArchiveSink
    from layerforge.sinks.layout import LayoutSink

    kind, _, path = text.partition(":")
    hint = "write dir:PATH for an OCI image layout (a folder), or tar:PATH for an OCI archive (a file)"
    if kind not in ("dir", "tar"):
        raise LayerforgeError(f"--output {text}: not a kind of output", hint=hint)
    if not path:
        raise LayerforgeError(f"--output {text}: no path", hint=hint)
    return LayoutSink(Path(path), reporter) if kind == "dir" else ArchiveSink(Path(path), reporter)
