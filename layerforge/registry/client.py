"""One repository of a registry: manifests and blobs, verified both ways.

What is repeated, and why that is safe: GET and HEAD always; an upload only after HEAD has shown that the blob is still
missing, and from the offset that the registry reports, so that no byte can arrive twice; a manifest's PUT only after
its tag has been seen not to hold it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlencode

import urllib3

from layerforge.errors import RegistryError, VerificationError
from layerforge.oci import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor, Digest
from layerforge.progress import SILENCE, Reporter
from layerforge.reference import Reference
from layerforge.registry.failures import Unreachable, redact
from layerforge.registry.feed import CHUNK, Feed, Readable
from layerforge.registry.memory import Memory
from layerforge.registry.profile import read_settings
from layerforge.registry.retry import ATTEMPTS, Retry
from layerforge.registry.session import Session
from layerforge.registry.transport import Body, read_answer
from layerforge.registry.upload import Uploads, compare_digests
from layerforge.verify import Joined, Source, VerifiedReader

_ACCEPT = {"Accept": ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))}
_SMALL = 64 << 10  # bytes that travel in one round trip, more or less
_STORED = (200, 201, 202, 204)


class Registry:
    """The repository that ``reference`` names. Safe to use from several threads; use it as a context manager.

    ``insecure`` True speaks plain HTTP, False HTTPS; None decides by the address, see :class:`Session`. ``push`` asks
    for the right to write as well as to read, ``delete`` for that to delete. Setting ``stop`` ends everything under way
    with ``Stopped``. ``memory`` keeps what is worth knowing the next time.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        insecure: bool | None = None,
        push: bool = True,
        delete: bool = False,
        reporter: Reporter = SILENCE,
        stop: threading.Event | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.reference = reference
        self._retry = Retry(reporter, stop or threading.Event())
        self._session = Session(reference, insecure, self._retry, reporter)
        actions = "delete" if delete else "pull,push" if push else "pull"
        self._scope = f"repository:{reference.repository}:{actions}"
        self._root = f"/v2/{reference.repository}"
        self._memory = memory or Memory(reference)
        settings = read_settings(os.environ)
        self._uploads = Uploads(self._session, self._root, self._scope, self._memory, settings, reporter)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections, and let other processes take up what is unfinished."""
        self._memory.close()
        self._session.close()

    # -- manifests -------------------------------------------------------------------------------------------

    def get_manifest(self, name: str) -> tuple[Descriptor, bytes]:
        """The manifest or index under a tag or digest, verified.

        Raises:
            RegistryError: it is not there (status 404), or the registry refused.
            VerificationError: the bytes are not the ones that the digest, or the registry's header, names.
        """
        answer = self._session.ask("GET", f"{self._root}/manifests/{name}", self._scope, _ACCEPT)
        if answer.status != 200:
            raise self._session.refuse(answer, self._scope)
        media_type = answer.headers.get("content-type", MANIFEST).partition(";")[0].strip()
        found = Descriptor(media_type, Digest.of(answer.body), len(answer.body))
        expected = name if ":" in name else answer.headers.get("docker-content-digest", "")
        if expected.startswith("sha256:") and expected != found.digest:
            raise VerificationError(f"content has digest {found.digest}, not {expected}", where=redact(answer.url))
        return found, answer.body

    def find_manifest(self, name: str) -> tuple[Descriptor, bytes] | None:
        """As :meth:`get_manifest`, but None when it is not there."""
        try:
            return self.get_manifest(name)
        except RegistryError as error:
            if error.status == 404:
                return None
            raise

    def push_manifest(self, name: str, descriptor: Descriptor, data: bytes) -> None:
        """Store ``data`` under ``name``, a tag or its own digest. Idempotent; the blobs it lists must be there.

        Raises:
            RegistryError: the registry refused.
            VerificationError: the registry says that it stored something else.
        """
        path, headers = f"{self._root}/manifests/{name}", {"Content-Type": descriptor.media_type}

        def once(attempt: int) -> None:
            if attempt and self._holds_manifest(name, descriptor.digest):
                return
            body = Body(len(data), lambda: iter((data,)))
            answer = self._session.exchange("PUT", path, self._scope, headers, body)
            if answer.status not in _STORED:
                raise self._session.refuse(answer, self._scope, len(data))
            compare_digests(answer, descriptor.digest)

        self._retry.repeat(once)

    def delete_manifest(self, name: str) -> None:
        """Delete a tag, or by its digest a manifest with all its tags (``spec.md#deleting-tags``).

        Raises:
            RegistryError: it is not there, or the registry deletes nothing, or no tags.
        """
        answer = self._session.ask("DELETE", f"{self._root}/manifests/{name}", self._scope)
        if answer.status in (200, 202):
            return
        failure = self._session.refuse(answer, self._scope)
        if ":" not in name and (answer.status in (400, 405) or failure.code in ("UNSUPPORTED", "DIGEST_INVALID")):
            failure.hint = "this registry deletes no tags: name the image by its digest, which removes all its tags"
        elif answer.status == 405:
            failure.hint = "this registry has deleting switched off"
        raise failure

    def _holds_manifest(self, name: str, digest: Digest) -> bool:
        answer = self._session.ask("HEAD", f"{self._root}/manifests/{name}", self._scope, _ACCEPT)
        return answer.status == 200 and answer.headers.get("docker-content-digest") == digest

    # -- blobs -----------------------------------------------------------------------------------------------

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has the blob.

        Raises:
            RegistryError: the registry refused to say.
        """
        answer = self._session.ask("HEAD", f"{self._root}/blobs/{digest}", self._scope)
        if answer.status not in (200, 404):
            raise self._session.refuse(answer, self._scope)
        return answer.status == 200

    def mount_blob(self, digest: Digest, repository: str) -> bool:
        """Take the blob from another repository of the same registry, if the registry can; nothing is sent.

        Source: ``spec.md#mounting-a-blob-from-another-repository``.
        """
        scope = f"{self._scope} repository:{repository}:pull"
        query = urlencode({"mount": digest, "from": repository})
        try:
            answer = self._session.exchange("POST", f"{self._root}/blobs/uploads/?{query}", scope, body=_EMPTY)
        except RegistryError:
            return False  # a mount only saves time: without it the blob is uploaded
        if answer.status == 202:
            with suppress(RegistryError):  # a session without a place cannot be ended
                self._uploads.give_up(self._session.locate(answer))
        return answer.status == 201

    def push_blob(
        self,
        descriptor: Descriptor,
        open_blob: Callable[[], Readable],
        *,
        mount_from: tuple[str, ...] = (),
        expected: bool = True,
        task: str = "",
    ) -> bool:
        """See that the repository has the blob; True when its bytes had to be sent.

        ``open_blob`` is called once for each attempt. Its reader raises when the bytes are not the ones described: the
        upload is then broken off before its last chunk, so that the registry never sees a complete body. Without
        ``expected`` nobody else is thought to have sent it, and a blob that is sent as quickly as asked for is not
        asked for first. Progress is reported under ``task``.

        Raises:
            RegistryError: the registry refused, or could not be reached.
            SourceError: the bytes could not be read, or are not the ones described.
        """

        self._check_size(descriptor)
        feed = Feed(open_blob, descriptor.size, str(descriptor.digest))

        def once(attempt: int) -> bool:
            ask = expected or attempt or descriptor.size > _SMALL
            if ask and self.has_blob(descriptor.digest):
                return False
            if not attempt and any(self.mount_blob(descriptor.digest, repository) for repository in mount_from):
                return False
            self._uploads.send(descriptor, feed, task)
            return True

        try:
            return self._retry.repeat(once, lambda: feed.acknowledged)
        finally:
            feed.close()

    def push_stream(
        self, size: int, pieces: Callable[[], Iterator[bytes | memoryview]], digest: Callable[[], Digest]
    ) -> bool:
        """Send a blob of ``size`` bytes whose ``digest`` is known once it has been sent. Nothing is tried twice.

        False when the registry, or the user's settings, want it in chunks; nothing has been sent then.

        Raises:
            RegistryError: the registry refused, or could not be reached.
            LayerforgeError: of ``pieces``.
        """
        return self._uploads.stream(size, pieces, digest)

    def _check_size(self, descriptor: Descriptor) -> None:
        most = self._memory.profile.most_blob
        if most and descriptor.size > most:
            hint = "split the file, or push to a registry without this limit"
            message = f"takes no blob of more than {most:,} bytes, and {descriptor.digest} has {descriptor.size:,}"
            raise RegistryError(message, where=self.reference.registry, hint=hint)

    def read_blob(self, descriptor: Descriptor, *, beginning: Source | None = None, start: int = 0) -> VerifiedReader:
        """The blob's bytes, verified as they are read. Close it. A broken connection is taken up where it broke.

        Where the first ``start`` bytes are here already, they are read from ``beginning``.

        Raises:
            RegistryError: it is not there, or the registry refused; also while reading, when the connection breaks for
                good.
        """
        rest = _BlobSource(lambda position: self._open_blob(descriptor, position), self._retry, start)
        source = Joined(beginning, rest) if beginning is not None else rest
        return VerifiedReader(source, descriptor.digest, descriptor.size, what=rest.where)

    def _open_blob(self, descriptor: Descriptor, start: int) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The blob from byte ``start`` on."""

        def once(_: int) -> tuple[urllib3.BaseHTTPResponse, str]:
            path, headers = f"{self._root}/blobs/{descriptor.digest}", {"Range": f"bytes={start}-"} if start else {}
            response, url = self._session.stream(path, self._scope, headers)
            if response.status == 206 and start:
                return response, url
            if response.status != 200:
                raise self._session.refuse(read_answer(response, "GET", url), self._scope)
            _skip(response, start, url)  # a registry need not know ranges
            return response, url

        return self._retry.repeat(once)


_EMPTY = Body(0, lambda: iter(()))


class _BlobSource:
    """A blob's body from byte ``start`` on as one stream, though it may take several responses."""

    def __init__(
        self, open_at: Callable[[int], tuple[urllib3.BaseHTTPResponse, str]], retry: Retry, start: int
    ) -> None:
        self._open_at = open_at
        self._retry = retry
        self._response, self._url = open_at(start)
        self._position = start
        self._breaks = 0

    @property
    def where(self) -> str:
        """Where it is read, for messages."""
        return redact(self._url)

    def readinto(self, buffer: memoryview, /) -> int:
        while True:
            self._retry.check()
            try:
                data = self._response.read(len(buffer))
                break
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self._response.close()
                failure = Unreachable.of(error, "GET", self._url)
                self._breaks += 1
                if self._breaks == ATTEMPTS:
                    raise failure from error
                self._response, self._url = self._open_at(self._position)
        if data:
            self._breaks = 0
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._response.close()


def _skip(response: urllib3.BaseHTTPResponse, count: int, url: str) -> None:
    """Pass over the first ``count`` bytes of ``response``."""
    try:
        while count:
            data = response.read(min(count, CHUNK))
            if not data:
                break  # shorter than before: who reads on finds out
            count -= len(data)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        response.close()
        raise Unreachable.of(error, "GET", url) from error
