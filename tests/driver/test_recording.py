"""What a recording keeps, where it ends, and what it refuses."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import get_args

import attrs
import pytest

from raftkit.changes import (
    AddLearner,
    ChangeMembership,
    ChangeSettings,
    Demote,
    Promote,
    Readdress,
    Remove,
)
from raftkit.config import Config
from raftkit.core import Raft
from raftkit.driver.recorded_inputs import config_form, input_form, read_config, read_input
from raftkit.driver.recording import (
    Begun,
    Ended,
    Logged,
    Noted,
    Recorder,
    RecordingUnreadable,
    Stepped,
    Stopped,
    digest_of,
    open_recorder,
    read_recording,
)
from raftkit.driver_messages import DriverMessage
from raftkit.encoding import MalformedError, dumps, loads
from raftkit.leadership import StepDown, TransferLeadership
from raftkit.membership import Configuration, Member, Settings
from raftkit.messages import (
    Applied,
    Barred,
    Fetch,
    Fetched,
    Fit,
    Input,
    PeerUnreachable,
    Persisted,
    PersistentState,
    PriorityHeard,
    Propose,
    Read,
    ReadSnapshot,
    Receive,
    SnapshotRead,
    SnapshotTaken,
    StorageStalled,
    Tick,
    Unfit,
)
from raftkit.model import Identity, Index, Kind, Run, Term
from raftkit.snapshot import SeekSnapshot, SnapshotBeginning, SnapshotFound
from tests.wire.examples import COMMANDS, MESSAGES, MIXED, SENDER, SNAPSHOT

ASKED = Fetch(first=Index(42), last=Index(45), bytes_max=100)
PART = ReadSnapshot(target="b", snapshot=SNAPSHOT, offset=7, bytes_max=100)
SOUGHT = SeekSnapshot(snapshot=SNAPSHOT, offset=7, leader="b")
INPUTS: list[Input] = [
    Tick(count=3, wall_ns=1_700_000_000_000_000_000, monotonic_ns=5),
    *(
        Receive(sender=SENDER, message=it)
        for it in MESSAGES.values()
        if not isinstance(it, DriverMessage)
    ),
    Propose(ticket=9, payloads=(b"x", b""), kinds=(Kind.COMMAND, Kind.SESSION), origin="b"),
    Propose(ticket=9, payloads=(b"x", b"y"), kinds=(Kind.COMMAND, Kind.COMMAND)),
    Propose(ticket=9, payloads=(b"x",)),
    Read(ticket=(1 << 64) - 1),
    Read(ticket=3, lease=True),
    Persisted(sequence=4),
    Applied(index=Index(3)),
    Fetched(fetch=ASKED, runs=(COMMANDS, MIXED)),
    Fetched(fetch=ASKED, runs=()),
    SnapshotRead(request=PART, data=b"bytes"),
    SnapshotRead(request=PART, data=None),
    SnapshotTaken(snapshot=SNAPSHOT),
    SnapshotFound(request=SOUGHT, holder=SENDER, data=b"bytes"),
    SnapshotFound(request=SOUGHT),
    PeerUnreachable(peer="b"),
    PeerUnreachable(peer="b", succession=("c", "a")),
    Barred(reason="rolled\nback"),
    Unfit(reason="older code"),
    TransferLeadership(ticket=9, target="b"),
    TransferLeadership(ticket=9),
    StepDown(ticket=9, hand_over=True),
    StepDown(ticket=9, hand_over=False),
    Fit(),
    StorageStalled(sequence=7),
    PriorityHeard(peer="b", priority=0),
    PriorityHeard(peer="b", priority=-3),
    ChangeMembership(
        ticket=9,
        changes=(
            AddLearner(id="d", incarnation=2, address="d:1", promote=True),
            Promote(id="b"),
            Demote(id="c"),
            Remove(id="a"),
            Readdress(id="e", address="e:2"),
            ChangeSettings(settings=Settings(version=2)),
        ),
        based_on=Index(3),
    ),
    ChangeMembership(ticket=9, changes=()),
]
ME = Identity(id="a", incarnation=1)
CONFIG = Config(identity=ME, tail_bytes_max=0, appointed_leader="a", paranoid=False)
GROUP = Configuration(members=(Member(id="a", incarnation=1, address=""),))
LOG = (
    Run(
        first=Index(1),
        term=Term(1),
        time_ns=0,
        elapsed_ns=0,
        kinds=(Kind.CONFIGURATION,),
        payloads=(GROUP.encode(),),
    ),
)
FOUND = PersistentState(term=Term(1), voted_for=ME, runs=LOG, write_sequence=6)


@pytest.mark.parametrize(
    "config",
    [CONFIG, Config(identity=ME, priority=-2), Config(identity=ME, vote_timeout_ms=(10, 20))],
    ids=["a", "late", "hasty"],
)
def test_settings_are_read_as_they_were_written(config: Config) -> None:
    assert read_config(loads(dumps(config_form(config)))) == config


@pytest.mark.parametrize(
    "setting",
    [
        *({"priority": True}, {"priority": -11}, {"priority": "x"}, {"appointed_leader": 7}),
        *({"vote_timeout_ms": 7}, {"vote_timeout_ms": [7]}, {"vote_timeout_ms": [20, 10]}),
        *({"vote_timeout_ms": ["1", 2]}, {"vote_timeout_ms": [-1, 2]}),
    ],
)
def test_wishes_that_nobody_can_have_are_malformed(setting: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        read_config(config_form(CONFIG) | setting)


def later(ticks: int) -> Tick:
    return Tick(count=ticks, wall_ns=1, monotonic_ns=2)


def record(recorder: Recorder) -> None:
    """A server alone takes office and commits a command."""
    life, found = recorder.begin(CONFIG, FOUND, seed=7)
    raft = Raft(CONFIG, found, random.Random(7))
    life.step(raft, [later(60)])
    life.step(raft, [Persisted(sequence=7)])
    recorder.note("a fault")
    life.step(raft, [later(1), Persisted(sequence=8), Propose(ticket=1, payloads=(b"x",))])
    life.end("crashes")


def recording(path: Path, bytes_max: int = 1 << 20) -> Path:
    with closing(open_recorder(path, bytes_max=bytes_max)) as recorder:
        record(recorder)
    return path


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("it", INPUTS, ids=lambda it: type(it).__name__)
def test_an_input_comes_back_as_it_was(it: Input) -> None:
    assert read_input(loads(dumps(input_form(it)))) == it


def test_every_kind_of_input_is_among_them() -> None:
    assert {type(it) for it in INPUTS} == {*get_args(Input)}


@pytest.mark.parametrize(
    "form",
    [
        [],
        [0],
        [99, 1],
        [15, 1],
        [16, 1, [[0]], None],
        [17],
        [1, 2],
        [1, -1, 2, 3],
        [2, "a", 1, b"\1\x20"],
        [11, b"x"],
        "x",
    ],
)
def test_what_is_no_input_is_refused(form: object) -> None:
    with pytest.raises(MalformedError):
        read_input(form)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_recording_holds_the_beginning_every_batch_and_the_end(tmp_path: Path) -> None:
    begun, logged, *steps, ended = read_recording(recording(tmp_path / "a.rec"))

    assert isinstance(begun, Begun)
    assert (begun.config, begun.seed, begun.extreme) == (CONFIG, 7, False)
    assert begun.persistent == PersistentState(term=Term(1), voted_for=ME, write_sequence=6)
    assert logged == Logged(life=begun.life, run=LOG[0])
    raft = Raft(CONFIG, FOUND, random.Random(7))
    batches = (
        (later(60),),
        (Persisted(sequence=7),),
        None,
        (later(1), Persisted(sequence=8), Propose(ticket=1, payloads=(b"x",))),
    )
    assert steps == [
        Noted(words="a fault")
        if batch is None
        else Stepped(life=begun.life, inputs=batch, digest=digest_of(raft.step(batch)))
        for batch in batches
    ]
    assert ended == Ended(life=begun.life, why="crashes")


def test_what_was_received_of_a_snapshot_is_recorded(tmp_path: Path) -> None:
    part = SnapshotBeginning(snapshot=attrs.evolve(SNAPSHOT, index=Index(9)), size=7, checksum=8)
    with closing(open_recorder(tmp_path / "a.rec")) as recorder:
        recorder.begin(CONFIG, attrs.evolve(FOUND, received=part), seed=7)

    begun = next(iter(read_recording(tmp_path / "a.rec")))
    assert isinstance(begun, Begun)
    assert begun.persistent.received == part


def test_a_batch_at_which_the_core_raises_is_there_without_a_digest(tmp_path: Path) -> None:
    with closing(open_recorder(tmp_path / "a.rec")) as recorder:
        life, found = recorder.begin(CONFIG, FOUND, seed=7)
        raft = Raft(CONFIG, found, random.Random(7))
        with pytest.raises(AssertionError):
            life.step(raft, [later(1), later(1)])

    *_, last = read_recording(tmp_path / "a.rec")
    assert last == Stepped(life=life.number, inputs=(later(1), later(1)), digest=None)


def test_a_recording_ends_at_its_bound_and_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    whole = recording(tmp_path / "whole.rec").stat().st_size
    opened = open_recorder(tmp_path / "a.rec", bytes_max=whole - 40, on_stop=told.append)

    with closing(opened) as recorder:
        record(recorder)
        recorder.note("more")

    *_, last = read_recording(tmp_path / "a.rec")
    assert told == [f"it has reached its {whole - 40:,} bytes"]
    assert last == Stopped(why=told[0])
    assert (tmp_path / "a.rec").stat().st_size < whole + 60


def test_a_disk_that_refuses_ends_the_recording_and_nothing_else() -> None:
    told: list[str] = []
    with Path("/dev/full").open("wb", buffering=0) as full:
        record(Recorder(file=full, size=16, on_stop=told.append))

    assert told == ["the disk refuses: No space left on device"]


def test_what_a_killed_process_left_of_a_record_is_said_and_cut(tmp_path: Path) -> None:
    """Wherever the last record is cut, all before it is read, and the next life goes on after that."""
    data = recording(tmp_path / "a.rec").read_bytes()
    whole = list(read_recording(tmp_path / "a.rec"))
    last = len(data) - len(dumps([4, 16, "crashes"])) - 8
    for size in range(last + 1, len(data)):
        path = tmp_path / f"{size}.rec"
        path.write_bytes(data[:size])

        *before, cut = read_recording(path)
        recording(path)

        assert before == whole[:-1]
        assert cut == Stopped(why=f"there is no whole record at byte {last} of {size:,}")
        again = list(read_recording(path))
        assert again[: len(before)] == before
        assert [type(it) for it in again[len(before) :]] == [type(it) for it in whole]


def test_lives_in_one_file_have_names_of_their_own(tmp_path: Path) -> None:
    recording(tmp_path / "a.rec")
    found = list(read_recording(recording(tmp_path / "a.rec")))

    assert len({it.life for it in found if isinstance(it, Begun)}) == 2


@pytest.mark.parametrize("data", [b"x" * 100, b"raftkit rec\n\0", b"raftkit rec\n\0\0\0\2"])
def test_what_is_no_recording_of_this_format_is_refused_and_left_alone(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(data)

    with pytest.raises(RecordingUnreadable, match=r"no recording of raftkit|of format 2"):
        list(read_recording(path))
    with pytest.raises(RecordingUnreadable):
        open_recorder(path)
    assert path.read_bytes() == data


def test_a_record_of_another_raftkit_is_refused_with_its_place(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.rec")
    size = path.stat().st_size
    with closing(open_recorder(path)) as recorder:
        recorder.write([9, "from the future"])

    with pytest.raises(RecordingUnreadable, match=f"at byte {size}: a record of number 9"):
        list(read_recording(path))
