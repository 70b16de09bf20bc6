"""Every storage that raftkit ships passes the suite that it offers to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftkit.storage import MemoryStorage, Storage, open_storage
from raftkit.testing.simulated_disk import SimulatedDisk
from raftkit.testing.storage_conformance import StorageConformance


class TestMemory(StorageConformance):
    def fresh(self) -> Storage:
        return MemoryStorage("a")

    def reopen(self, storage: Storage) -> Storage:
        assert isinstance(storage, MemoryStorage)
        return storage.reopen()


class TestSimulatedDisk(StorageConformance):
    """With segments so small that nearly each record begins one."""

    def fresh(self) -> Storage:
        self.disk = SimulatedDisk()
        return self.open()

    def reopen(self, storage: Storage) -> Storage:
        storage.close()
        self.disk = self.disk.crash()
        return self.open()

    def open(self) -> Storage:
        return open_storage(
            "", "a", disk=self.disk, segment_bytes=1024, preallocate_bytes=512, mark_bytes=1
        )


class TestFiles(StorageConformance):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.path = tmp_path / "node"

    def fresh(self) -> Storage:
        return open_storage(self.path, "a", mark_bytes=4096)

    def reopen(self, storage: Storage) -> Storage:
        storage.close()
        return open_storage(self.path, "a", mark_bytes=4096)
