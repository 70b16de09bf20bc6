"""What every file of the directory begins with: whose format, how long, and a checksum of its head.

Law: the first twenty bytes have this form in every format there will ever be, so that any raftkit can tell
a newer file from a broken one.
"""

from __future__ import annotations

import struct
import zlib

from raftkit import encoding
from raftkit.encoding import MalformedError
from raftkit.errors import LogCorrupt, StorageError

__all__ = ["FORMAT", "PREFIX_SIZE", "seal", "sealed_size", "unseal"]

FORMAT = 1
"The format of all files that this raftkit writes, and the highest that it reads."
_PREFIX = struct.Struct("<8sII")  # magic, format, length of the body
_CHECKSUM = struct.Struct("<I")
PREFIX_SIZE = _PREFIX.size + _CHECKSUM.size
"Bytes before the body."
_BODY_MAX = 1 << 20


def seal(magic: bytes, fields: list[object]) -> bytes:
    """`magic · format · length · checksum · fields as CBOR`. The checksum is the CRC-32 of all the rest."""
    assert len(magic) == 8
    body = encoding.dumps(fields)
    assert len(body) <= _BODY_MAX
    prefix = _PREFIX.pack(magic, FORMAT, len(body))
    return prefix + _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(prefix))) + body


def sealed_size(path: str, data: bytes) -> int:
    """Bytes of the envelope that `data` (its first PREFIX_SIZE bytes or more) begins. Raises LogCorrupt."""
    if len(data) < PREFIX_SIZE:
        raise LogCorrupt(path, len(data), None, "the file ends within its head")
    _, _, length = _PREFIX.unpack_from(data)
    if length > _BODY_MAX:
        raise LogCorrupt(path, 12, None, f"a head of {length} bytes can't be")
    return PREFIX_SIZE + int(length)


def unseal(path: str, magic: bytes, data: bytes) -> list[object]:
    """The fields sealed at the start of `data`, a file's first bytes.

    Raises LogCorrupt; StorageError if the head is whole and of a newer format.
    """
    size = sealed_size(path, data)
    found, version, length = _PREFIX.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _PREFIX.size)
    body = data[PREFIX_SIZE:size]
    if zlib.crc32(body, zlib.crc32(data[: _PREFIX.size])) != checksum or len(body) != length:
        raise LogCorrupt(path, 0, None, "the head does not match its checksum")
    if found != magic:
        raise LogCorrupt(path, 0, None, f"starts with {found!r} where {magic!r} belongs")
    if version > FORMAT:
        raise StorageError(
            f"{path} was written by a newer raftkit (format {version}, this one reads up to {FORMAT}): "
            "start the newer one; nothing was changed"
        )
    try:
        return encoding.array(encoding.loads(body))
    except MalformedError as error:
        raise LogCorrupt(path, PREFIX_SIZE, None, str(error)) from error
