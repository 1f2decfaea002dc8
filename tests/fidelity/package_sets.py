"""The sets of packages whose roots are compared: what models name, and what makes scripts and triggers work."""

from __future__ import annotations

MINORS = {"bookworm": "3.11", "trixie": "3.13"}
"""The Python of each release."""

SETS: dict[str, tuple[str, ...]] = {
    "python": (),
    "python3": ("python3", "python3-venv", "python3-numpy"),
    "ffmpeg": ("ffmpeg", "libsndfile1", "sox"),
    "git": ("git", "git-lfs", "curl", "wget", "unzip"),
    "build": ("build-essential", "cmake", "ninja-build", "pkg-config"),
    "tesseract": ("tesseract-ocr", "poppler-utils", "ghostscript"),
    "imagemagick": ("imagemagick",),
    "espeak": ("espeak-ng", "portaudio19-dev"),
    "opencv": ("libgl1", "libglib2.0-0", "libsm6", "libxext6", "libxrender1"),
    "fonts": ("fontconfig", "fonts-dejavu", "fonts-liberation"),
    "gtk": ("libgtk-3-0", "librsvg2-common", "gdk-pixbuf", "adwaita-icon-theme", "glib-networking"),
    "ssh": ("openssh-client", "rsync", "gnupg"),
    "locales": ("locales", "procps", "less", "vim-tiny"),
    "blas": ("libopenblas0", "liblapack3", "fakeroot"),
    "mpi": ("libopenmpi-dev",),
    "java": ("default-jre-headless",),
    "servers": ("nginx-light", "redis-server"),
    "diversions": ("perl-doc", "parallel", "moreutils", "zutils", "molly-guard", "systemd-sysv"),
}
"""Names by set. A name may be one that only an older release has: see RENAMED."""

RENAMED: dict[str, dict[str, tuple[str, ...]]] = {
    "bookworm": {"gdk-pixbuf": ("libgdk-pixbuf2.0-bin",)},
    "trixie": {
        "libglib2.0-0": ("libglib2.0-0t64",),
        "libgtk-3-0": ("libgtk-3-0t64",),
        "gdk-pixbuf": ("libgdk-pixbuf2.0-bin",),
        "nginx-light": ("nginx",),
    },
}
"""What a release has in place of a name."""


def names_of(release: str, name: str) -> list[str]:
    """The packages of the set ``name`` in ``release``."""
    renamed = RENAMED[release]
    return [other for package in SETS[name] for other in renamed.get(package, (package,))]
