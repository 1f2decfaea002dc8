"""What is remembered of a repository from one push to the next: unfinished uploads, and what its registry takes."""

from __future__ import annotations

from layerforge.errors import ImageError
from layerforge.oci import Digest, decode, encode
from layerforge.reference import Reference
from layerforge.registry.profile import Profile, find_profile
from layerforge.registry.sessions import Sessions
from layerforge.store import Store

_TOPIC = "registry-1"


class Memory:
    """What is known of the repository of ``reference``, kept in ``store`` where one is given."""

    def __init__(self, reference: Reference, store: Store | None = None) -> None:
        self._store = store
        self._host = Digest.of(reference.registry.encode())
        self.sessions = Sessions(f"{reference.registry}/{reference.repository}", store.uploads if store else None)
        self.profile = self._recall() or find_profile(reference.registry)

    def learn(self, profile: Profile) -> None:
        """The registry has shown that it is like this."""
        self.profile = profile
        if self._store is not None:
            self._store.keep_note(_TOPIC, self._host, encode(profile))

    def close(self) -> None:
        """Let other processes take up what is unfinished."""
        self.sessions.close()

    def _recall(self) -> Profile | None:
        kept = self._store.find_note(_TOPIC, self._host) if self._store is not None else None
        try:
            return decode(kept, Profile) if kept is not None else None
        except ImageError:
            return None
