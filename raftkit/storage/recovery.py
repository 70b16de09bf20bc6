"""Opening a log: what a crash left is put right, what rotted is refused.

Laws: a bad record is *torn* only if nothing proves that it was once durable and its bytes look like those of
an interrupted write: it is cut off, and the cut is synced before anything is accepted. Everything else is
`LogCorrupt`, and then nothing on disk was changed. Running this again after a crash in its midst ends the
same.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from raftkit import encoding
from raftkit.driver_messages import Scope
from raftkit.encoding import MalformedError
from raftkit.errors import LogCorrupt
from raftkit.model import Identity, Index
from raftkit.storage import records, segments
from raftkit.storage.base import Disk
from raftkit.storage.identity import Place
from raftkit.storage.log import Layout, Log
from raftkit.storage.records import Record, RecordType
from raftkit.storage.segments import PREAMBLE_SIZE, Segment, SegmentHeader
from raftkit.storage.snapshots import is_snapshot

__all__ = ["Recovery", "check_remains", "recover"]

_Footer = tuple[Segment, tuple[bytes, ...], int]
"A segment that has a successor and no whole footer, the body of that footer, and its sequence."
_SECTOR = 512
_TAIL = 8
_START = 12  # a footer ends with its own start (8 bytes) and the record's checksum (4)


def _numbers_of(names: list[str]) -> list[int]:
    """The segments among the files `names`, in order."""
    return sorted(n for n in map(segments.number_of, names) if n is not None)


@attrs.frozen(kw_only=True)
class Recovery:
    """A log that was read and judged. Nothing on disk was changed yet."""

    log: Log
    "What was read. Not to be appended to before `heal`."
    numbers: list[int]
    "Segments on disk, some maybe not needed any more."
    missing: list[_Footer]
    "Footers that a crash left unwritten."
    torn: int
    "Bytes after the last record, up to the last that is not zero: of an interrupted write."

    def heal(self, healed: list[str]) -> None:
        """Put right what a crash left, durably, and tell it in `healed`. Raises OSError."""
        for segment, footer, sequence in self.missing:
            healed.append(f"{segment.path}: the footer was missing or bad, and was written anew")
            segment.durable = segment.flushed = segment.end
            segment.seal(footer, sequence)
        last = self.log.segments[-1]
        if self.torn:
            healed.append(f"{last.path}: an interrupted write was cut off at byte {last.end}")
            _cut(last)
        # What was read may never have been synced: a process that died left it in the page cache.
        last.flushed = last.end
        last.sync()
        for number in self.numbers:
            if number < self.log.segments[0].header.number:
                self.log.disk.remove(segments.name_of(number))
        self.log.disk.sync_directory()


def recover(
    disk: Disk, scope: Scope, owner: Identity, layout: Layout, *, least_end: Place
) -> Recovery:
    """Read and judge the log in `disk`, which was durable up to `least_end` once.

    Raises LogCorrupt, WrongCluster, StorageError, OSError.
    """
    numbers = _numbers_of(disk.names())
    if not numbers:
        raise LogCorrupt(disk.path, 0, None, "the node was founded, and its log is gone")
    log = Log(disk=disk, scope=scope, owner=owner, layout=layout)
    try:
        last, data = _open(log, numbers[-1])
        story = list(_scan(last, data))
        _check_tail(last, data)
        if (last.header.number, last.end) < least_end:
            detail = "the log was longer when the identity file was written: it was cut or replaced"
            raise LogCorrupt(last.path, last.end, None, detail)
        missing = _replay_sealed(log, numbers, _first_needed(last, story), numbers[-1] - 1)
        _join(log, last)
        _replay(log, last, story)
        _check(log)
    except BaseException:
        log.close()
        raise
    torn = len(data[last.end :].rstrip(b"\0"))
    return Recovery(log=log, numbers=numbers, missing=missing, torn=torn)


def check_remains(disk: Disk, *, boot: int) -> None:
    """Whether the files of a node that was never founded are what an interrupted founding leaves.

    That is nothing, or segment 1 with its head and no more; nothing at all where `boot` is 0, which says
    that the directory was never opened. Raises LogCorrupt, StorageError.
    """
    numbers = _numbers_of(disk.names())
    if boot == 0 and (numbers or any(map(is_snapshot, disk.names()))):
        raise LogCorrupt(disk.path, 0, None, "there is a log, and the identity file is gone")
    if not numbers:
        return
    detail = "there is a log, and the identity file says that the node was never founded"
    if numbers != [1]:
        raise LogCorrupt(disk.path, 0, None, detail)
    file = disk.open(segments.name_of(1))
    try:
        path = f"{disk.path}/{segments.name_of(1)}"
        data = file.read_at(0, file.size())
        header = SegmentHeader.decode(path, data)
    finally:
        file.close()
    if data[header.head :].strip(b"\0"):
        raise LogCorrupt(path, header.head, None, detail)


def _open(log: Log, number: int, *, size: int | None = None) -> tuple[Segment, bytes]:
    """Segment `number` with its content, or with its first `size` bytes. Not in `log.segments` yet."""
    name = segments.name_of(number)
    path = f"{log.disk.path}/{name}"
    try:
        file = log.disk.open(name)
    except FileNotFoundError as error:
        raise LogCorrupt(path, 0, None, "this segment is missing") from error
    try:
        allocated = file.size()
        data = file.read_at(0, allocated if size is None else size)
        header = SegmentHeader.decode(path, data)
        header.check(path, log.scope, log.owner, number)
    except BaseException:
        file.close()
        raise
    seed = segments.seed_of(data[:PREAMBLE_SIZE])
    segment = Segment(
        file=file,
        path=path,
        header=header,
        seed=seed,
        end=PREAMBLE_SIZE,
        durable=PREAMBLE_SIZE,
        allocated=allocated,
        chain=seed,
        flushed=PREAMBLE_SIZE,
    )
    return segment, data


# ── the last segment: torn or corrupt ────────────────────────────────────────────────────────────────


def _scan(segment: Segment, data: bytes) -> Iterator[Record]:
    """Intact records from the start on; `end` and `chain` of the segment follow them."""
    while (
        record := records.decode(data, segment.end, seed=segment.seed, offset=segment.end)
    ) is not None:
        if record.previous != segment.chain:
            raise LogCorrupt(
                segment.path, record.offset, None, "the record does not follow the one before it"
            )
        segment.end, segment.chain = record.end, record.checksum
        yield record


def _check_tail(segment: Segment, data: bytes) -> None:
    """Whether all from `segment.end` on may be cut off. Raises LogCorrupt if not."""
    offset = segment.end
    if offset < segment.header.head:
        why = "a record that was durable before the file got its name is bad"
    elif _proved(segment, data):
        why = "the record is bad, and a later one proves that it was durable"
    elif not _torn(segment, data):
        why = "the record is bad, and not as an interrupted write leaves one"
    else:
        return
    raise LogCorrupt(segment.path, offset, None, why)


def _proved(segment: Segment, data: bytes) -> bool:
    """Whether an intact record after `segment.end` says that what lies there was durable."""
    later = records.search(data, segment.end, seed=segment.seed, offset=0)
    return any(record.durable > segment.end for record in later)


def _torn(segment: Segment, data: bytes) -> bool:
    """Whether the bad record at `segment.end` looks like an interrupted write, or nothing is there.

    Its own bytes within one sector are all zero, or its last eight are. Where its header is bad its size
    can't be known, and the header is judged alone. Bytes beyond the end of the file count as zeros.
    """
    start = segment.end
    size = records.peek_size(data, start, seed=segment.seed, offset=start)
    end = start + (size or records.HEADER_SIZE)
    if not any(data[max(start, end - _TAIL) : end]):
        return True
    sectors = range(start - start % _SECTOR, end, _SECTOR)
    return any(not any(data[max(start, at) : min(end, at + _SECTOR)]) for at in sectors)


# ── the segments before it ───────────────────────────────────────────────────────────────────────────


def _first_needed(last: Segment, story: list[Record]) -> int:
    """The oldest segment that the newest base still needs."""
    try:
        for record in reversed(story):
            if record.type in {RecordType.BASE, RecordType.RESET}:
                first = records.decode_base(record.body)[2]
                return encoding.unsigned(first, lowest=1, highest=last.header.number)
    except MalformedError as error:
        raise LogCorrupt(last.path, last.header.head, None, str(error)) from error
    raise LogCorrupt(last.path, PREAMBLE_SIZE, None, "nothing says where the log begins")


def _replay_sealed(log: Log, numbers: list[int], first: int, last: int) -> list[_Footer]:
    """Bring `log` over segments `first` to `last`. Returns the footers that have to be written."""
    missing: list[_Footer] = []
    for number in range(first, last + 1):
        if number not in numbers:
            path = f"{log.disk.path}/{segments.name_of(number)}"
            raise LogCorrupt(path, 0, None, "this segment is missing")
        segment, _ = _open(log, number, size=PREAMBLE_SIZE)
        _join(log, segment)
        footer = _footer(segment)
        if footer is None:
            story = [it for it in _scan(segment, _content(segment)) if not _is_footer(it)]
            if story:  # the footer, if it is there, ends no chain
                segment.end, segment.chain = story[-1].end, story[-1].checksum
            _replay(log, segment, story)
            missing.append((segment, segment.footer(log.last_index), log.sequence))
        else:
            _replay_footer(log, segment, footer)
    return missing


def _footer(segment: Segment) -> Record | None:
    """The footer with which the file ends, if it is whole."""
    at = segment.allocated - _START
    start = int.from_bytes(segment.file.read_at(at, 8), "little") if at > PREAMBLE_SIZE else 0
    if not PREAMBLE_SIZE <= start < at:
        return None
    data = segment.file.read_at(start, segment.allocated - start)
    record = records.decode(data, 0, seed=segment.seed, offset=start)
    if record is None or not _is_footer(record) or record.end != segment.allocated:
        return None
    return record


def _replay_footer(log: Log, segment: Segment, footer: Record) -> None:
    """Bring `log` over `segment` by its footer alone."""
    try:
        log.on_footer(segment, footer)
    except MalformedError as error:
        raise LogCorrupt(segment.path, footer.offset, None, str(error)) from error
    segment.end = segment.durable = segment.flushed = footer.end
    segment.chain = footer.previous


def _is_footer(record: Record) -> bool:
    return record.type is RecordType.FOOTER


def _content(segment: Segment) -> bytes:
    return segment.file.read_at(0, segment.allocated)


def _join(log: Log, segment: Segment) -> None:
    """Append `segment` to the log's. It must begin where the log ends, as far as the log can tell."""
    header = segment.header
    if not log.segments:
        log.last_index = Index(header.first_index - 1)
    elif log.segments[-1].chain != header.chain:
        before = log.segments[-1]
        detail = f"what follows is bad or missing, and {segment.path} proves that it was durable"
        raise LogCorrupt(before.path, before.end, None, detail)
    log.segments.append(segment)
    if header.first_index != log.last_index + 1:
        detail = f"begins with entry {header.first_index}, the log ends with {log.last_index}"
        raise LogCorrupt(segment.path, 0, header.first_index, detail)


# ── what the records say ─────────────────────────────────────────────────────────────────────────────


def _replay(log: Log, segment: Segment, story: list[Record]) -> None:
    """Bring `log` over the records of `segment`."""
    for record in story:
        if record.type is RecordType.FOOTER:
            detail = "the segment was ended, and the one after it is missing"
            raise LogCorrupt(segment.path, record.offset, None, detail)
        try:
            _check_run(log, record)
            log.on_record(segment, record)
        except MalformedError as error:
            raise LogCorrupt(segment.path, record.offset, None, str(error)) from error


def _check_run(log: Log, record: Record) -> None:
    """Entries follow each other, and their terms never fall."""
    if record.type is RecordType.RUN:
        first, _, term = records.run_span(record.body)
        if first != log.last_index + 1:
            raise MalformedError(f"entry {first} where {log.last_index + 1} belongs")
        before = log.term_at(log.last_index)
        if before is not None and term < before:
            raise MalformedError(f"an entry of term {term} after one of term {before}")


def _check(log: Log) -> None:
    """The whole: no gap between base and entries, and no term above the current one."""
    path = log.segments[-1].path
    if log.base_index > log.last_index:
        raise LogCorrupt(path, 0, log.last_index, f"the log ends before its base {log.base_index}")
    if log.base_index < log.last_index and log.find(Index(log.base_index + 1)) is None:
        raise LogCorrupt(path, 0, log.base_index + 1, "the first entry is missing")
    term = log.term_at(log.last_index)
    if term is None or term > log.hard_state[0]:
        detail = f"the last entry is of term {term}, the current term is {log.hard_state[0]}"
        raise LogCorrupt(path, 0, log.last_index, detail)


def _cut(last: Segment) -> None:
    """Zero everything from the end of the last record on, durably.

    First the last eight bytes of the bad record's header: however the rest of the zeros is torn by
    another crash, what is left reads as torn again.
    """
    at = last.end + records.HEADER_SIZE - _TAIL
    if at + _TAIL <= last.allocated:
        last.file.write_at(at, bytes(_TAIL))
        last.file.sync()
    last.file.write_at(last.end, bytes(max(0, last.allocated - last.end)))
    last.file.sync()
