"""One blob into one repository: in one PUT, or in chunks; taken up where it broke, as far as the registry knows that.

Source: the distribution specification, ``spec.md#pushing-blobs``. What is sent after a fault begins at the offset that
the registry reports, never at one that is guessed: a PATCH whose answer was lost may have arrived.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote

from layerforge.errors import LayerforgeError, RegistryError, VerificationError
from layerforge.oci import Descriptor, Digest
from layerforge.progress import Reporter
from layerforge.registry.failures import Failure, redact
from layerforge.registry.feed import Feed
from layerforge.registry.memory import Memory
from layerforge.registry.profile import Settings, choose_chunk, learn_limit
from layerforge.registry.session import Session
from layerforge.registry.transport import Answer, Body

_EMPTY = Body(0, lambda: iter(()))
_STORED = (200, 201, 202, 204)
_TOO_LARGE = frozenset({413, 504})
_OCTETS = {"Content-Type": "application/octet-stream"}


class Uploads:
    """Uploads to the repository whose API is at ``root``, with ``scope``. Safe to use from several threads."""

    def __init__(
        self, session: Session, root: str, scope: str, memory: Memory, settings: Settings, reporter: Reporter
    ) -> None:
        self.session = session
        self.root = root
        self.scope = scope
        self.memory = memory
        self.settings = settings
        self.reporter = reporter

    def send(self, descriptor: Descriptor, feed: Feed, task: str) -> None:
        """One attempt at an upload; the one before, if it can be, is taken up.

        Raises:
            RegistryError: the registry refused, or could not be reached.
            SourceError: the bytes could not be read, or are not the ones described.
        """
        _Upload(self, descriptor, feed, task).run()

    def stream(
        self, size: int, pieces: Callable[[], Iterator[bytes | memoryview]], digest: Callable[[], Digest]
    ) -> bool:
        """One PATCH with the whole blob, and a PUT once its digest is known; False when it must come in chunks."""
        profile = self.memory.profile
        if not profile.chunks or profile.most_chunk or size > (profile.most_blob or size):
            return False
        begun = self.session.exchange("POST", f"{self.root}/blobs/uploads/", self.scope, body=_EMPTY)
        if begun.status != 202:
            raise self.session.refuse(begun, self.scope)
        location = self.session.locate(begun)
        if self.choose_chunk(size, begun):
            self.give_up(location)
            return False

        def checked() -> Iterator[bytes | memoryview]:
            for piece in pieces():
                self.session.retry.check()
                yield piece

        try:
            headers = {**_OCTETS, "Content-Range": f"0-{size - 1}"}
            answer = self.session.exchange("PATCH", location, self.scope, headers, Body(size, checked))
            if answer.status not in _STORED:
                raise self.session.refuse(answer, self.scope, size)
            location = self.session.locate(answer) if answer.headers.get("location") else location
            ended = self.session.exchange("PUT", _name_digest(location, digest()), self.scope, _OCTETS, _EMPTY)
            if ended.status not in _STORED:
                raise self.session.refuse(ended, self.scope)
            compare_digests(ended, digest())
        except BaseException:
            self.give_up(location)
            raise
        return True

    def learn(self, size: int) -> bool:
        """A body of ``size`` bytes was too large; whether something smaller can be tried."""
        learned = learn_limit(self.memory.profile, size)
        if learned is None:
            return False
        self.reporter.note(f"{self.session.host} takes no {size:,} bytes at once: going on in smaller chunks")
        self.memory.learn(learned)
        return True

    def give_up(self, location: str) -> None:
        """End a session. That it fails does not matter (``spec.md#cancel-a-blob-upload``)."""
        with suppress(LayerforgeError):
            self.session.exchange("DELETE", location, self.scope, {"Content-Length": "0"})

    def choose_chunk(self, size: int, answer: Answer) -> int:
        """Bytes of each chunk of a blob of ``size`` bytes; 0 when it goes in one PUT."""
        return choose_chunk(size, self.memory.profile, self.settings, answer.headers)


class _Upload:
    """One attempt. ``offset`` is how many bytes the registry has, ``location`` where the next ones go."""

    def __init__(self, uploads: Uploads, descriptor: Descriptor, feed: Feed, task: str) -> None:
        self._uploads = uploads
        self._session = uploads.session
        self._sessions = uploads.memory.sessions
        self._scope = uploads.scope
        self._blob = descriptor
        self._feed = feed
        self._task = task
        self._told = 0  # bytes of progress reported
        self._chunk = 0
        self.location = ""
        self.offset = 0

    def run(self) -> None:
        try:
            if not self._take_up():
                self._begin()
            self._send()
            self._sessions.forget(self._blob.digest)
        except BaseException as error:
            self._tell(-self._told)
            self._leave(error)
            raise

    def _take_up(self) -> bool:
        """Ask what became of the session before (``spec.md#pushing-a-blob-in-chunks``, the GET for its status)."""
        location = self._sessions.recall(self._blob.digest, self._blob.size)
        if not location:
            return False
        answer = self._session.exchange("GET", location, self._scope)
        received = read_range(answer.headers.get("range", ""))
        if answer.status not in (202, 204) or received is None or received > self._blob.size:
            self._sessions.forget(self._blob.digest)
            return False
        self.offset = received
        self._feed.acknowledged = max(self._feed.acknowledged, received)
        self._move(answer, location)
        self._chunk = self._uploads.choose_chunk(self._blob.size, answer)
        if received:
            self._uploads.reporter.note(f"{self._blob.digest.short}: going on after {received:,} bytes")
            self._tell(received)
        return True

    def _begin(self) -> None:
        begun = self._session.exchange("POST", f"{self._uploads.root}/blobs/uploads/", self._scope, body=_EMPTY)
        if begun.status != 202:
            raise self._session.refuse(begun, self._scope)
        self.offset = 0
        self._move(begun, "")
        self._chunk = self._uploads.choose_chunk(self._blob.size, begun)

    def _send(self) -> None:
        whole = self.offset == 0 and not self._chunk
        if not whole:
            step = self._chunk or self._uploads.memory.profile.most_chunk or self._blob.size
            while self.offset < self._blob.size:
                self._patch(min(self.offset + step, self._blob.size))
        url = _name_digest(self.location, self._blob.digest)
        body = self._body(0, self._blob.size) if whole else _EMPTY
        answer = self._session.exchange("PUT", url, self._scope, _OCTETS, body)
        if answer.status not in _STORED:
            raise self._refuse(answer, body.size)
        compare_digests(answer, self._blob.digest)

    def _patch(self, end: int) -> None:
        start = self.offset
        headers = {**_OCTETS, "Content-Range": f"{start}-{end - 1}"}
        answer = self._session.exchange("PATCH", self.location, self._scope, headers, self._body(start, end))
        if answer.status == 416 and end - start > (4 << 20) and self._uploads.learn(end - start):
            raise self._retryable(answer)
        if answer.status not in _STORED:
            raise self._refuse(answer, end - start)
        received = read_range(answer.headers.get("range", ""))
        self.offset = end if received is None or not start < received <= end else received
        self._feed.acknowledged = max(self._feed.acknowledged, self.offset)
        self._tell(self.offset - self._told)
        self._move(answer, self.location)

    def _move(self, answer: Answer, location: str) -> None:
        """Go on where ``answer`` says, else at ``location``."""
        if answer.headers.get("location") or not location:
            location = self._session.locate(answer)
        self.location = location
        self._sessions.remember(self._blob.digest, self._blob.size, location)

    def _body(self, start: int, end: int) -> Body:
        def pieces() -> Iterator[memoryview]:
            self._tell(start - self._told)
            for piece in self._feed.pieces(start, end):
                self._session.retry.check()
                yield piece
                self._tell(len(piece))

        return Body(end - start, pieces)

    def _tell(self, amount: int) -> None:
        self._told += amount
        self._uploads.reporter.advance(self._task, amount)

    def _refuse(self, answer: Answer, size: int) -> Failure:
        if answer.status in _TOO_LARGE and self._uploads.learn(size):
            return self._retryable(answer)
        return self._session.refuse(answer, self._scope, size)

    def _retryable(self, answer: Answer) -> Failure:
        """The next attempt begins anew, with what has been learned."""
        self._sessions.forget(self._blob.digest)
        failure = self._session.refuse(answer, self._scope)
        failure.transient = True
        return failure

    def _leave(self, error: BaseException) -> None:
        """Keep the session for another attempt, unless nothing can come of it."""
        if isinstance(error, Failure) and error.transient:
            return  # the next attempt asks for its state
        if not isinstance(error, LayerforgeError) and self._sessions.keeps(self._blob.size):
            return  # interrupted: the next process asks
        self._sessions.forget(self._blob.digest)
        if self.location and not isinstance(error, RegistryError):
            self._uploads.give_up(self.location)  # the registry does not know yet that no more will come


def _name_digest(location: str, digest: Digest) -> str:
    """The URL that ends an upload."""
    return f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe='')}"


def read_range(text: str) -> int | None:
    """How many bytes have arrived, from a ``Range`` header such as ``0-1023``; None when it says nothing.

    ``0-0`` is what registries say of none as well as of one; it counts as none.
    """
    match = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", text.strip())
    if match is None:
        return None
    return int(match[1]) + 1 if int(match[1]) else 0


def compare_digests(answer: Answer, digest: Digest) -> None:
    """What the registry says it stored must be what was sent, where it says so.

    Raises:
        VerificationError: it stored something else.
    """
    said = answer.headers.get("docker-content-digest", "")
    if said.startswith("sha256:") and said != digest:
        raise VerificationError(f"the registry stored {said}, not {digest}", where=redact(answer.url))
