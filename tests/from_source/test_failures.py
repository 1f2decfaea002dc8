from __future__ import annotations

import pytest

from layerforge.from_source.failures import explain_log, suggest_packages


@pytest.mark.parametrize(
    ("log", "packages"),
    [
        ("error: command 'gcc' failed: No such file or directory", ("build-essential",)),
        ("error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'", ("build-essential",)),
        ("unable to execute 'cc': No such file or directory", ("build-essential",)),
        ("src/common.h:15:10: fatal error: Python.h: No such file or directory", ("python3-dev",)),
        ("x.c:1:10: fatal error: sndfile.h: No such file or directory", ("libsndfile1-dev",)),
        ("x.c:1:10: fatal error: openssl/ssl.h: No such file or directory", ("libssl-dev",)),
        ("/usr/bin/ld: cannot find -lopenblas: No such file or directory", ("libopenblas-dev",)),
        ("/bin/sh: 1: pkg-config: not found\n", ("pkg-config",)),
        ("sh: line 1: cmake: command not found", ("cmake",)),
        ("No package 'libavformat' found\nNo package 'libavcodec' found", ("libavcodec-dev", "libavformat-dev")),
        ("Error: pg_config executable not found.", ("libpq-dev",)),
        ("Cargo, the Rust package manager, is not installed or is not on PATH.", ("cargo",)),
        ("error: can't find Rust compiler", ("rustc",)),
        ("meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc'], ['clang']]", ("build-essential",)),
        ('../meson.build:4:7: ERROR: Dependency "cairo" not found, tried pkgconfig', ("libcairo2-dev",)),
        ("Could NOT find HDF5 (missing: HDF5_LIBRARIES)", ("libhdf5-dev",)),
        ("SyntaxError: invalid syntax", ()),
    ],
)
def test_what_is_missing_is_found_in_debian(log: str, packages: tuple[str, ...]) -> None:
    assert suggest_packages(log) == packages


def test_a_header_that_nobody_knows_is_named() -> None:
    error = explain_log(
        "x", "a.c:1:1: fatal error: strange/thing.h: No such file", 1, "cog.yaml:3", network=False, debian=True
    )
    assert "strange/thing.h" in error.hint
    assert error.where == "cog.yaml:3"


def test_a_build_that_wants_the_network_is_told_of_the_setting() -> None:
    log = "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>"
    assert "build_network: true" in explain_log("x", log, 1, "", network=False, debian=True).hint
    assert "build_network" not in explain_log("x", log, 1, "", network=True, debian=True).hint


def test_a_long_log_is_cut_to_its_errors() -> None:
    log = (
        "".join(f"copying file{n}\n" for n in range(500))
        + "x.c:9: error: no member\nmake: *** Error 1\n"
        + "bye\n" * 40
    )
    message = explain_log("x", log, 2, "", network=False, debian=True).message
    assert "no member" in message
    assert message.count("\n") <= 12
