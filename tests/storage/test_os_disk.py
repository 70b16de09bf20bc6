"""The operating system's directory: links, locks, permissions, and readers beside a writer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from raftkit.errors import LogCorrupt, StorageError
from raftkit.messages import Write
from raftkit.model import Index
from raftkit.storage import OsDisk, open_storage
from raftkit.testing.storage_conformance import a_run, founding_record, own_snapshot


def test_link_pipe_and_directory_are_refused_as_files(tmp_path: Path) -> None:
    disk = OsDisk(tmp_path)
    (tmp_path / "elsewhere").write_bytes(b"x")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "directory", "pipe"):
        with pytest.raises(OSError):  # noqa: PT011 - the kernel's word differs for each
            disk.open(name)
    with pytest.raises(FileExistsError):
        disk.create("link")


def test_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    with pytest.raises(StorageError, match="can't be used as a directory"):
        open_storage(tmp_path / "file", "a")


def test_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")

    with pytest.raises(StorageError, match="lock"):
        open_storage(tmp_path, "a")


def test_identity_that_is_a_link_is_refused(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "a", "a")
    storage.close()
    (tmp_path / "a" / "identity-1").unlink()
    (tmp_path / "a" / "identity-1").symlink_to(tmp_path / "a" / "identity-2")

    with pytest.raises(StorageError):
        open_storage(tmp_path / "a", "a")


def test_only_the_owner_can_read_what_is_made(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "deep" / "node", "a")
    storage.found(founding_record(storage))
    storage.close()
    node = tmp_path / "deep" / "node"

    assert node.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in node.iterdir())


@pytest.mark.slow
@pytest.mark.accept("C-12")
def test_directory_in_use_by_another_process_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; from raftkit.storage import open_storage; "
        "open_storage(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StorageError, match=f"is in use by process {other.pid}: stop it first"):
            open_storage(tmp_path, "a")
        other.kill()

    assert open_storage(tmp_path, "a").record.boot == 2  # the lock died with its holder


def test_same_process_can_not_open_a_directory_twice(tmp_path: Path) -> None:
    storage = open_storage(tmp_path, "a")

    with pytest.raises(StorageError, match=f"is in use by process {os.getpid()}"):
        open_storage(tmp_path, "a")
    storage.close()
    open_storage(tmp_path, "a").close()


def test_refused_directory_is_released(tmp_path: Path) -> None:
    """An error on opening holds neither the lock nor files."""
    storage = open_storage(tmp_path, "a")
    storage.found(founding_record(storage))
    storage.close()
    log = tmp_path / "log-0000000001"
    content = log.read_bytes()
    log.write_bytes(b"\xff" + content[1:])
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(LogCorrupt):
            open_storage(tmp_path, "a")
    assert open_descriptors() == before
    log.write_bytes(content)

    open_storage(tmp_path, "a").close()


def open_descriptors() -> int:
    """How many files this process has open; 0 where that can't be asked."""
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.is_dir() else 0


@pytest.mark.slow
def test_reads_and_own_snapshots_run_beside_writes(tmp_path: Path) -> None:
    """Small segments and compaction make the writer move files under the readers."""
    storage = open_storage(tmp_path, "a", segment_bytes=8192, preallocate_bytes=4096)
    storage.found(founding_record(storage))
    done = threading.Event()
    wrong: list[BaseException] = []

    def reader() -> None:
        try:
            first = 1
            while not done.is_set():
                runs = storage.read(Index(first), 500)
                assert all(e.payload == b"%d" % e.index for run in runs for e in run if e.index > 1)
                first = runs[-1].last + 1 if runs else max(1, first - 3)
        except BaseException as error:  # noqa: BLE001 - asserted below
            wrong.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for n in range(300):
        first = 2 + 3 * n
        run = a_run(first, 1, *(b"%d" % index for index in range(first, first + 3)))
        storage.perform([Write(sequence=2 * n + 1, runs=(run,))])
        if n % 50 == 49:
            own_snapshot(storage, first - 20, [b"state"])
            storage.perform([Write(sequence=2 * n + 2, compact_to=Index(first - 20))])
    done.set()
    thread.join()

    assert wrong == []
    assert storage.read(Index(901), 1)[0].payloads == (b"901",)
    storage.close()
    assert open_storage(tmp_path, "a", segment_bytes=8192).recovered.base_index > 800


def test_sync_asks_the_kernel_and_opening_forgets_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test can cut the power of this machine: so at least the calls are made."""
    asked: list[str] = []
    for name in ("fdatasync", "fsync", "posix_fadvise"):
        real = getattr(os, name)

        def noted(*arguments: int, name: str = name, real: Callable[..., None] = real) -> None:
            asked.append(name)
            real(*arguments)

        monkeypatch.setattr(os, name, noted)
    disk = OsDisk(tmp_path / "new")
    disk.create("file").sync()
    disk.sync_directory()
    disk.open("file")

    assert asked == ["fsync", "fdatasync", "fsync", "posix_fadvise"]
