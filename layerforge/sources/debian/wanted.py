"""Which files of a package are kept as facts, because some part of the root's state is made from their content.

To keep more, add a folder or a suffix here. The lists are part of :data:`REVISION`, so facts kept by an earlier
version of them are read again from the packages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from layerforge.sources.debian.deb import ControlFile

FOLDERS = (
    "etc/ghostscript/",
    "etc/ld.so.conf",
    "usr/lib/sysusers.d/",
    "usr/lib/tmpfiles.d/",
    "usr/lib/php/php-maintscript-helper",
    "usr/sbin/add-shell",
    "usr/sbin/update-shells",
    "usr/share/base-files/",
    "usr/share/base-passwd/",
    "usr/share/ca-certificates/",
    "usr/share/debianutils/",
    "usr/share/glib-2.0/schemas/",
    "usr/share/libc-bin/",
    "usr/share/mime/packages/",
    "usr/share/pam-configs/",
    "usr/share/pam/",
    "usr/share/postgresql-common/maintscripts-functions",
    "usr/share/readline/",
)
"""Beginnings of paths (in our usr-merged root) whose files are kept whatever their package."""

SUFFIXES: tuple[str, ...] = ()
"""Endings of paths whose files are kept."""

LIMIT = 4 << 20
"""Bytes: larger files are not kept, though named above. The largest so far, the list of MIME types, has 2.4 MiB."""

NAMED_LIMIT = 64 << 10
"""Bytes: a file of at most this size is kept when one of its package's own scripts names it."""

_PROGRAMS = ("usr/bin/", "usr/sbin/")
"""Folders of programs, which scripts name without their folder."""

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")

REVISION = hashlib.sha256(repr((4, FOLDERS, SUFFIXES, LIMIT, NAMED_LIMIT)).encode()).hexdigest()[:12]
"""Names the form and the choice of facts. Raise the number in it when the code that collects them changes."""


class Wanted:
    """Decides for one package, whose control files are ``control``."""

    def __init__(self, control: Mapping[str, ControlFile]) -> None:
        self._scripts = b"\n".join(control[name].content for name in SCRIPTS if name in control)

    def wants(self, path: str, shipped: str, size: int) -> bool:
        """Whether to keep the file at ``path`` in our root, ``shipped`` in its package, of ``size`` bytes."""
        if path.startswith(FOLDERS) or (SUFFIXES and path.endswith(SUFFIXES)):
            return size <= LIMIT
        if not self._scripts or size > NAMED_LIMIT:
            return False
        names = {f"/{name}" for name in (path, shipped)}
        if path.startswith(_PROGRAMS):
            names.add(path.rpartition("/")[2])
        return any(name.encode("utf-8", "surrogateescape") in self._scripts for name in names)
