"""What is left out of every package: documentation, which Debian's own slim images leave out too.

A third of a minimal system is manuals, change logs and translations that nothing in a container reads. Copyright
files stay, as their licences ask. The same rules are written down for dpkg (:data:`DPKG_CONFIG`), so that a package
installed later is treated alike. Source of the list: Debian's ``slim`` images (debuerreotype, ``slimify-excludes``).
"""

from __future__ import annotations

_DROPPED = (
    "usr/share/doc/",
    "usr/share/groff/",
    "usr/share/info/",
    "usr/share/linda/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
)
_ALIAS = "usr/share/locale/locale.alias"

CONFIG_PATH = "etc/dpkg/dpkg.cfg.d/layerforge"

DPKG_CONFIG = "".join(
    (
        "# This image was assembled without documentation; packages installed later are treated alike.\n",
        *(f"path-exclude /{folder}*\n" for folder in _DROPPED),
        "path-include /usr/share/doc/*/copyright\n",
        f"path-include /{_ALIAS}\n",
    )
)


def is_dropped(path: str, kind: str = "file") -> bool:
    """Whether the entry ``path`` (relative to the root) of this kind is left out.

    Links in ``usr/share/doc`` stay, for they lead to copyright files.
    """
    if not path.startswith("usr/share/") or not path.startswith(_DROPPED) or path == _ALIAS:
        return False
    if path.startswith("usr/share/doc/"):
        if kind == "symlink":
            return path.count("/") != 3 and not path.endswith("/copyright")
        if kind != "dir":
            return not path.endswith("/copyright")
    return True
