"""AES-256-GCM for datagrams: strangers can't even read them. Needs the extra `tls`.

The wire stays free of foreign code: it is handed a `Scheme`.
"""

from __future__ import annotations

from typing import Final

import attrs

from raftkit.errors import ConfigError
from raftkit.wire import HEAD_BYTES, SEAL_BYTES, Scheme, Seal

__all__ = ["aes_256_gcm"]

_NONCE_BYTES: Final = 12


def aes_256_gcm() -> Scheme:
    """The scheme that hides what it seals. Raises ConfigError if `cryptography` is not installed."""
    try:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - the extra `tls` brings it
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "datagrams can be hidden only with cryptography: pip install 'raftkit-trio[tls]', or "
            "choose hmac, which seals them readably"
        ) from error

    @attrs.frozen
    class AesGcmSeal:
        """The head is sealed in the clear, the content hidden."""

        _cipher: AESGCM = attrs.field(repr=False)

        def seal(self, head: bytes, content: bytes) -> bytes:
            return head + self._cipher.encrypt(head[-_NONCE_BYTES:], content, head)

        def open(self, datagram: bytes) -> bytes | None:
            head = datagram[:HEAD_BYTES]
            try:
                return self._cipher.decrypt(head[-_NONCE_BYTES:], datagram[HEAD_BYTES:], head)
            except InvalidTag:
                return None

    def make(key: bytes) -> Seal:
        return AesGcmSeal(AESGCM(key))

    return Scheme(name="aead", code=2, seal_bytes=SEAL_BYTES, make=make)
