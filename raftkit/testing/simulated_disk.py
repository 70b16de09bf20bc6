"""A disk that keeps only what it must: un-synced writes are lost, torn and reordered, faults come when told.

    disk = SimulatedDisk()
    storage = open_storage("", "a", disk=disk)
    …
    after = disk.crash(random.Random(seed))    # what a power cut may have left; open it again

Laws: nothing is durable but what was synced: content and size by `sync`, names by `sync_directory`. Each
sector of 512 bytes that was written since holds, after a crash, what it held at any moment since the last
sync, or the last write was torn; each size and each change of a name was done or not. Every write, sync
and change of a name is an operation that `crash_at` can cut, and `fail_at` make fail.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from typing import NoReturn, final

import attrs

from raftkit.errors import StorageError

__all__ = ["SECTOR_BYTES", "PowerCut", "SimulatedDisk"]

SECTOR_BYTES = 512
"What a disk writes wholly or not, unless it tears."
_TEAR_BYTES = 8
"Where a torn sector may be cut."
Choice = Callable[[int], int]
"Which of `n` possibilities happened: 0 is the oldest, n - 1 the newest."


def _oldest(_: int) -> int:
    """Nothing un-synced survived."""
    return 0


def _newest(possibilities: int) -> int:
    """Everything survived."""
    return possibilities - 1


@final
class PowerCut(BaseException):
    """The power went off. No OSError, so that nothing handles it: only `SimulatedDisk.crash` helps now."""


@attrs.define
class _Node:
    """A file without its name."""

    content: bytearray = attrs.field(factory=bytearray)
    "As every reader sees it."
    sizes: list[int] = attrs.field(factory=lambda: [0])
    "The durable size, then each since."
    sectors: dict[int, list[bytes]] = attrs.field(factory=dict[int, list[bytes]])
    "Of each sector written since the last sync: the durable content, then each since."

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        touched = range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES))
        for sector in touched:
            self.sectors.setdefault(sector, [self.sector(sector)])
        if end > len(self.content):
            self.content.extend(bytes(end - len(self.content)))
            self.sizes.append(end)
        self.content[offset:end] = data
        for sector in touched:
            self.sectors[sector].append(self.sector(sector))

    def resize(self, size: int) -> None:
        if size > len(self.content):
            self.content.extend(bytes(size - len(self.content)))
        del self.content[size:]
        self.sizes.append(size)

    def sector(self, number: int) -> bytes:
        start = number * SECTOR_BYTES
        return bytes(self.content[start : start + SECTOR_BYTES]).ljust(SECTOR_BYTES, b"\0")

    def sync(self) -> None:
        self.sizes = [len(self.content)]
        self.sectors.clear()

    def drop(self) -> None:
        """A failed sync: the pages are thrown away, and what is read is what the device has."""
        self.content = self.survive(_oldest).content

    def survive(self, choose: Choice) -> _Node:
        """The file after a crash."""
        size = self.sizes[choose(len(self.sizes))]
        content = bytearray(self.content[:size].ljust(size, b"\0"))
        for sector, versions in sorted(self.sectors.items()):
            kept = versions[choose(len(versions))]
            start = sector * SECTOR_BYTES
            if start < size:
                content[start : start + SECTOR_BYTES] = kept[: size - start]
        return _Node(content=content, sizes=[size])


@attrs.frozen
class _Fault:
    """An error to raise."""

    code: int
    "As in `errno`."
    drop_pages: bool
    "For a sync: throw away what was not synced, as Linux does."


@final
class SimulatedDisk:
    """One directory, in memory. Implements `Disk`. `space` is how many bytes all files may take."""

    def __init__(self, *, space: int | None = None) -> None:
        self.space = space
        self.operations = 0
        "Operations so far: each write, sync and change of a name."
        self.log: list[str] = []
        "What they were, for people: `write log-0000000001 512+96`."
        self._names: dict[str, _Node] = {}
        self._durable_names: dict[str, _Node] = {}
        self._changes: list[tuple[str, str, _Node | None]] = []
        self._crash_at: int | None = None
        self._faults: dict[tuple[str, int], _Fault] = {}
        self._counts: dict[str, int] = {}
        self._last_write: tuple[_Node, int, bytes] | None = None
        self._off = False
        self._locked = False

    # ── what goes wrong ──────────────────────────────────────────────────────────────────────────────

    def crash_at(self, operation: int) -> None:
        """Cut the power at that operation (from 0): it raises `PowerCut`, and so do all after it.

        A write or a change of a name is then un-synced like those before it; a sync has not happened.
        """
        self._crash_at = operation

    def cut_power(self) -> None:
        """Cut the power now: whatever is asked of this disk from here on raises `PowerCut`."""
        self._off = True

    @property
    def is_off(self) -> bool:
        """Whether the power was cut."""
        return self._off

    @property
    def is_ordered(self) -> bool:
        """Whether something is still to go wrong."""
        return bool(self._faults) or self._crash_at is not None

    def fail_at(
        self, kind: str, nth: int, code: int = errno.EIO, *, drop_pages: bool = False
    ) -> None:
        """Make the `nth` operation of `kind` from now on (from 0) fail, once.

        Kinds: write, read, sync, truncate, create, rename, remove, sync_directory. A failing write leaves
        its first half, as a short write does, cut where a sector may tear.
        """
        at = self._counts.get(kind, 0) + nth
        self._faults[kind, at] = _Fault(code, drop_pages)

    def crash(
        self,
        rng: random.Random | None = None,
        *,
        choose: Choice | None = None,
        torn: int | None = None,
    ) -> SimulatedDisk:
        """The disk after a power cut now, with nothing un-synced any more. This one is not changed.

        Without arguments nothing un-synced survives; with `rng` any part of it may; `choose` decides
        each case: see `Choice`. With `torn` everything survives, but of the last write, if that was the
        last operation, only the first `torn` bytes.
        """
        pick = choose or _oldest
        if rng is not None:
            pick = rng.randrange
        if torn is not None:
            pick = _newest
        after = SimulatedDisk(space=self.space)
        names = dict(self._durable_names)
        for change in self._changes:
            if pick(2):
                _apply(names, change)
        fates = {id(node): node.survive(pick) for node in names.values()}
        if torn is not None and self._last_write is not None:
            node, offset, before = self._last_write
            if id(node) in fates:
                fates[id(node)].content[offset + torn : offset + len(before)] = before[torn:]
        after._names = {name: fates[id(node)] for name, node in names.items()}
        after._durable_names = dict(after._names)
        return after

    @property
    def torn_points(self) -> range:
        """Where the last operation can be `torn`, if it was a write; empty otherwise."""
        if self._last_write is None:
            return range(0)
        _, offset, before = self._last_write
        return range(-offset % _TEAR_BYTES, len(before), _TEAR_BYTES)

    def kill(self) -> SimulatedDisk:
        """The disk after the process died and the machine did not: all is there, and nothing more durable.

        What is un-synced stays so, and the files are shared: use this one no more.
        """
        after = SimulatedDisk(space=self.space)
        after._names = dict(self._names)
        after._durable_names = dict(self._durable_names)
        after._changes = list(self._changes)
        return after

    def contents(self, name: str) -> bytes:
        """All bytes of a file."""
        return bytes(self._names[name].content)

    def rot(self, name: str, content: bytes | None) -> None:
        """Replace a file's content, durably and behind everybody's back; None removes the file."""
        if content is None:
            del self._names[name]
            self._durable_names.pop(name, None)
            return
        node = _Node(content=bytearray(content), sizes=[len(content)])
        self._names[name] = self._durable_names[name] = node

    # ── as `Disk` ────────────────────────────────────────────────────────────────────────────────────

    @property
    def path(self) -> str:
        """For messages."""
        return "simulated:"

    def create(self, name: str) -> _File:
        """A new empty file. Raises FileExistsError."""
        if name in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        node = _Node()
        self._change("create", (name, name, node), name)
        return _File(self, name, node)

    def open(self, name: str) -> _File:
        """An existing file. Raises FileNotFoundError."""
        return _File(self, name, self._node(name))

    def rename(self, old: str, new: str) -> None:
        """Give `old` the name `new`, replacing what was there."""
        self._change("rename", (old, new, self._node(old)), f"{old} {new}")

    def remove(self, name: str) -> None:
        """Remove the name."""
        self._node(name)
        self._change("remove", (name, name, None), name)

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        self.check_power()
        return sorted(self._names)

    def sync_directory(self) -> None:
        """Make changes of names durable."""
        self.begin("sync_directory", "")
        self._durable_names = dict(self._names)
        self._changes.clear()

    def lock(self) -> None:
        """Hold the directory until `close`."""
        if self._locked:
            raise StorageError(f"{self.path} is in use by process {os.getpid()}: stop it first")
        self._locked = True

    def close(self) -> None:
        """Release the lock."""
        self._locked = False

    # ── steps of the above, and of its files ─────────────────────────────────────────────────────────

    def begin(self, kind: str, what: str, *, effect: Callable[[], None] | None = None) -> None:
        """Count an operation, do its `effect`, and let go wrong what was ordered to."""
        self.check_power()
        count = self._counts.get(kind, 0)
        self._counts[kind] = count + 1
        fault = self._faults.pop((kind, count), None)
        if fault is not None:
            raise OSError(fault.code, os.strerror(fault.code), what)
        if kind == "read":
            return
        operation = self.operations
        self.operations += 1
        self.log.append(f"{kind} {what}")
        self._last_write = None
        if effect is not None:
            effect()
        if operation == self._crash_at:
            self._off = True
            self.check_power()

    def note_write(self, node: _Node, offset: int, before: bytes) -> None:
        """The last operation wrote at `offset` of `node`, where `before` was."""
        self._last_write = (node, offset, before)

    def fault(self, kind: str) -> _Fault | None:
        """What the next operation of `kind` was ordered to fail with."""
        return self._faults.get((kind, self._counts.get(kind, 0)))

    def check_power(self) -> None:
        """Raise PowerCut if the power is off."""
        if self._off:
            raise PowerCut

    def room(self, more: int) -> int:
        """How many of `more` bytes the disk has room for."""
        if self.space is None:
            return more
        used = sum(len(node.content) for node in self._names.values())
        return max(0, min(more, self.space - used))

    def _node(self, name: str) -> _Node:
        self.check_power()
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._names[name]

    def _change(self, kind: str, change: tuple[str, str, _Node | None], what: str) -> None:
        def effect() -> None:
            _apply(self._names, change)
            self._changes.append(change)

        self.begin(kind, what, effect=effect)


def _apply(names: dict[str, _Node], change: tuple[str, str, _Node | None]) -> None:
    """Do one change of a name; if its file is not there (an earlier change was lost), nothing."""
    old, new, node = change
    if node is None:
        names.pop(old, None)
    elif old == new:
        names[new] = node
    elif names.get(old) is node:
        names[new] = names.pop(old)


def _short(offset: int, data: bytes, size: int) -> bytes:
    """The first `size` bytes of what is written at `offset`, or a few fewer: to where a sector may tear."""
    return data[: max(0, (offset + size) // _TEAR_BYTES * _TEAR_BYTES - offset)]


@final
class _File:
    """One open file. Implements `DiskFile`."""

    def __init__(self, disk: SimulatedDisk, name: str, node: _Node) -> None:
        self._disk = disk
        self._name = name
        self._node = node

    def write_at(self, offset: int, data: bytes) -> None:
        more = max(0, offset + len(data) - len(self._node.content))
        room = self._disk.room(more)
        if self._disk.fault("write") is not None:
            self._node.write(offset, _short(offset, data, len(data) // 2))
        elif room < more:
            self._node.write(offset, _short(offset, data, len(data) - more + room))
            self._full()
        what = f"{self._name} {offset}+{len(data)}"
        self._disk.begin("write", what, effect=lambda: self._write(offset, data))

    def read_at(self, offset: int, size: int) -> bytes:
        self._disk.begin("read", self._name)
        return bytes(self._node.content[offset : offset + size])

    def size(self) -> int:
        self._disk.check_power()
        return len(self._node.content)

    def truncate(self, size: int) -> None:
        if self._disk.room(size - len(self._node.content)) < size - len(self._node.content):
            self._full()
        what = f"{self._name} to {size}"
        self._disk.begin("truncate", what, effect=lambda: self._node.resize(size))

    def sync(self) -> None:
        fault = self._disk.fault("sync")
        if fault is not None and fault.drop_pages:
            self._node.drop()
            self._node.sync()
        self._disk.begin("sync", self._name)
        self._node.sync()

    def close(self) -> None:
        """Nothing to release."""

    def _write(self, offset: int, data: bytes) -> None:
        before = bytes(self._node.content[offset : offset + len(data)]).ljust(len(data), b"\0")
        self._node.write(offset, data)
        self._disk.note_write(self._node, offset, before)

    def _full(self) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._name)
