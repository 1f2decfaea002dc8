"""What is installed in a root, as ``/var/lib/dpkg/status`` (or a file of ``status.d``) says."""

from __future__ import annotations

from layerforge.errors import VerificationError
from layerforge.sources.debian.control import Package, describe, parse_fields


def parse_status(text: str, *, where: str = "") -> tuple[Package, ...]:
    """The packages in dpkg's status file that are installed, in its order.

    Packages of which only configuration files are left are passed over. A stanza without a Status is one of
    ``status.d``, where images without dpkg keep their record: it is installed.

    Raises:
        VerificationError: a stanza is malformed.
    """
    packages: list[Package] = []
    for stanza in text.split("\n\n"):
        if not stanza.strip():
            continue
        fields: dict[str, str] = {}
        try:
            fields = parse_fields(stanza.strip("\n"))
            if fields.get("Status", "install ok installed").split()[-1] in _PRESENT:
                packages.append(describe(fields))
        except (KeyError, ValueError, IndexError) as error:
            name = fields.get("Package") or "a package"
            raise VerificationError(f"{name}: dpkg's status has no usable {error}", where=where) from error
    return tuple(packages)


_PRESENT = ("installed", "triggers-pending", "triggers-awaited", "unpacked", "half-configured")
"""States in which a package's files are there (dpkg(1))."""
