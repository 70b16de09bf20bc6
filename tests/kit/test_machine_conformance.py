"""The kit for users' machines: planted defects are found, named and shown; good machines pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from raftkit import ConfigError, LocalProtocolError, StateMachine
from raftkit.cli.demo.machine import Transcript
from raftkit.testing.machine_conformance import (
    DefectFound,
    check_deterministic,
    check_machine,
    check_rejections,
    check_snapshot_round_trip,
)
from raftkit.testing.machines import twin
from raftkit.testing.machines.copy import Copy, Entry
from raftkit.testing.machines.traps import Traps
from tests.house.source import ROOT
from tests.kit import shops
from tests.kit.shops import (
    Alarm,
    Aliased,
    Careless,
    Forgetful,
    Fragile,
    Hashing,
    Hasty,
    Lost,
    Reader,
    Shop,
    Sloppy,
    Slots,
    Unordered,
)
from tests.node.machines import Counter
from tests.processes.machine import Lists

SETTINGS = st.tuples(st.sampled_from([b"a", b"b"]), st.binary(max_size=3)).map(b"".join)


def line_of(method: Any, text: str) -> str:
    """`tests/kit/shops.py:31`: where `text` stands in a method of the machines."""
    code = method.function.__code__
    source = Path(code.co_filename).read_text(encoding="utf-8").splitlines()
    number = next(n for n, it in enumerate(source, 1) if n >= code.co_firstlineno and text in it)
    return f"tests/kit/shops.py:{number}"


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Shop, Lists, Transcript])
def test_a_good_machine_passes(machine: type[StateMachine]) -> None:
    check_machine(machine, examples=30)


@pytest.mark.slow
def test_a_good_bytes_machine_passes() -> None:
    check_machine(Slots, commands=SETTINGS, examples=30)


# ── determinism ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "method, text, read",
    [
        ("clock", "time.time()", "time.time"),
        ("clock_by_its_own_name", "now()", "time.time"),
        ("day", "dt.datetime.now", "datetime.now"),
        ("chance", "randrange", "random.getrandbits through random.Random.randrange"),
        ("chance_by_a_method", "random.random()", "random.random"),
        ("own_chance", "random.Random()", "random.Random() through random.Random.__init__"),
        ("secret", "token_hex", "os.urandom through secrets.token_hex"),
        ("identity", "uuid4", "os.urandom through uuid.uuid4"),
        ("environment", "os.environ", "os.environ through collections.abc.Mapping.get"),
        ("file", "open(", "open"),
        ("hidden_clock", "time.monotonic", "time.monotonic"),
    ],
)
def test_what_a_command_must_not_read_is_named_with_its_line(
    method: str, text: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    copy = Copy(Reader)
    body = copy.replica.encode(getattr(Reader, method)())
    with Traps() as traps:
        copy.apply(Entry(body=body, elapsed_ns=1))

    assert traps.sprung is not None
    where = line_of(vars(Reader)[method], text)
    assert traps.sprung.startswith(f"read {read} ({where}): ")


def test_what_is_seeded_or_only_logged_springs_no_trap() -> None:
    copy = Copy(Reader)
    with Traps() as traps:
        for command in (Reader.seeded_chance(), Reader.logged()):
            copy.apply(Entry(body=copy.replica.encode(command), elapsed_ns=1))

    assert traps.sprung is None


@pytest.mark.slow
def test_a_clock_is_found_in_a_log_and_its_reader_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(DefectFound) as caught:
        check_deterministic(Reader, commands=[Reader.seeded_chance(), Reader.clock()])

    where = line_of(vars(Reader)["clock"], "time.time()")
    assert str(caught.value) == (
        f"Determinism: Reader.clock() at step 2 read time.time ({where}): use self.ctx.time_ns, or "
        "self.ctx.elapsed_ns for what expires; the log:\n"
        "  1  Reader.seeded_chance()\n  2  Reader.clock()"
    )


@pytest.mark.slow
def test_a_clock_that_no_trap_sees_shows_in_the_states() -> None:
    with pytest.raises(
        DefectFound, match=r"unseen_clock\(\) at step 1 left different states: field"
    ):
        check_deterministic(Reader, commands=[Reader.unseen_clock()])


@pytest.mark.slow
def test_the_order_of_a_set_is_found_and_shown() -> None:
    with pytest.raises(DefectFound) as caught:
        check_deterministic(Unordered)

    assert len(caught.value.log) == 1, "the shortest log"
    assert "Unordered.visit(names=[" in caught.value.fact
    assert "left different states: field seen: [" in caught.value.fact
    assert " / [" in caught.value.fact


@pytest.mark.slow
def test_answers_that_differ_between_processes_are_found() -> None:
    with pytest.raises(
        DefectFound, match=r"Hashing.bucket\(.*\) at step 1 was answered differently: "
    ):
        check_deterministic(Hashing)


@pytest.mark.slow
@pytest.mark.parametrize("factory", [shops.nameless, shops.stocked])
def test_a_factory_that_somebody_gave_a_name_is_found(factory: Any) -> None:
    check_deterministic(factory, commands=[Shop.deliver(shops.Sku("a"), 1)])


def test_a_factory_without_a_name_is_refused() -> None:
    with pytest.raises(
        LocalProtocolError, match="give the factory, or the class, a name at the top"
    ):
        check_deterministic(lambda: Shop(), commands=[])  # noqa: PLW0108 - nobody's name


@pytest.mark.slow
def test_a_program_checks_its_own_machine(tmp_path: Path) -> None:
    """The second process must not run the program's main part again."""
    program = tmp_path / "own.py"
    program.write_text(
        "import attrs\n"
        "from raftkit import StateMachine, command\n"
        "from raftkit.testing.machine_conformance import check_deterministic\n"
        "print('loaded')\n"
        "@attrs.define\n"
        "class Mine(StateMachine):\n"
        "    @command\n"
        "    def shout(self, word: str) -> None:\n"
        "        print(word)\n"
        "if __name__ == '__main__':\n"
        "    check_deterministic(Mine, commands=[Mine.shout('hello')])\n",
        encoding="utf-8",
    )

    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "loaded\nhello\n", "loaded\nhello\n")


@pytest.mark.slow
def test_a_second_process_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shops, "__file__", os.devnull)
    with pytest.raises(LocalProtocolError, match="the second process"):
        check_deterministic(Shop, commands=[])


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_that_changed_the_state_is_found() -> None:
    with pytest.raises(DefectFound) as caught:
        check_rejections(Hasty)

    assert str(caught.value) == (
        "Rejections: Hasty.take(amount=4) at step 1 raised Rejected and changed field total: 3 / -1: "
        "check first, then change; the log:\n  1  Hasty.take(amount=4)"
    )


def test_a_missing_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(DefectFound) as caught:
        check_rejections(Careless)

    where = line_of(vars(Careless)["add"], "+= 1")
    assert len(caught.value.log) == 1
    assert caught.value.fact.endswith(
        f"({where}): raise Rejected(…) for a request that must be refused"
    )
    assert "at step 1 raised KeyError" in caught.value.fact


def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A search applies hundreds of failing commands."""
    with pytest.raises(DefectFound):
        check_rejections(Careless)

    assert caplog.records == []


def test_a_field_that_holds_what_it_must_not_is_found() -> None:
    with pytest.raises(
        DefectFound, match=r"halve\(\) at step 1 would end every node: .*total: expec"
    ):
        check_rejections(Sloppy)


def test_what_breaks_by_time_alone_is_found() -> None:
    with pytest.raises(DefectFound, match="the clock entry of Alarm before step 2 raised ZeroDiv"):
        check_rejections(Alarm)


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────


def test_state_outside_the_fields_is_found() -> None:
    with pytest.raises(DefectFound, match=r"Lost.add.*some state is not in the snapshot"):
        check_snapshot_round_trip(Lost)


def test_a_snapshot_that_leaves_something_out_is_found() -> None:
    with pytest.raises(DefectFound, match=r"step 1.*: field snapshot: |answered differently"):
        check_snapshot_round_trip(Forgetful, commands=SETTINGS)


def test_a_snapshot_of_the_live_state_is_found() -> None:
    with pytest.raises(DefectFound, match="changed while further commands were applied"):
        check_snapshot_round_trip(Aliased, commands=SETTINGS)


def test_a_snapshot_that_can_not_be_restored_is_found() -> None:
    with pytest.raises(
        DefectFound, match=r"can't be restored: Fragile.restore raised ZeroDivision"
    ):
        check_snapshot_round_trip(Fragile, commands=SETTINGS)


# ── how it is called ─────────────────────────────────────────────────────────────────────────────────


def test_a_bytes_machine_needs_its_commands() -> None:
    with pytest.raises(LocalProtocolError, match="only whoever wrote a bytes machine knows"):
        check_rejections(Slots)


def test_a_command_of_another_machine_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="nothing for a Hasty"):
        check_rejections(Hasty, commands=[Counter.add()])


def test_what_is_no_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither a StateMachine nor"):
        check_rejections(dict, commands=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("own", ["1", "2", "random", ""])
def test_the_second_process_has_another_hash_seed(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", own)
    assert twin.another_hash_seed() not in {own, "random", ""}
