"""Caches of plug-in modules: gdk-pixbuf's image loaders, GIO's modules, GTK's input methods.

The programs that write them load every module and ask it what it can do, so the answers of Debian's modules are kept
here; they are the same in every release since 2020. A module that is not known here is left out and reported. For GIO
that is no loss (a module that the cache does not name is loaded and asked at run time); gdk-pixbuf and GTK use
nothing that is not in the cache. Formats: gdk-pixbuf ``gdk-pixbuf-io.c``, GLib ``giomodule.c``, GTK ``gtkimmodule.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from layerforge.sources.debian.rootstate import Entries, file_entry

_LOADERS = re.compile(r"(usr/lib/[^/]+/gdk-pixbuf-2\.0/2\.10\.0)/loaders/libpixbufloader[-_]([^/]+)\.so")
_GIO_MODULES = re.compile(r"(usr/lib/[^/]+/gio/modules)/(lib[^/]+\.so)")
_INPUT_METHODS = re.compile(r"(usr/lib/[^/]+/gtk-3\.0/3\.0\.0)/immodules/im-([^/]+)\.so")


_PIXBUF_LOADERS = {
    "ani": r"""
"ani" 4 "gdk-pixbuf" "Windows animated cursor" "LGPL"
"application/x-navi-animation" ""
"ani" ""
"RIFF    ACON" "    xxxx    " 100
""",
    "avif": r"""
"avif" 5 "gdk-pixbuf" "AV1 Image File Format" "BSD"
"image/avif" ""
"avif" ""
"    ftypavif" "zzz         " 100
""",
    "bmp": r"""
"bmp" 5 "gdk-pixbuf" "BMP" "LGPL"
"image/bmp" "image/x-bmp" "image/x-MS-bmp" ""
"bmp" ""
"BM" "" 100
""",
    "gif": r"""
"gif" 4 "gdk-pixbuf" "GIF" "LGPL"
"image/gif" ""
"gif" ""
"GIF8" "" 100
""",
    "heif": r"""
"heif/avif" 4 "pixbufloader-heif" "HEIF/AVIF Image" "LGPL3"
"image/heif" "image/heic" "image/avif" ""
"heif" "heic" "avif" ""
"    ftyp" "xxxx    " 100
""",
    "icns": r"""
"icns" 4 "gdk-pixbuf" "MacOS X icon" "GPL"
"image/x-icns" ""
"icns" ""
"icns" "" 100
""",
    "ico": r"""
"ico" 5 "gdk-pixbuf" "Windows icon" "LGPL"
"image/x-icon" "image/x-ico" "image/x-win-bitmap" "image/vnd.microsoft.icon" "application/ico" "image/ico" "image/icon" "text/ico" ""
"ico" "cur" ""
"  \001   " "zz znz" 100
"  \002   " "zz znz" 100
""",  # noqa: E501
    "pnm": r"""
"pnm" 4 "gdk-pixbuf" "PNM/PBM/PGM/PPM" "LGPL"
"image/x-portable-anymap" "image/x-portable-bitmap" "image/x-portable-graymap" "image/x-portable-pixmap" ""
"pnm" "pbm" "pgm" "ppm" ""
"P1" "" 100
"P2" "" 100
"P3" "" 100
"P4" "" 100
"P5" "" 100
"P6" "" 100
""",
    "qtif": r"""
"qtif" 4 "gdk-pixbuf" "QuickTime" "LGPL"
"image/x-quicktime" "image/qtif" ""
"qtif" "qif" ""
"abcdidsc" "xxxx    " 100
"abcdidat" "xxxx    " 100
""",
    "svg": r"""
"svg" 6 "gdk-pixbuf" "Scalable Vector Graphics" "LGPL"
"image/svg+xml" "image/svg" "image/svg-xml" "image/vnd.adobe.svg+xml" "text/xml-svg" "image/svg+xml-compressed" ""
"svg" "svgz" "svg.gz" ""
" <svg" "*    " 100
" <!DOCTYPE svg" "*             " 100
""",
    "tga": r"""
"tga" 4 "gdk-pixbuf" "Targa" "LGPL"
"image/x-tga" ""
"tga" "targa" ""
" \001\001" "x  " 100
" \001\t" "x  " 100
"  \002" "xz " 99
"  \003" "xz " 100
"  \n" "xz " 100
"  \v" "xz " 100
""",
    "tiff": r"""
"tiff" 5 "gdk-pixbuf" "TIFF" "LGPL"
"image/tiff" ""
"tiff" "tif" ""
"MM *" "  z " 100
"II* " "   z" 100
"II* \020   CR\002 " "   z zzz   z" 0
""",
    "webp": r"""
"webp" 5 "gdk-pixbuf" "The WebP image format" "LGPL"
"image/webp" "audio/x-riff" ""
"webp" ""
"RIFFsizeWEBP" "    xxxx    " 100
""",
    "xbm": r"""
"xbm" 4 "gdk-pixbuf" "XBM" "LGPL"
"image/x-xbitmap" ""
"xbm" ""
"#define " "" 100
"/*" "" 50
""",
    "xpm": r"""
"xpm" 4 "gdk-pixbuf" "XPM" "LGPL"
"image/x-xpixmap" ""
"xpm" ""
"/* XPM */" "" 100
""",
}
"""What each loader says of itself: name, flags, titles; MIME types; suffixes; signatures with mask and weight."""

_GIO_EXTENSIONS = {
    "libdconfsettings.so": "gsettings-backend",
    "libgiognomeproxy.so": "gio-proxy-resolver",
    "libgiognutls.so": "gio-tls-backend",
    "libgiolibproxy.so": "gio-proxy-resolver",
    "libgioremote-volume-monitor.so": "gio-native-volume-monitor,gio-volume-monitor",
    "libgvfsdbus.so": "gio-vfs,gio-volume-monitor",
}
"""The extension points that each module implements."""

_GTK_METHODS = {
    "am-et": ("am_et", "Amharic (EZ+)", "am"),
    "broadway": ("broadway", "Broadway", ""),
    "cedilla": ("cedilla", "Cedilla", "az:ca:co:fr:gv:oc:pt:sq:tr:wa"),
    "cyrillic-translit": ("cyrillic_translit", "Cyrillic (Transliterated)", ""),
    "inuktitut": ("inuktitut", "Inuktitut (Transliterated)", "iu"),
    "ipa": ("ipa", "IPA", ""),
    "multipress": ("multipress", "Multipress", ""),
    "thai": ("thai", "Thai-Lao", "lo:th"),
    "ti-er": ("ti_er", "Tigrigna-Eritrean (EZ+)", "ti"),
    "ti-et": ("ti_et", "Tigrigna-Ethiopian (EZ+)", "ti"),
    "viqr": ("viqr", "Vietnamese (VIQR)", ""),
    "wayland": ("wayland", "Wayland", ""),
    "xim": ("xim", "X Input Method", "ko:ja:th:zh"),
}
"""Identifier, title and languages of each input method."""


def pixbuf_state(paths: Iterable[str], version: str) -> tuple[Entries, tuple[str, ...]]:
    """``loaders.cache`` for the loaders among ``paths``, and the loaders that are not known.

    ``version`` is that of gdk-pixbuf (``2.42.12``), for the comment at the top.
    """
    entries: Entries = {}
    found, unknown = _find(_LOADERS, paths, 2, _PIXBUF_LOADERS)
    for folder, modules in found.items():
        text = (
            "# GdkPixbuf Image Loader Modules file\n# Automatically generated file, do not edit\n"
            f"# Created by gdk-pixbuf-query-loaders from gdk-pixbuf-{version}\n#\n"
        )
        for path, name in modules:
            text += f'"/{path}"\n{_PIXBUF_LOADERS[name].strip()}\n\n'
        entries[f"{folder}/loaders.cache"] = file_entry(text + "\n")
    return entries, unknown


def gio_state(paths: Iterable[str]) -> tuple[Entries, tuple[str, ...]]:
    """``giomodule.cache`` for the GIO modules among ``paths``, and the modules that are not known."""
    found, unknown = _find(_GIO_MODULES, paths, 2, _GIO_EXTENSIONS)
    return {
        f"{folder}/giomodule.cache": file_entry("".join(f"{name}: {_GIO_EXTENSIONS[name]}\n" for _, name in modules))
        for folder, modules in found.items()
    }, unknown


def input_method_state(paths: Iterable[str], version: str, package: str) -> tuple[Entries, tuple[str, ...]]:
    """GTK 3's ``immodules.cache`` for the input methods among ``paths``, and those that are not known.

    ``version`` is GTK's, and ``package`` names the library's, which the program is installed with.
    """
    entries: Entries = {}
    found, unknown = _find(_INPUT_METHODS, paths, 2, _GTK_METHODS)
    for folder, modules in found.items():
        base = folder.rpartition("/3.0.0")[0]
        places = (f"/{base}/{place}immodules" for place in ("3.0.0/linux/", "3.0.0/", "linux/", ""))
        top = base.rpartition("/")[0]
        text = (
            "# GTK+ Input Method Modules file\n# Automatically generated file, do not edit\n"
            f"# Created by /{top}/{package}/gtk-query-immodules-3.0 from gtk+-{version}\n#\n"
            f"# ModulesPath = {':'.join(places)}\n#\n"
        )
        for path, name in modules:
            identifier, title, languages = _GTK_METHODS[name]
            text += f'"/{path}" \n"{identifier}" "{title}" "gtk30" "/usr/share/locale" "{languages}" \n\n'
        entries[f"{folder}/immodules.cache"] = file_entry(text)
    return entries, unknown


def _find(
    pattern: re.Pattern[str], paths: Iterable[str], group: int, known: Iterable[str]
) -> tuple[dict[str, list[tuple[str, str]]], tuple[str, ...]]:
    """(path, name) of the known modules in each folder, in the order of their paths; and the paths of the others."""
    names = frozenset(known)
    found: dict[str, list[tuple[str, str]]] = {}
    unknown: list[str] = []
    for path in sorted(set(paths)):
        match = pattern.fullmatch(path)
        if match is None:
            continue
        if match[group] in names:
            found.setdefault(match[1], []).append((path, match[group]))
        else:
            unknown.append(path)
    return found, tuple(unknown)
