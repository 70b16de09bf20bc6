"""The cluster's key, from the file that every member has: 32 bytes that nobody else may read.

    umask 077; openssl rand -hex 32 > cluster.key

Law: a key is in no message. Datagrams name the key that sealed them by a number, which is computed from the
key itself, so that no node has to be told it, and no two can mean two keys by one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from raftkit.errors import ConfigError
from raftkit.transports.multicast.aead import aes_256_gcm
from raftkit.transports.tcp.sockets import reason_of
from raftkit.wire import HMAC, KEY_BYTES, ClusterKeys

__all__ = ["key_id_of", "read_key", "read_keys"]

_FILE_BYTES_MAX = 2 * KEY_BYTES + 2
"In hexadecimal, and the end of the line."


def read_keys(
    key: str | Path | None, other_key: str | Path | None, *, encrypt: bool, insecure: bool
) -> ClusterKeys:
    """The keys in these files: the first seals, and what either sealed is believed.

    Without any, ConfigError unless `insecure`. Other errors are those of `read_key` and `aes_256_gcm`.
    """
    if key is None:
        if encrypt or other_key is not None:
            raise ConfigError("encrypt and other_key are of no use without key: name the key file")
        if not insecure:
            raise ConfigError(
                "multicast needs a key, or anybody on the network could speak for any node: "
                "umask 077; openssl rand -hex 32 > cluster.key, at every node the same, and name it as key"
            )
        return ClusterKeys.unsealed(unsafe=True)
    first = read_key(key)
    ring = {key_id_of(first): first}
    if other_key is not None:
        second = read_key(other_key)
        if ring.get(key_id_of(second), second) != second:
            raise ConfigError(
                f"{key} and {other_key} have one number by chance: draw another new key"
            )
        ring[key_id_of(second)] = second
    return ClusterKeys(
        ring=ring, sealing=key_id_of(first), scheme=aes_256_gcm() if encrypt else HMAC
    )


def key_id_of(key: bytes) -> int:
    """A number from 0 to 255 by which datagrams name the key that sealed them."""
    return hashlib.sha256(b"raftkit key id" + key).digest()[0]


def read_key(path: str | Path) -> bytes:
    """The key in a file: 32 bytes as they are, or 64 hexadecimal digits on one line.

    Raises ConfigError, in one line, if there is none, or if others than its owner may read or change it.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(file)
            content = os.read(file, _FILE_BYTES_MAX + 1) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(file)
    except OSError as error:
        raise ConfigError(f"can't read the key file {path}: {reason_of(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"key file {path} is not a file")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"key file {path} is open to others (mode {mode:04o}): chmod 600 {path}")
    key = content if len(content) == KEY_BYTES else _from_hex(content)
    if key is None:
        raise ConfigError(
            f"key file {path} holds no key: it needs {KEY_BYTES} bytes, or {2 * KEY_BYTES} hexadecimal "
            f"digits (openssl rand -hex {KEY_BYTES})"
        )
    return key


def _from_hex(content: bytes) -> bytes | None:
    try:
        key = bytes.fromhex(content.decode("ascii").rstrip("\r\n"))
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None
