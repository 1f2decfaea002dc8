from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from layerforge.errors import VerificationError
from layerforge.sources.debian.release import parse_release, verify_clearsigned, verify_detached
from tests.debian_samples import SigningKey, make_release

TEXT = make_release("trixie", {"main/binary-amd64/Packages.xz": b"data"}, Acquire_By_Hash="yes")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


def test_a_signed_release_is_read(key: SigningKey) -> None:
    text = verify_clearsigned(key.clearsign(TEXT), [key.certificate], "InRelease")
    release = parse_release(text, where="InRelease", suite="trixie")
    assert release.acquire_by_hash
    index = release.files["main/binary-amd64/Packages.xz"]
    assert index.size == 4
    assert index.by_hash == f"main/binary-amd64/by-hash/SHA256/{index.digest.hex}"


def test_any_of_several_keys_will_do(key: SigningKey) -> None:
    other = SigningKey().certificate
    assert verify_clearsigned(key.clearsign(TEXT), [other, key.certificate], "x").startswith(b"Suite:")


def test_a_signature_of_another_key_is_refused(key: SigningKey) -> None:
    with pytest.raises(VerificationError, match="no valid signature of a known archive key") as caught:
        verify_clearsigned(key.clearsign(TEXT), [SigningKey().certificate], "InRelease")
    assert "debian-archive-keyring" in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_changed_text_is_refused(key: SigningKey) -> None:
    signed = key.clearsign(TEXT).replace(b"Suite: stable", b"Suite: Stable")
    with pytest.raises(VerificationError, match="no valid signature"):
        verify_clearsigned(signed, [key.certificate], "InRelease")


def test_text_around_the_signed_part_is_never_used(key: SigningKey) -> None:
    forged = b"Codename: forged\n\n" + key.clearsign(TEXT) + b"\nCodename: forged\n"
    assert b"forged" not in verify_clearsigned(forged, [key.certificate], "InRelease")


def test_a_cut_off_file_is_refused(key: SigningKey) -> None:
    with pytest.raises(VerificationError):
        verify_clearsigned(key.clearsign(TEXT)[:-60], [key.certificate], "InRelease")


@pytest.mark.parametrize("data", [b"", TEXT.encode(), b"<html>log in</html>"])
def test_unsigned_data_is_refused(key: SigningKey, data: bytes) -> None:
    with pytest.raises(VerificationError, match="not a signed Release"):
        verify_clearsigned(data, [key.certificate], "InRelease")


def test_detached_signatures(key: SigningKey) -> None:
    signature = key.sign(TEXT)
    assert verify_detached(TEXT.encode(), signature, [key.certificate], "Release") == TEXT.encode()
    with pytest.raises(VerificationError, match="no valid signature"):
        verify_detached(TEXT.encode() + b" ", signature, [key.certificate], "Release")
    with pytest.raises(VerificationError, match="damaged signature"):
        verify_detached(TEXT.encode(), b"rubbish", [key.certificate], "Release")


def test_a_damaged_keyring_is_named(key: SigningKey) -> None:
    with pytest.raises(VerificationError, match="keyring"):
        verify_clearsigned(key.clearsign(TEXT), [b"\x99rubbish"], "InRelease")


def test_valid_until_is_kept() -> None:
    now = datetime(2025, 1, 10, tzinfo=timezone.utc)
    text = make_release("trixie", {"a": b""}, Valid_Until="Fri, 10 Jan 2025 00:00:01 UTC").encode()
    assert parse_release(text, where="x", suite="trixie", now=now).codename == "trixie"
    with pytest.raises(VerificationError, match="expired on Fri, 10 Jan 2025"):
        parse_release(text, where="x", suite="trixie", now=now + timedelta(seconds=1))
    bad = make_release("trixie", {"a": b""}, Valid_Until="soon").encode()
    with pytest.raises(VerificationError, match="unreadable date"):
        parse_release(bad, where="x", suite="trixie", now=now)


def test_the_release_of_another_suite_is_refused() -> None:
    """Or a mirror could answer with an old suite's file, validly signed."""
    with pytest.raises(VerificationError, match="is the Release file of stable, trixie, not of trixie-security"):
        parse_release(TEXT.encode(), where="x", suite="trixie-security")


@pytest.mark.parametrize("line", ["SHA256:\n zz 1 a", "SHA256:\n " + "a" * 64 + " x a", "MD5Sum:\n aa 1 a"])
def test_malformed_checksums_are_refused(line: str) -> None:
    with pytest.raises(VerificationError):
        parse_release(f"Codename: trixie\n{line}\n".encode(), where="x", suite="trixie")
