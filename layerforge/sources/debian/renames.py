"""Names that people still write and a release no longer has: what took their place, and who says so.

A row of ``RENAMED`` is a fact of the archive: the release named in it has the old name as a transitional package that
depends on the new ones, so what the old name installed is what the new ones install. A package with another soname is
never a replacement: programs that want ``libtiff.so.5`` do not start with ``libtiff.so.6``. Such names, and those of
packages that only Ubuntu has, are refused; ``ADVICE`` says what to do about the ones that are met most often.
"""

from __future__ import annotations

import msgspec


class Renamed(msgspec.Struct, frozen=True):
    """``old`` is now called ``new`` (several, where it was split); ``release`` has the package that says so."""

    old: str
    new: tuple[str, ...]
    release: str


RENAMED = (
    Renamed("gpgv2", ("gpgv",), "bullseye"),
    Renamed("idle3", ("idle",), "bullseye"),
    Renamed("libdc1394-22-dev", ("libdc1394-dev",), "bullseye"),
    Renamed("libegl1-mesa", ("libegl1",), "bullseye"),
    Renamed("libffcall1-dev", ("libffcall-dev",), "bullseye"),
    Renamed("libgdk-pixbuf2.0-0", ("libgdk-pixbuf-2.0-0",), "bullseye"),
    Renamed("libgdk-pixbuf2.0-dev", ("libgdk-pixbuf-2.0-dev",), "bullseye"),
    Renamed("libgl1-mesa-glx", ("libgl1", "libglx-mesa0"), "bookworm"),
    Renamed("libgles2-mesa", ("libgles2",), "bullseye"),
    Renamed("liblapack-pic", ("liblapack-dev",), "bullseye"),
    Renamed("liblz4-tool", ("lz4",), "bullseye"),
    Renamed("libopenblas-base", ("libopenblas0",), "bullseye"),
    Renamed(
        "libpango1.0-0",
        ("libpango-1.0-0", "libpangocairo-1.0-0", "libpangoft2-1.0-0", "libpangoxft-1.0-0"),
        "bullseye",
    ),
    Renamed("libsane", ("libsane1",), "bullseye"),
    Renamed("libsensors4-dev", ("libsensors-dev",), "bullseye"),
    Renamed("libwayland-egl1-mesa", ("libwayland-egl1",), "bullseye"),
    Renamed("mime-support", ("mailcap", "media-types"), "bullseye"),
    Renamed("pylint3", ("pylint",), "bullseye"),
    Renamed("rxvt-unicode-256color", ("rxvt-unicode",), "bullseye"),
    Renamed("ttf-unifont", ("fonts-unifont",), "bullseye"),
    Renamed("vim-gtk", ("vim-gtk3",), "bullseye"),
)
"""Source: the Packages file of the release, section oldlibs or a description that says "transitional"."""


class Advice(msgspec.Struct, frozen=True):
    """What to do instead of installing ``name``: ``reason`` says why it is not there, ``hint`` what to write."""

    name: str
    reason: str
    hint: str


_PYTHON_2 = "Python 2 is in no supported release"
_CUDA = "CUDA is not in Debian's main archive"

ADVICE = (
    Advice("python3-distutils", "Python has no distutils since 3.12 (PEP 632)", "write python3-setuptools"),
    Advice(
        "python", _PYTHON_2, "leave it out: the image has python; for programs that look for it in /usr/bin, python3"
    ),
    Advice("python-dev", _PYTHON_2, "write python3-dev"),
    Advice("python-is-python2", _PYTHON_2, "leave it out: the image's python is Python 3"),
    Advice("python-minimal", _PYTHON_2, "leave it out: the image's python is Python 3"),
    Advice("python2", _PYTHON_2, "leave it out: the image's python is Python 3"),
    Advice("exa", "its author gave it up", "write eza, which continues it"),
    Advice("libatlas-base-dev", "ATLAS is in no release after bookworm", "write libopenblas-dev"),
    Advice("youtube-dl", "it is no longer developed", "write yt-dlp, which continues it"),
    Advice("libjpeg-turbo8", "Ubuntu's library, with another soname", "write libjpeg62-turbo if its soname will do"),
    Advice("libjpeg8", "Ubuntu's library, with another soname", "write libjpeg62-turbo if its soname will do"),
    Advice("libjpeg8-dev", "Ubuntu's name", "write libjpeg-dev"),
    Advice("libjpeg-turbo8-dev", "Ubuntu's name", "write libjpeg-dev"),
    Advice("language-pack-en", "Ubuntu's name", "leave it out for C.UTF-8, which is there; else write locales-all"),
    Advice("software-properties-common", "it adds other archives, which an image here does not use", "leave it out"),
    Advice("ttf-mscorefonts-installer", "it is not free, and downloads when installed", "write fonts-liberation"),
    Advice("nvidia-cuda-toolkit", _CUDA, "write gpu: true instead"),
    Advice("libcudnn8", _CUDA, "write gpu: true instead"),
    Advice("libcudnn9-cuda-12", _CUDA, "write gpu: true instead"),
)
"""Sources: PEP 632; Debian release notes (bookworm 5.1, trixie 5.1); packages.ubuntu.com for Ubuntu's names."""
