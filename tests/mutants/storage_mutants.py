"""Mistakes in the storage: each loses, invents or believes what a disk may have done.

See `mutants.py`. `tests` says which files are to notice; no simulator of the core has these disks under it.
"""

from __future__ import annotations

from functools import partial

from tests.mutants.mutants import beside_the_core

__all__ = ["STORAGE_MUTANTS"]

_CRASHES = "tests/storage/test_crash_points.py"
_CORRUPTION = "tests/storage/test_corruption.py"
_FAULTS = "tests/storage/test_faults.py"
_LOG = "tests/storage/test_log.py"
_OS_DISK = "tests/storage/test_os_disk.py"
_WRITER = "tests/storage/test_writer.py"

_mistake = partial(beside_the_core, package="storage")

STORAGE_MUTANTS = (
    # ── synced, then said ──
    _mistake(
        "acknowledges-before-sync",
        "durable is said after the sync (H2)",
        "file.py",
        "            if dirty:\n                log.sync()\n",
        "",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[append]",
    ),
    _mistake(
        "completes-before-performing",
        "the writer says nothing of a write that it has only taken",
        "writer.py",
        "                    self._storage.perform(writes)\n"
        "                    self._answer(writes[-1].sequence)\n",
        "                    self._answer(writes[-1].sequence)\n"
        "                    self._storage.perform(writes)\n",
        _WRITER,
    ),
    _mistake(
        "late-is-called-durable",
        "what was waited for in vain is not durable",
        "writer.py",
        "            self._awaited, done = None, self._completed == self._submitted\n",
        "            self._awaited, done = None, True\n",
        _WRITER,
    ),
    _mistake(
        "late-is-never-told",
        "who waited in vain is rung for",
        "writer.py",
        "            self._awaited, done = None, self._completed == self._submitted\n",
        "            done = self._completed == self._submitted\n",
        _WRITER,
    ),
    _mistake(
        "waits-behind-others",
        "the loop waits for no write that others go before",
        "writer.py",
        "            if self._completed == self._submitted and self._haste.allows(write):\n",
        "            if self._haste.allows(write):\n",
        _WRITER,
    ),
    _mistake(
        "loop-waits-for-ever",
        "the loop waits for no disk longer than it may",
        "writer.py",
        "        awaited.acquire(timeout=self._haste.late_seconds)\n",
        "        awaited.acquire()\n",
        _WRITER,
    ),
    _mistake(
        "slow-disk-stops-the-loop",
        "a disk that was late is not waited for",
        "writer.py",
        "self._mean, self._resumes = 0.0, time.monotonic() + self._pause",
        "self._mean, self._resumes = 0.0, 0.0",
        _WRITER,
    ),
    _mistake(
        "sync-is-no-sync",
        "sync asks the kernel",
        "disk.py",
        "            os.fdatasync(self._descriptor)",
        "            pass",
        _OS_DISK,
    ),
    _mistake(
        "failed-sync-is-tried-again",
        "an error is final: after a failed sync nobody knows what the disk holds (H3)",
        "file.py",
        "            self._failure = _explain(self._disk, error)\n            raise self._failure from error",
        "            raise _explain(self._disk, error) from error",
        _FAULTS,
    ),
    _mistake(
        "error-of-the-writer-is-forgotten",
        "what failed in the thread is raised by every later call",
        "writer.py",
        "            self._failure = error\n        self._ended = True",
        "            del error\n        self._ended = True",
        f"{_WRITER}::test_error_is_raised_by_every_later_call",
    ),
    _mistake(
        "found-is-not-synced",
        "what a killed process left in the page cache is made durable before it is claimed",
        "recovery.py",
        "        last.flushed = last.end\n        last.sync()\n",
        "        last.flushed = last.end\n",
        f"{_CRASHES}::test_what_a_killed_process_left_unsynced_is_made_durable_before_it_is_claimed",
    ),
    # ── torn or rotten ──
    _mistake(
        "torn-tail-is-not-cut",
        "what a torn write left is gone before anything is accepted (H4)",
        "recovery.py",
        "            _cut(last)\n",
        "",
        _LOG,
        _CRASHES,
    ),
    _mistake(
        "rotten-is-taken-for-torn",
        "what a later record proves durable is not cut off (H5)",
        "recovery.py",
        "    elif _proved(segment, data):",
        "    elif False:",
        _CORRUPTION,
    ),
    _mistake(
        "whatever-is-bad-is-torn",
        "only what looks like an interrupted write is cut off (H5)",
        "recovery.py",
        "    elif not _torn(segment, data):",
        "    elif False:",
        _CORRUPTION,
    ),
    _mistake(
        "record-is-not-checked",
        "a record counts if its checksum is right",
        "records.py",
        "- _CHECKSUM.size], seen) != checksum:",
        "- _CHECKSUM.size], seen) != checksum and False:",
        "tests/storage/test_formats.py::test_record_at_another_place_or_with_any_byte_changed_is_none",
    ),
    _mistake(
        "chain-is-not-checked",
        "each record follows the one before: a lost write shows",
        "recovery.py",
        "        if record.previous != segment.chain:",
        "        if False:",
        _CORRUPTION,
    ),
    _mistake(
        "successor-is-not-checked",
        "a segment begins where the one before ends",
        "recovery.py",
        "    elif log.segments[-1].chain != header.chain:",
        "    elif False:",
        _LOG,
        _CORRUPTION,
    ),
    _mistake(
        "footer-is-not-checked",
        "a footer is one, whole, and the end of its file; else it is made anew",
        "recovery.py",
        "    if record is None or not _is_footer(record) or record.end != segment.allocated:",
        "    if record is None:",
        _LOG,
        _CORRUPTION,
    ),
    _mistake(
        "shorter-log-is-believed",
        "a log shorter than the identity file says was cut (H15)",
        "recovery.py",
        "        if (last.header.number, last.end) < least_end:",
        "        if False:",
        _CORRUPTION,
    ),
    # ── removals ──
    _mistake(
        "removal-is-not-read-back",
        "entries that were removed do not come back (H7)",
        "log.py",
        "                self.on_truncation(segment, records.decode_truncation(record.body))",
        "                records.decode_truncation(record.body)",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[truncate]",
    ),
    _mistake(
        "removal-ends-at-its-segment",
        "a removal reaches into segments before its own (H7)",
        "log.py",
        "        if cut != segments.NO_CUT:\n            self.on_truncation(segment, Index(cut))\n",
        "",
        _LOG,
    ),
    _mistake(
        "removed-before-the-base-is-durable",
        "a segment goes when the record that gives it up is durable",
        "file.py",
        "                dirty = log.flush()\n            if dirty:",
        "                dirty = log.flush()\n                log.remove_compacted()\n            if dirty:",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[receive]",
    ),
    _mistake(
        "old-segments-stay",
        "a segment whose removal was lost is removed again",
        "recovery.py",
        "                self.log.disk.remove(segments.name_of(number))",
        "                pass",
        _LOG,
    ),
    # ── segments and snapshots ──
    _mistake(
        "snapshot-under-way-is-removed",
        "a snapshot stays while it is sent and the log reaches back to it (F8)",
        "snapshots.py",
        "kept = [it for it in reached[:-KEPT] if it.meta == self._sent] + reached[-KEPT:]",
        "kept = reached[-KEPT:]",
        "tests/storage/test_conformance.py",
    ),
    _mistake(
        "hard-state-is-not-repeated",
        "each segment says term and vote, so that older ones can go",
        "log.py",
        "            (RecordType.HARD_STATE, records.encode_hard_state(*self.hard_state)),\n",
        "",
        _LOG,
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[rotate]",
    ),
    _mistake(
        "sequence-begins-anew",
        "the sequence goes on where the log ends",
        "log.py",
        "        self.sequence = max(self.sequence, record.sequence)\n        match",
        "        match",
        "tests/storage/test_conformance.py",
    ),
    _mistake(
        "segment-is-renamed-before-sync",
        "a name says that the head is durable",
        "segments.py",
        "    segment.sync()\n    disk.rename(partial, name)\n",
        "    disk.rename(partial, name)\n    segment.sync()\n",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[rotate]",
    ),
    _mistake(
        "name-of-a-segment-is-not-synced",
        "a new segment is found after a power cut",
        "segments.py",
        "    disk.rename(partial, name)\n    disk.sync_directory()\n",
        "    disk.rename(partial, name)\n",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[rotate]",
    ),
    _mistake(
        "snapshot-is-renamed-before-sync",
        "a file under a snapshot's name is whole (F6)",
        "snapshots.py",
        "        partial.file.sync()\n        self._disk.rename(name, name_of(meta.index))\n",
        "        self._disk.rename(name, name_of(meta.index))\n        partial.file.sync()\n",
        f"{_CRASHES}::test_a_snapshot_gives_way_to_another_of_its_index_when_that_one_is_whole",
    ),
    _mistake(
        "name-of-a-snapshot-is-not-synced",
        "a snapshot that the log relies on is found after a power cut (F6)",
        "snapshots.py",
        "        self._disk.rename(name, name_of(meta.index))\n        self._disk.sync_directory()\n",
        "        self._disk.rename(name, name_of(meta.index))\n",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[receive]",
    ),
    _mistake(
        "any-snapshot-is-adopted",
        "a snapshot that the log does not join was never acknowledged",
        "snapshots.py",
        "            if term_at(found.meta.index) == found.meta.term:",
        "            if True:",
        f"{_CRASHES}::test_no_power_cut_loses_or_invents_anything[receive]",
    ),
    _mistake(
        "received-snapshot-is-not-checked",
        "a snapshot is what its sender said",
        "receiving.py",
        "        if partial.checksum != chunk.snapshot.checksum:",
        "        if False:",
        "tests/storage/test_conformance.py",
    ),
    _mistake(
        "marks-are-believed-unseen",
        "what a reception goes on from has the checksum that it had",
        "receiving.py",
        "    if found != checksum:",
        "    if False:",
        "tests/storage/test_receiving.py",
    ),
    _mistake(
        "marked-before-it-is-synced",
        "what is marked is there after a power cut",
        "receiving.py",
        "        partial.file.sync()\n",
        "",
        "tests/storage/test_receiving.py",
    ),
    _mistake(
        "old-reception-is-gone-on-with",
        "what the log or a snapshot has reached is not received any more",
        "receiving.py",
        "if found is not None and is_of_use(found[0]):",
        "if found is not None:",
        "tests/storage/test_conformance.py",
    ),
    # ── the directory ──
    _mistake(
        "boots-are-not-counted",
        "each start has a number of its own, by which copies are recognised (H15)",
        "file.py",
        "boot=self.record.boot + 1",
        "boot=max(self.record.boot, 1)",
        f"{_CRASHES}::test_every_boot_that_was_ever_seen_is_outdone",
    ),
    _mistake(
        "one-identity-copy",
        "either copy alone is enough, so one bad one is healed",
        "identity.py",
        "        for name in COPIES:\n            partial",
        "        for name in COPIES[:1]:\n            partial",
        _CORRUPTION,
    ),
    _mistake(
        "founded-before-the-log",
        "entry 1 is durable before the identity file says founded",
        "file.py",
        "            owner = self.record.identity\n            self._log = Log.found(",
        "            owner = self.record.identity\n"
        "            self._store(attrs.evolve(self.record, founding=record))\n"
        "            self._log = Log.found(",
        f"{_CRASHES}::test_founding_is_all_or_nothing_at_every_cut",
    ),
    _mistake(
        "no-reserve",
        "a node on a full disk can be started and stopped",
        "file.py",
        "        self._keep_reserve(healed)\n        return healed",
        "        return healed",
        _FAULTS,
    ),
    _mistake(
        "reserve-is-kept-for-ever",
        "a full disk gets its reserve back",
        "file.py",
        "            if error.errno in _FULL:\n"
        "                self._release_reserve()\n"
        "            self._failure",
        "            self._failure",
        _FAULTS,
    ),
    _mistake(
        "directory-is-not-locked",
        "one process at a time has a directory",
        "disk.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "            pass",
        _OS_DISK,
    ),
)
"By what they break; docs/testing.md has them by name."
