"""Storage: a write reported durable is there after any crash, or the node learns otherwise.

    Write ──▶ Writer ──▶ Storage.perform ──▶ Log ──▶ Segment ──▶ Disk
         in a thread       FileStorage        records   a file      the system's, or simulated
                              ├── IdentityFile   whose directory, how often opened
                              └── Snapshots      one file each, by rename

One directory belongs to one node. `open_storage` locks it, tells what a crash left from what rotted, puts
right the one and refuses the other, and counts this boot; `found` makes the node a member once; `perform`
makes writes durable with one sync. The first error that a write or sync meets is final: the storage raises
it for ever, and the node restarts and reads the disk anew.

    from raftkit.storage import open_storage, open_writer

    storage = open_storage("/var/lib/counter", "a")
    async with open_writer(storage) as writer:
        if not writer.submit(write):
            sequence = await writer.wait_completed()
    storage.close()

`inspecting` looks at such a directory, also while its node runs, and changes nothing: it is what
`raftkit log show` and `raftkit log verify` are made of.

`MemoryStorage("a")` with `InlineWriter` is the same without files or threads. The format of all files is
in `docs/disk-format.md`; `raftkit.testing.storage_conformance` checks any other implementation.
"""

from __future__ import annotations

from raftkit.storage.base import Disk, DiskFile, IdentityRecord, Storage, Writer
from raftkit.storage.disk import OsDisk
from raftkit.storage.file import FileStorage, open_storage
from raftkit.storage.memory import MemoryStorage
from raftkit.storage.writer import DiskWriter, Haste, InlineWriter, open_writer

__all__ = [
    "Disk",
    "DiskFile",
    "DiskWriter",
    "FileStorage",
    "Haste",
    "IdentityRecord",
    "InlineWriter",
    "MemoryStorage",
    "OsDisk",
    "Storage",
    "Writer",
    "open_storage",
    "open_writer",
]
