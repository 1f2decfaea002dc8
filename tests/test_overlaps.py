from __future__ import annotations

from pathlib import Path

import pytest

from layerforge import overlaps
from layerforge.errors import LayerError
from layerforge.layers.overlap import Overlap, find_overlaps
from layerforge.layers.wheel_plan import list_wheel_paths
from layerforge.lock import LockedPython, LockedWheel, PlatformLock
from layerforge.oci import Digest
from layerforge.overlaps import order_wheels, report_overlaps
from layerforge.store import Store
from tests.wheel_samples import make_wheel


class Listener:
    """A Reporter that keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, hint: str = "") -> None:
        assert hint
        self.warnings.append(text)


def put(store: Store, name: str, files: dict[str, bytes], bin_: str = "bin.0") -> LockedWheel:
    """A wheel, as a download in the store."""
    data = make_wheel(name, files=files)
    with store.write_blob() as blob:
        blob.write(data)
        blob.commit(Digest.of(data), folder="materials")
    filename = f"{name}-1.0-py3-none-any.whl"
    return LockedWheel(name, "1.0", filename, "", len(data), Digest.of(data), bin_)


def section(*wheels: LockedWheel) -> PlatformLock:
    python = LockedPython("3.13", "3.13.5", "debian")
    return PlatformLock("linux/amd64", "trixie", python, (), (), (), wheels, ())


def report(store: Store, *wheels: LockedWheel) -> list[str]:
    listener = Listener()
    report_overlaps(section(*wheels), store, listener)  # type: ignore[arg-type]
    return listener.warnings


def test_the_later_of_two_wheels_is_named() -> None:
    first = {"lib/a.py": (1, 1), "lib/same.py": (2, 2), "lib/b.py": (3, 3)}
    second = {"lib/a.py": (9, 1), "lib/same.py": (2, 2), "lib/b.py": (3, 9)}
    assert find_overlaps([("one", first), ("two", second)]) == (Overlap("one", "two", "lib/a.py", 2),)
    assert find_overlaps([("two", second), ("one", first)]) == (Overlap("two", "one", "lib/a.py", 2),)


def test_a_file_that_is_a_folder_elsewhere_is_refused() -> None:
    for order in (1, -1):
        with pytest.raises(LayerError, match="/lib/a is a file in one and a folder in the other"):
            find_overlaps([("one", {"lib/a": (1, 1)}), ("two", {"lib/a/b": (1, 1)})][::order])


def test_the_order_is_that_of_the_image(store: Store) -> None:
    wheels = [
        put(store, "zoo", {"z.py": b""}, "bin.0"),
        put(store, "ant", {"a.py": b""}, "bin.0"),
        put(store, "middle", {"m.py": b""}, "middle"),
        put(store, "beetle", {"b.py": b""}, "beetle"),
    ]
    assert [wheel.name for wheel in order_wheels(wheels)] == ["middle", "beetle", "zoo", "ant"]


def test_overlaps_across_layers_are_told(store: Store) -> None:
    large = put(store, "large", {"shared/__init__.py": b"1", "shared/x.py": b"1"}, "large")
    small = put(store, "small", {"shared/__init__.py": b"2", "shared/x.py": b"2"})
    other = put(store, "other", {"shared/__init__.py": b"3", "top.py": b""})
    site = "usr/local/lib/python3.13/site-packages"
    assert report(store, large, small, other) == [
        f"{large.filename} and {small.filename} both install /{site}/shared/__init__.py and 1 more paths, and "
        "differently: the latter's are used",
    ]
    assert report(store, small, other) == [], "those of one layer are its own remarks"


def test_a_file_in_one_layer_that_is_a_folder_in_another_is_refused(store: Store) -> None:
    with pytest.raises(LayerError, match="is a file in one and a folder in the other") as caught:
        report(store, put(store, "one", {"thing": b""}, "one"), put(store, "two", {"thing/x.py": b""}, "two"))
    assert "one-1.0" in caught.value.where
    assert "only one of them" in caught.value.hint


def test_the_answer_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = (put(store, "one", {"s.py": b"1"}), put(store, "two", {"s.py": b"2"}, "two"))
    first = report(store, *wheels)
    assert len(first) == 1
    for wheel in wheels:
        store.material_path(wheel.digest).unlink()
    monkeypatch.setattr(overlaps, "find_overlaps", lambda _: pytest.fail("found out again"))
    assert report(store, *wheels) == first


def test_wheels_that_were_never_downloaded_are_looked_at_when_they_are(store: Store) -> None:
    one, two = put(store, "one", {"s.py": b"1"}), put(store, "two", {"s.py": b"2"}, "two")
    path = store.material_path(two.digest)
    away = path.with_name("away")
    path.rename(away)
    assert report(store, one, two) == []
    away.rename(path)
    assert len(report(store, one, two)) == 1


def test_a_torn_note_is_passed_over(store: Store) -> None:
    wheels = (put(store, "one", {"s.py": b"1"}), put(store, "two", {"s.py": b"2"}, "two"))
    first = report(store, *wheels)
    for path in (store.root / "notes").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-3])
    assert report(store, *wheels) == first


def test_many_overlaps_are_counted(store: Store) -> None:
    names = [f"package{index:02}" for index in range(12)]
    wheels = [put(store, name, {"LICENSE": name.encode()}, name) for name in names]
    warnings = report(store, *wheels)
    assert warnings[-1] == "3 more pairs of wheels install different files under one path"
    assert len(warnings) == 9


def test_paths_agree_with_the_order_in_which_a_bin_is_written(tmp_path: Path) -> None:
    path = tmp_path / "one-1.0-py3-none-any.whl"
    path.write_bytes(make_wheel("one", files={"one.py": b"123"}))
    paths = list_wheel_paths(path, path.name, "3.13")
    assert paths["usr/local/lib/python3.13/site-packages/one.py"] == (3, 0x884863D2)
