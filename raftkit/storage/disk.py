"""One directory of the operating system, as `Disk` wants it: no surprises by links, locks or half writes.

Laws: every path is relative to one directory descriptor, so that renaming or replacing the directory under
a running node can't make it write elsewhere. `sync` returns only when the device has the bytes, as far as
the operating system knows. OSError passes through: the floor above says what it means.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from pathlib import Path

from raftkit.errors import StorageError

__all__ = ["OsDisk", "OsFile"]

_LOCK = "lock"
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


class OsFile:
    """One open file. Not safe for two threads that write; reading beside a writer is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`. A short write is continued until an error says why."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file."""
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size:  # Linux reads at most 2 GiB at once
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        """Cut or extend (by zeros) to `size`."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Make content and size durable: `fdatasync`, on macOS F_FULLFSYNC (its fsync stops at the drive)."""
        if sys.platform == "darwin":
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Release the descriptor; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OsDisk:
    """The directory at `path`, made if it is missing (its parents too), readable by its owner only.

    With `read_only` it must be there, and whatever would change it is refused with an OSError.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self._path = os.fspath(path)
        self._read_only = read_only
        if not read_only:
            self._make()
        self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = -1

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        return self._path

    def create(self, name: str) -> OsFile:
        """A new empty file. Raises FileExistsError."""
        self._refuse_if_read_only()
        flags = _OPEN | os.O_RDWR | os.O_CREAT | os.O_EXCL
        return OsFile(os.open(name, flags, 0o600, dir_fd=self._directory))

    def open(self, name: str) -> OsFile:
        """An existing file. What the page cache holds of it is dropped first where that can be asked for.

        After a failed sync the kernel may keep pages marked clean that never reached the device; a node
        that restarts must see what the device has.
        """
        # Without O_NONBLOCK, opening a FIFO would wait for ever instead of being refused.
        access = os.O_RDONLY if self._read_only else os.O_RDWR
        descriptor = os.open(name, _OPEN | access | os.O_NONBLOCK, dir_fd=self._directory)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{name} is not a plain file")
        if sys.platform == "linux":
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return OsFile(descriptor)

    def rename(self, old: str, new: str) -> None:
        """Atomically give `old` the name `new`, replacing what was there."""
        self._refuse_if_read_only()
        os.rename(old, new, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def remove(self, name: str) -> None:
        """Remove the name."""
        self._refuse_if_read_only()
        os.unlink(name, dir_fd=self._directory)

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(os.listdir(self._directory))  # noqa: PTH208 - of a descriptor, not of a path

    def sync_directory(self) -> None:
        """Make creations, renames and removals durable."""
        os.fsync(self._directory)

    def lock(self) -> None:
        """Hold the directory until `close`, against other processes and against this one.

        Raises StorageError naming the process that holds it. The lock dies with its holder: there are
        no stale locks to clear. (A network file system may not keep it.)
        """
        self._refuse_if_read_only()
        flags = _OPEN | os.O_RDWR | os.O_CREAT
        descriptor = os.open(_LOCK, flags, 0o600, dir_fd=self._directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "?"
            os.close(descriptor)
            raise StorageError(
                f"{self._path} is in use by process {holder}: stop it first, or give this node "
                "a directory of its own"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._lock = descriptor

    def close(self) -> None:
        """Release the lock and the directory; a second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise OSError(errno.EROFS, "opened for reading only", self._path)

    def _make(self) -> None:
        """Make the directory, and its name durable in its parent."""
        place = Path(self._path)
        if place.is_dir():
            return
        place.mkdir(mode=0o700, parents=True)
        parent = os.open(place.absolute().parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
