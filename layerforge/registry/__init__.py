"""The distribution API, from the client's side: one repository of a registry, and pushing an image to it.

``client.py`` speaks the protocol, ``push.py`` decides what to send, ``upload.py`` sends one blob: in one piece or in as
many as ``profile.py`` says that the registry wants, from where ``memory.py`` says that it was broken off. Below them
``session.py`` adds credentials, redirects and retries to the bare exchanges of ``transport.py``.
Source: https://github.com/opencontainers/distribution-spec, ``spec.md``, version 1.1.

``oras`` does the token exchange (``auth.py``) and is imported when a registry first asks for one. Connections are
urllib3's own: under ``requests``, which oras uses, a ``~/.netrc`` replaces our Authorization header and certifi's list
of authorities the system's.
"""

from layerforge.registry.client import Registry
from layerforge.registry.profile import read_settings
from layerforge.registry.push import push_image

__all__ = ["Registry", "push_image", "read_settings"]
