"""Keys, and the seal that each datagram ends with: who has no key of the cluster is not heard.

Laws: a key that seals is derived from the cluster's key for one sender and one start of it, so no two
starts share one; numbers are never used twice under it (`datagram.py`), so neither is a nonce. A key of
the cluster proves that a sender is a member, not which one. Keys are in no message and no repr.
(RFC 5869, RFC 2104)
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import attrs

from raftkit.errors import ConfigError

__all__ = [
    "HEAD_BYTES",
    "HMAC",
    "KEY_BYTES",
    "SEAL_BYTES",
    "UNSEALED",
    "ClusterKeys",
    "HmacSeal",
    "Scheme",
    "Seal",
    "Unsealed",
    "hkdf_expand",
    "hkdf_extract",
]

KEY_BYTES: Final = 32
"Of a cluster key, and of the keys derived from it."
HEAD_BYTES: Final = 32
"At the start of a datagram: sent in the clear, and sealed with the rest against changes."
SEAL_BYTES: Final = 16
"At its end, except under `UNSEALED`."
_KEY_ID_MAX: Final = 255
_KEYS_MAX: Final = 2
_HASH_BYTES: Final = 32
_SALT: Final = b"raftkit datagram 1"
_CONTEXT = struct.Struct(">BBQ")
"Scheme, key id, start: what a key is derived for."


class Seal(Protocol):
    """One derived key at work. The last 12 bytes of a head are its number: a nonce, never used twice."""

    def seal(self, head: bytes, content: bytes) -> bytes:
        """The whole datagram."""
        ...

    def open(self, datagram: bytes) -> bytes | None:
        """The content, or None if this key did not seal it. It has room for a head and a seal."""
        ...


@attrs.frozen(kw_only=True)
class Scheme:
    """A way to seal. All nodes of a cluster use the same; what another way sealed is refused unread."""

    name: str
    "For people."
    code: int
    "In each head: from 0 to 15."
    seal_bytes: int
    "By which a datagram is longer than head and content."
    make: Callable[[bytes], Seal]
    "The seal of a key of `KEY_BYTES`."


@attrs.frozen
class HmacSeal:
    """HMAC-SHA256, cut to 16 bytes: everybody can read, nobody without a key can write or change."""

    _key: bytes = attrs.field(repr=False)

    def seal(self, head: bytes, content: bytes) -> bytes:
        """Head, content and the code of both."""
        datagram = head + content
        return datagram + hmac.digest(self._key, datagram, "sha256")[:SEAL_BYTES]

    def open(self, datagram: bytes) -> bytes | None:
        """The content, if the code is right: compared in a time that tells nothing."""
        view = memoryview(datagram)
        code = hmac.digest(self._key, view[:-SEAL_BYTES], "sha256")[:SEAL_BYTES]
        if not hmac.compare_digest(code, view[-SEAL_BYTES:]):
            return None
        return datagram[HEAD_BYTES:-SEAL_BYTES]


@attrs.frozen
class Unsealed:
    """Nothing: whoever reaches the network can say anything in anybody's name."""

    _key: bytes = attrs.field(repr=False)

    def seal(self, head: bytes, content: bytes) -> bytes:
        """Head and content."""
        return head + content

    def open(self, datagram: bytes) -> bytes | None:
        """The content, whoever sent it."""
        return datagram[HEAD_BYTES:]


HMAC: Final = Scheme(name="hmac", code=1, seal_bytes=SEAL_BYTES, make=HmacSeal)
"Authentic but readable by anybody on the network. Needs nothing but Python."
UNSEALED: Final = Scheme(name="none", code=0, seal_bytes=0, make=Unsealed)
"No protection at all: for tests and networks that carry nothing else."


def _frozen(ring: Mapping[int, bytes]) -> Mapping[int, bytes]:
    return MappingProxyType(dict(ring))


def _ids(ring: Mapping[int, bytes]) -> str:
    return f"<keys {sorted(ring)}>"


@attrs.frozen(kw_only=True)
class ClusterKeys:
    """What all nodes of a cluster share: one key, or two while the cluster changes from one to the other.

    Raises ConfigError for keys that can't be used.
    """

    ring: Mapping[int, bytes] = attrs.field(repr=_ids, converter=_frozen)
    "One or two keys of `KEY_BYTES` by their ids, from 0 to 255. What either sealed is believed."
    sealing: int
    "The id of the key that this node seals with."
    scheme: Scheme = HMAC
    "How."
    unsafe: bool = False
    "Must be said for `UNSEALED`."
    _roots: Mapping[int, bytes] = attrs.field(init=False, repr=False, eq=False)
    "HKDF's first half, done once."

    def __attrs_post_init__(self) -> None:
        _check(self)
        ring = sorted(self.ring.items())
        roots = {key_id: hkdf_extract(salt=_SALT, key=key) for key_id, key in ring}
        object.__setattr__(self, "_roots", roots)

    @classmethod
    def unsealed(cls, *, unsafe: bool) -> ClusterKeys:
        """No key at all. Raises ConfigError unless `unsafe`."""
        return cls(ring={0: bytes(KEY_BYTES)}, sealing=0, scheme=UNSEALED, unsafe=unsafe)

    def seal_of(self, key_id: int, start: int) -> Seal:
        """What the sender that began as `start` seals with under the key `key_id`, which is in the ring."""
        context = _CONTEXT.pack(self.scheme.code, key_id, start)
        return self.scheme.make(hkdf_expand(self._roots[key_id], info=context, length=KEY_BYTES))


def _check(keys: ClusterKeys) -> None:
    if not 1 <= len(keys.ring) <= _KEYS_MAX:
        raise ConfigError(f"{len(keys.ring)} cluster keys: give one, or two while you change it")
    for key_id, key in sorted(keys.ring.items()):
        if not 0 <= key_id <= _KEY_ID_MAX:
            raise ConfigError(f"cluster key id {key_id}: give it a number from 0 to {_KEY_ID_MAX}")
        if len(key) != KEY_BYTES:
            raise ConfigError(
                f"cluster key {key_id} has {len(key)} bytes: it must be {KEY_BYTES} random bytes"
            )
    if keys.sealing not in keys.ring:
        raise ConfigError(
            f"cluster key {keys.sealing} is to seal but is not given: {sorted(keys.ring)} are"
        )
    if keys.scheme is UNSEALED and not keys.unsafe:
        raise ConfigError(
            "datagrams without a seal can be forged by anybody on the network: give a cluster key, "
            "or say unsafe=True"
        )


def hkdf_extract(*, salt: bytes, key: bytes) -> bytes:
    """HKDF-Extract with SHA-256: a root key of 32 bytes (RFC 5869 §2.2)."""
    return hmac.digest(salt or bytes(_HASH_BYTES), key, "sha256")


def hkdf_expand(root: bytes, *, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256: `length` bytes, at most 8160, for what `info` says (RFC 5869 §2.3)."""
    assert length <= 255 * _HASH_BYTES
    block, found = b"", b""
    for number in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(root, block + info + bytes([number]), "sha256")
        found += block
    return found[:length]
