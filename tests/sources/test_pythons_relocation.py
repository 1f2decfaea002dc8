from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from layerforge.errors import LayerError
from layerforge.sources.pythons.relocation import is_mended, mend_file

DATA = "lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py"


def mend_variables(**variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(mend_file(DATA, f"# generated\nbuild_time_vars = {variables!r}\n".encode()), found)
    return dict(found["build_time_vars"])


def test_the_prefix_becomes_that_of_the_image() -> None:
    found = mend_variables(
        prefix="/install",
        LIBDIR="/install/lib",
        DESTDIRS="/install /install/lib /install/lib/python3.12",
        CONFIG_ARGS="'--prefix=/install' '--with-openssl=/tools/deps'",
        LDFLAGS="-L/install/lib -Wl,-rpath,/install/lib",
        other="/installer /usr/install /install-sh x/install",
        HAVE=1,
    )
    assert found["prefix"] == "/opt/python"
    assert found["LIBDIR"] == "/opt/python/lib"
    assert found["DESTDIRS"] == "/opt/python /opt/python/lib /opt/python/lib/python3.12"
    assert found["CONFIG_ARGS"] == "'--prefix=/opt/python' '--with-openssl=/tools/deps'"
    assert found["LDFLAGS"] == "-L/opt/python/lib -Wl,-rpath,/opt/python/lib"
    assert found["other"] == "/installer /usr/install /install-sh x/install"
    assert (found["HAVE"], found["PYTHON_BUILD_STANDALONE"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "built", "mended"),
    [
        ("CC", "clang -pthread", "cc -pthread"),
        ("CC", "/usr/bin/aarch64-linux-gnu-gcc", "cc"),
        ("CC", "gcc-12 -pthread", "cc -pthread"),
        ("CC", "musl-clang", "cc"),
        ("CXX", "clang++ -pthread", "c++ -pthread"),
        ("CXX", "/usr/bin/x86_64-linux-gnu-g++", "c++"),
        ("LDSHARED", "clang -pthread -shared -Wl,--exclude-libs,ALL", "cc -pthread -shared -Wl,--exclude-libs,ALL"),
        ("LDCXXSHARED", "clang++ -shared", "c++ -shared"),
        ("LINKCC", "$(PURIFY) $(CC)", "$(PURIFY) $(CC)"),
        ("AR", "/tools/llvm/bin/llvm-ar", "ar"),
        ("CFLAGS", "-Wall -fprofile=clang", "-Wall -fprofile=clang"),
    ],
)
def test_compilers_get_their_usual_names(name: str, built: str, mended: str) -> None:
    assert mend_variables(**{name: built})[name] == mended


def test_the_result_does_not_depend_on_the_form_of_the_literal() -> None:
    plain = b"build_time_vars = {'B': '/install/lib', 'A': 'one two'}"
    wrapped = b"# x\nbuild_time_vars = {\n 'A': 'one '\n 'two',\n \"B\": '/install/lib'}\n"
    assert mend_file(DATA, plain) == mend_file(DATA, wrapped)


@pytest.mark.parametrize(
    "content", [b"", b"build_time_vars = open('x')", b"x = {}", b"build_time_vars = [1]", b"(", b"\xff"]
)
def test_something_else_is_refused_and_never_executed(content: bytes) -> None:
    with pytest.raises(LayerError, match="cannot be understood"):
        mend_file(DATA, content)


def test_this_machines_own_data_survives() -> None:
    path = sysconfig.get_config_var("LIBDEST")
    (data,) = sorted(Path(path).glob("_sysconfigdata_*linux*.py"))[:1]
    found: dict[str, Any] = {}
    exec(mend_file(DATA, data.read_bytes()), found)
    assert len(found["build_time_vars"]) > 500


def test_other_files() -> None:
    assert mend_file("lib/pkgconfig/python3.pc", b"prefix=/install\nlibdir=${prefix}/lib\n").startswith(
        b"prefix=/opt/python\n"
    )
    details = json.dumps({"base_prefix": "/install", "CC": "clang"}).encode()
    assert json.loads(mend_file("lib/python3.14/build-details.json", details))["base_prefix"] == "/opt/python"
    variables = "lib/python3.14/_sysconfig_vars__linux_x86_64-linux-gnu.json"
    assert json.loads(mend_file(variables, details)) == {"base_prefix": "/opt/python", "CC": "cc"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (DATA, True),
        ("lib/python3.14/_sysconfig_vars__linux_x86_64-linux-gnu.json", True),
        ("lib/python3.14/build-details.json", True),
        ("lib/python3.12/config-3.12-x86_64-linux-gnu/Makefile", True),
        ("lib/pkgconfig/python-3.12-embed.pc", True),
        ("bin/python3.12-config", True),
        ("bin/python3.12", False),
        ("lib/python3.12/sysconfig.py", False),
        ("lib/libpython3.12.so.1.0", False),
    ],
)
def test_which_files_are_mended(path: str, expected: bool) -> None:
    assert is_mended(path) is expected
