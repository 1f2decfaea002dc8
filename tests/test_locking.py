"""A lock from beginning to end, against a Debian archive and a package index on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerforge.errors import LockError, OutdatedLockError, ResolveError, SourceError
from layerforge.forge import load_config
from layerforge.lock import Lock
from layerforge.lockfile import decode_lock
from layerforge.locking import lock_model
from layerforge.oci import LINUX_AMD64, Digest
from layerforge.progress import SILENCE
from layerforge.sources.addresses import FILES, list_addresses
from layerforge.sources.download import download
from layerforge.staleness import Upgrade
from layerforge.store import Store
from tests.lock_sites import Site, serve_site, write_model
from tests.wheel_samples import make_wheel

NAME = "pylock.layerforge.toml"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serve_site(tmp_path / "site") as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        made.add_wheel("one")
        made.add_wheel("two", requires=("three",))
        made.add_wheel("three")
        made.packages |= {"jq": "1", "libjq": "1"}
        made.relations["jq"] = {"Depends": "libjq"}
        made.publish()
        yield made


def lock(folder: Path, store: Store, **options: object) -> Lock:
    config = load_config(folder, "cog.yaml", SILENCE)
    return lock_model(folder, config, store, SILENCE, (LINUX_AMD64,), **options)  # type: ignore[arg-type]


def versions(made: Lock) -> dict[str, str]:
    (section,) = made.platforms
    return {item.name: item.version for item in (*section.packages, *section.debs)}


def test_the_same_request_gives_the_same_bytes(site: Site, store: Store, tmp_path: Path) -> None:
    for name, packages, system in (("a", "[one, two]", "[jq, libjq]"), ("b", "[two, one, one]", "[libjq, jq]")):
        lock(write_model(tmp_path / name, packages, system), Store(tmp_path / f"store-{name}"))
    assert (tmp_path / "a" / NAME).read_bytes() == (tmp_path / "b" / NAME).read_bytes()
    assert "127.0.0.1" not in (tmp_path / "a" / NAME).read_text()


def test_a_lock_serves_where_the_index_is_another_one(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]")
    made = lock(folder, store)
    (wheel,) = made.platforms[0].packages
    data = download(store, [], wheel.digest).read_bytes()
    digest = hashlib.blake2b(data, digest_size=32).hexdigest()
    assert wheel.url.endswith(f"packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{wheel.filename}")
    with serve_site(tmp_path / "other", runtime=False) as other:
        other.add_wheel("one")
        addresses = list(list_addresses(wheel, other.environment))
        assert addresses == [f"{other.environment['PIP_INDEX_URL'].removesuffix('/simple')}/{wheel.filename}"]
        fresh = Store(tmp_path / "fresh")
        assert download(fresh, addresses, wheel.digest, size=wheel.size).read_bytes() == data
        fresh.close()
    with serve_site(tmp_path / "empty", runtime=False) as empty, pytest.raises(SourceError, match="is not there"):
        list(list_addresses(wheel, empty.environment))
    plain = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null", "UV_CONFIG_FILE": "/dev/null"}
    assert list(list_addresses(wheel, plain)) == [wheel.url], "PyPI itself, where nothing stands in for it"


def test_what_the_project_names_stays(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "requirements.txt").write_text(f"--extra-index-url {site.environment['PIP_INDEX_URL']}\none\n")
    text = (folder / "cog.yaml").read_text().replace("build:\n", "build:\n  python_requirements: requirements.txt\n")
    (folder / "cog.yaml").write_text(text)
    made = lock(folder, store)
    assert made.platforms[0].packages[0].url.startswith("http://127.0.0.1:")
    assert made.platforms[0].runtime[0].url.startswith(f"{FILES}/")


def test_a_lock_that_fits_asks_nobody(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]", "[jq]")
    made = lock(folder, store)
    site.forget()
    assert lock(folder, store) == made
    assert (site.debian, site.python) == ([], [])


def test_a_python_package_more_does_not_resolve_debian_again(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]", "[jq]")
    lock(folder, store)
    site.packages |= {"jq": "2", "base-files": "2"}
    site.publish()
    site.add_wheel("one", "2.0")
    site.add_wheel("granian", "2.7.0")
    site.forget()
    write_model(folder, "[one, two]", "[jq]")
    assert versions(lock(folder, store)) == {
        **dict.fromkeys(("one", "two", "three"), "1.0"),
        **dict.fromkeys(("jq", "libjq", "base-files", "apt", "ca-certificates", "netbase", "tzdata"), "1"),
        "python3.13": "3.13.1-1",
    }
    assert site.debian == []
    assert not any("granian" in path for path in site.python), "the runtime was resolved again"


def test_a_debian_package_more_does_not_resolve_python_again(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]", "[libjq]")
    before = lock(folder, store)
    site.packages |= {"htop": "1", "tzdata": "2", "libjq": "2"}
    site.relations |= {"htop": {"Depends": "tzdata (>= 2)"}}
    site.publish()
    site.forget()
    write_model(folder, "[one]", "[libjq, htop]")
    after = lock(folder, store)
    assert site.python == []
    assert after.platforms[0].packages == before.platforms[0].packages
    changed = {name for name, version in versions(after).items() if versions(before).get(name) != version}
    assert changed == {"htop", "tzdata"}, "htop needs the new tzdata; libjq may stay"


def test_another_budget_only_spreads_packages_over_layers_again(site: Site, store: Store, tmp_path: Path) -> None:
    names = [f"package{index}" for index in range(20)]
    for name in names:
        site.add_wheel(name)
    folder = write_model(tmp_path / "model", f"[{', '.join(names)}]", "[jq]")
    first = lock(folder, store)
    site.forget()
    (folder / "cog.yaml").write_text((folder / "cog.yaml").read_text() + "layerforge: {max_layers: 8}\n")
    with pytest.raises(LockError, match=r"layerforge\.max_layers: \(none\) → 8"):
        lock(folder, store, locked=True)
    second = lock(folder, store)
    assert (site.debian, site.python) == ([], [])
    assert versions(second) == versions(first)
    bins = [{wheel.bin for wheel in made.platforms[0].packages} for made in (first, second)]
    assert (len(bins[0]), bins[1]) == (8, {"bin.0", "bin.1", "bin.2"})
    assert decode_lock((folder / NAME).read_bytes(), NAME) == second
    assert lock(folder, store, locked=True) == second


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda data: b"<html>", "not a readable zip file"),
        (lambda data: data[:200], "not a readable zip file"),
        (lambda data: data[: data.index(b"Name")] + b"X" + data[data.index(b"Name") + 1 :], "is damaged"),
        (lambda data: make_wheel("other", stored=("other-1.0.dist-info/METADATA",)), "the metadata of another package"),
    ],
    ids=["garbage", "truncated", "damaged", "another"],
)
def test_a_broken_wheel_of_the_project_is_named(
    breakage: Callable[[bytes], bytes], message: str, site: Site, store: Store, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "cog.yaml").write_text("build: {python_requirements: requirements.txt}\nrun: run.py:Runner\n")
    (folder / "requirements.txt").write_text("./broken-1.0-py3-none-any.whl\n")
    wheel = folder / "broken-1.0-py3-none-any.whl"
    data = make_wheel("broken", stored=("broken-1.0.dist-info/METADATA",))
    wheel.write_bytes(data)
    lock(folder, store)
    before = (folder / NAME).read_bytes()
    wheel.write_bytes(breakage(data))
    with pytest.raises(ResolveError, match=message) as caught:
        lock(folder, store)
    assert (caught.value.where, caught.value.hint) == ("requirements.txt:1", "build the wheel again")
    assert (folder / NAME).read_bytes() == before
    wheel.write_bytes(make_wheel("broken", files={"broken/__init__.py": b"VALUE = 2\n"}))
    assert lock(folder, store).platforms[0].packages[0].digest == Digest.of(wheel.read_bytes())


def test_a_version_that_is_gone_is_not_kept(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]", "[libjq]")
    before = lock(folder, store)
    site.packages |= {"tzdata": "2", "libjq": "2"}
    site.pool_path("libjq", "1").unlink()
    site.publish()
    write_model(folder, "[one]", "[libjq, jq]")
    assert versions(lock(folder, store)) == {**versions(before), "libjq": "2", "jq": "1"}


def test_upgrades(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one, two]", "[jq]")
    before = lock(folder, store)
    site.add_wheel("one", "2.0")
    site.add_wheel("two", "2.0", requires=("three",))
    site.add_wheel("three", "2.0")
    site.forget()
    after = lock(folder, store, upgrade=Upgrade(names=frozenset({"One"})))
    assert {**versions(before), "one": "2.0"} == versions(after)
    assert site.debian == []
    site.packages["jq"] = "2"
    site.publish()
    site.forget()
    after = lock(folder, store, upgrade=Upgrade(names=frozenset({"jq"})))
    assert {**versions(before), "one": "2.0", "jq": "2"} == versions(after)
    assert site.python == []
    with pytest.raises(LockError, match="no package 'threee'") as caught:
        lock(folder, store, upgrade=Upgrade(names=frozenset({"threee"})))
    assert caught.value.hint == "did you mean three?"
    site.packages |= dict.fromkeys(("base-files", "python3.13"), "2")
    site.publish()
    after = lock(folder, store, upgrade=Upgrade(everything=True))
    assert versions(after)["three"] == "2.0"
    assert versions(after)["base-files"] == "2"
    assert after.platforms[0].python.version == "3.13.2"


def test_a_stale_lock_says_what_differs(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]", "[jq]")
    with pytest.raises(LockError, match="does not exist"):
        lock(folder, store, locked=True)
    lock(folder, store)
    data = (folder / NAME).read_bytes()
    write_model(folder, "[two]", "[libjq]", "3.12")
    with pytest.raises(LockError) as caught:
        lock(folder, store, locked=True)
    assert caught.value.message.splitlines()[1:] == [
        "  build.python_version: 3.13 → 3.12",
        "  build.system_packages: - jq",
        "  build.system_packages: + libjq",
        "  Python requirements: - one",
        "  Python requirements: + two",
    ]
    assert "layerforge lock" in caught.value.hint
    assert (folder / NAME).read_bytes() == data


def test_a_lock_that_cannot_be_read(site: Site, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "[one]")
    made = lock(folder, store)
    whole = (folder / NAME).read_text()
    (folder / NAME).write_text(whole.replace("format = 3", "format = 2"))
    with pytest.raises(OutdatedLockError):
        lock(folder, store, locked=True)
    assert lock(folder, store) == made
    for damage in (
        whole.replace("format = 3", "format = 99"),
        "<<<<<<< HEAD\n" + whole,
        whole.replace("1.0", "1.1", 3),
    ):
        (folder / NAME).write_text(damage)
        with pytest.raises(LockError, match=r"layerforge|TOML|hold together|edited") as caught:
            lock(folder, store)
        assert "layerforge lock --upgrade" in caught.value.hint
        assert (folder / NAME).read_text() == damage
        assert lock(folder, store, upgrade=Upgrade(everything=True)) == made


def test_no_password_is_written_down(site: Site, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    folder = write_model(tmp_path / "model")
    url = site.environment["PIP_INDEX_URL"].replace("http://", "http://someone:${PASSWORD}@")
    (folder / "requirements.txt").write_text(f"--index-url {url}\none\n")
    text = (folder / "cog.yaml").read_text().replace("build:\n", "build:\n  python_requirements: requirements.txt\n")
    (folder / "cog.yaml").write_text(text)
    lock(folder, store)
    assert "s3cret" not in (folder / NAME).read_text()
    assert "someone" not in (folder / NAME).read_text()
    assert lock(folder, store, locked=True)
