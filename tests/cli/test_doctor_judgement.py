"""What `raftkit doctor` concludes from what was measured: no socket, no file, no clock."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from raftkit import MulticastTransport, Statistics
from raftkit.cli.doctor.clock import Clocks, judge_clock
from raftkit.cli.doctor.connections import Connection
from raftkit.cli.doctor.datagrams import LISTENER, Exchange, Exchanges
from raftkit.cli.doctor.disk import Disk, judge_disk, measure_disk
from raftkit.cli.doctor.findings import Finding, Mark, in_order, next_step
from raftkit.cli.doctor.group import judge_group, judge_voters
from raftkit.cli.doctor.paths import judge_connection, judge_exchange, judge_interface
from raftkit.cli.doctor.timing import RoundTrips, Waits, advised, judge_round_trips, round_trips
from raftkit.cli.doctor.view import as_json, show
from raftkit.cli.status_look import Down, Up
from raftkit.driver import MemberStatus
from raftkit.driver.reachability import Votes
from raftkit.model import Identity, Index, Term
from raftkit.transports.multicast.group import Interface
from raftkit.wire import Refused
from tests.cli.doctor_page import CHECKS
from tests.house.source import ROOT

HOME = Path("data/a")
PACKAGE = ROOT / "raftkit" / "cli" / "doctor"
OVER = MulticastTransport(group="239.192.7.1:7400", interface="eth0", cluster="c", insecure=True)


def marks(findings: list[Finding]) -> dict[str, str]:
    return {it.check: it.mark.value for it in findings}


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────


def a_finding(check: str, mark: Mark, advice: str = "") -> Finding:
    return Finding(check=check, mark=mark, words=check, advice=advice)


@pytest.mark.accept("P-40")
def test_the_tree_is_walked_from_what_people_notice_to_its_causes() -> None:
    found = [
        a_finding(it, Mark.OK)
        for it in ("clock.a", "disk.a", "network.b", "network.a", "membership.a", "quorum.a")
    ]

    assert [it.check for it in in_order(found)] == [
        *("quorum.a", "membership.a", "network.b", "network.a", "disk.a", "clock.a")
    ]


@pytest.mark.accept("P-40")
@pytest.mark.parametrize(
    "findings,first",
    [
        (
            [("quorum.a", Mark.WRONG), ("network.a", Mark.WRONG), ("disk.a", Mark.WRONG)],
            "network.a",
        ),
        ([("quorum.a", Mark.WRONG), ("network.a", Mark.WARNING)], "quorum.a"),
        ([("network.a", Mark.WARNING), ("disk.a", Mark.WRONG)], "disk.a"),
        ([("quorum.a", Mark.WARNING), ("network.a", Mark.UNKNOWN)], "quorum.a"),
        ([("quorum.a", Mark.OK), ("network.a", Mark.UNKNOWN)], None),
    ],
)
def test_the_next_step_is_the_nearest_cause_of_what_is_worst(
    findings: list[tuple[str, Mark]], first: str | None
) -> None:
    step = next_step([a_finding(check, mark, "do it") for check, mark in findings])

    assert (step.check if step else None) == first


def test_what_can_not_be_advised_is_no_next_step() -> None:
    assert next_step([a_finding("network.a", Mark.WRONG)]) is None


# ── quorum and membership ────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("C-10")
@pytest.mark.parametrize(
    "voters,needed,spare,mark",
    [
        (1, 1, 0, "ok"),
        (2, 2, 0, "warning"),
        (3, 2, 1, "ok"),
        (4, 3, 1, "warning"),
        (5, 3, 2, "ok"),
    ],
)
def test_even_numbers_of_voters_are_warned_of(
    voters: int, needed: int, spare: int, mark: str
) -> None:
    found = judge_voters(voters)

    assert found.mark == mark
    assert found.facts == {"voters": voters, "needed": needed, "may_fail": spare}
    assert bool(found.advice) == (mark == "warning")


def a_member(name: str, why: str = "") -> MemberStatus:
    return MemberStatus(
        id=name,
        address=f"10.0.0.{ord(name) - 96}:7401",
        role="voter",
        votes=1,
        here=not why,
        why=why,
        version=1,
        progress=None,
    )


def a_node(**changes: Any) -> Up:
    """A follower of three that are all here."""
    said = Statistics(
        id="a",
        incarnation=1,
        cluster="17" * 16,
        process=1,
        status="follower",
        term=Term(4),
        leader="b",
        commit_index=Index(9),
        applied_index=Index(9),
        last_index=Index(9),
        durable_index=Index(9),
        stalled_seconds=None,
        snapshot_index=Index(0),
        open_calls=0,
        open_reads=0,
        staleness=0.0,
        pending_bytes=0,
        configuration_index=Index(1),
        version=1,
        newest_version=1,
        members=(a_member("a"), a_member("b"), a_member("c")),
        votes=Votes(expected=3, here=3, needed=2, quorate=True),
        explanation="all is well",
    )
    return Up(directory=str(HOME), statistics=attrs.evolve(said, **changes))


def test_a_group_that_works_is_well() -> None:
    found = judge_group(a_node(), HOME)

    assert [(it.check, it.peer, it.mark) for it in found] == [
        ("quorum.leader", None, "ok"),
        ("membership.own", None, "ok"),
        ("membership.member", "b", "ok"),
        ("membership.member", "c", "ok"),
    ]
    assert found[0].words == "3 of 3 votes are here, 2 are needed; b leads in term 4"


@pytest.mark.accept("P-40")
def test_without_a_majority_the_node_itself_says_why() -> None:
    few = Votes(expected=3, here=1, needed=2, quorate=False)
    away = (a_member("a"), a_member("b", "refused"), a_member("c", "no answer in 3 s"))
    found = judge_group(
        a_node(votes=few, leader=None, members=away, explanation="no leader: 1 of 3"), HOME
    )

    assert [(it.peer, it.mark) for it in found if it.mark == "wrong"] == [
        (None, "wrong"),
        ("b", "wrong"),
        ("c", "wrong"),
    ]
    assert found[0].words == "1 of 3 votes are here, 2 are needed: no leader: 1 of 3"
    assert "c, voter at 10.0.0.3:7401, is not here: no answer in 3 s" in found[3].words


def test_a_majority_without_a_leader_is_wrong_too() -> None:
    found = judge_group(a_node(leader=None, explanation="election in term 5"), HOME)[0]

    assert (found.mark, found.words.partition("; ")[2]) == (
        "wrong",
        "nobody leads: election in term 5",
    )


@pytest.mark.parametrize("status", ["removed", "barred", "divergent", "stopped applying"])
def test_a_node_that_is_kept_from_its_part_is_wrong(status: str) -> None:
    found = judge_group(a_node(status=status, explanation="because"), HOME)

    assert marks(found)["membership.own"] == "wrong"
    assert found[1].words == f"a is {status}: because"


def test_a_node_that_does_not_run_is_not_judged() -> None:
    down = Down(
        directory="data/a", why="not running", id="a", incarnation=1, cluster=None, members={}
    )
    (found,) = judge_group(down, HOME)

    assert (found.mark, found.advice) == ("unknown", "raftkit run data/a")


# ── the ways ─────────────────────────────────────────────────────────────────────────────────────


def an_exchange(out: str, back: str, **more: Any) -> Exchange:
    """With a peer that is reached by `out` and heard by `back`: u and m for unicast and multicast."""
    sent = {"unicast": 20, "multicast": 10}
    return Exchange(
        sent=sent,  # type: ignore[arg-type]
        answered={it: n for it, n in sent.items() if it[0] in out},  # type: ignore[misc]
        heard={it: n for it, n in sent.items() if it[0] in back},  # type: ignore[misc]
        **more,
    )


def judged(it: Exchange, *, host_answers: bool = False) -> list[Finding]:
    return list(judge_exchange("b", "10.0.0.2:7401", it, transport=OVER, host_answers=host_answers))


@pytest.mark.accept("Q-14", "P-40")
@pytest.mark.parametrize(
    "out,back,unicast,multicast_out,multicast_in",
    [
        ("um", "um", "passes both ways", "arrives at b", "from b arrives here"),
        (
            "um",
            "u",
            "passes both ways",
            "arrives at b",
            "from b does not arrive here, unicast does",
        ),
        (
            "u",
            "um",
            "passes both ways",
            "does not arrive at b, unicast does",
            "from b arrives here",
        ),
        ("u", "u", "passes both ways", "does not arrive at b", "not 239.192.7.1:7400"),
        ("um", "m", "from b does not arrive here; ours", "arrives at b", "from b arrives here"),
        ("m", "u", "ours does not arrive at b", "arrives at b", "from b does not arrive here"),
        ("m", "m", "passes neither way", "arrives at b", "from b arrives here"),
        ("", "m", "answers nothing", "is not known", "from b arrives here"),
    ],
)
def test_each_way_is_told_apart(
    out: str, back: str, unicast: str, multicast_out: str, multicast_in: str
) -> None:
    first, second, third, fourth = judged(an_exchange(out, back))

    for found, words in ((first, unicast), (second, multicast_out), (third, multicast_in)):
        assert words.replace("ours does", "our unicast does") in found.words
        assert found.mark == Mark.OK or found.advice or found.mark == Mark.UNKNOWN
    assert first.mark == ("ok" if "u" in out and "u" in back else "wrong")
    assert second.mark == ("ok" if "m" in out else "wrong" if out else "unknown")
    assert third.mark == ("ok" if "m" in back else "wrong")
    assert fourth.mark == "ok"


def test_a_switch_without_a_querier_is_named_where_only_multicast_is_lost() -> None:
    (found,) = [it for it in judged(an_exchange("um", "u")) if it.mark == "wrong"]

    assert found.check == "network.multicast_in"
    assert "IGMP" in found.advice
    assert "falls back to unicast" in found.advice


@pytest.mark.accept("U-18")
@pytest.mark.parametrize(
    "more,words,advice",
    [
        ({}, "is silent: nobody runs there, or UDP is lost", "the same group, cluster and key"),
        ({"nobody": True}, "nobody listens at 10.0.0.2:7401", "raftkit run"),
        ({"refused": (Refused.KEY,)}, "a key that is not in use here", "the same key file"),
        ({"refused": (Refused.SEAL, Refused.KEY)}, "not sealed by a member", "the same key file"),
        ({"refused": (Refused.CLUSTER,)}, "of another cluster", "the same cluster"),
        ({"refused": (Refused.SCHEME,)}, "sealed in another way", "the same encrypt"),
        ({"refused": (Refused.MAGIC,)}, "not a datagram of ours", "what else talks there"),
    ],
)
def test_silence_has_a_reason_or_several(more: dict[str, Any], words: str, advice: str) -> None:
    """A node of another group is silence, so the group is named wherever there is any."""
    (found,) = judged(an_exchange("", "", **more))

    assert (found.check, found.mark) == ("network.unicast", "wrong")
    assert words in found.words
    assert advice in found.advice


def test_a_host_that_answers_by_tcp_is_not_said_to_be_down() -> None:
    (found,) = judged(an_exchange("", ""), host_answers=True)

    assert "its host answers by TCP, so " in found.words


def test_who_answers_must_be_the_peer_with_our_settings() -> None:
    b, d = (Identity(id=it, incarnation=1) for it in "bd")
    (other,) = judged(an_exchange("um", "um", who=d))
    differs = judged(an_exchange("um", "um", who=b, settings_differ=True))[-1]
    doctor = attrs.evolve(d, id=LISTENER)
    listens = judged(an_exchange("um", "um", who=doctor))[-1]

    assert (other.check, other.mark, other.words) == (
        *("network.peer", "wrong"),
        "at 10.0.0.2:7401 is d, not b",
    )
    assert (differs.check, differs.mark) == ("network.peer", "wrong")
    assert "other settings" in differs.words
    assert (listens.mark, listens.words[:16]) == ("ok", "a doctor listens")


def a_network(**changes: Any) -> Exchanges:
    found = Exchanges(
        interface=Interface(name="eth0", index=2, mtu=1500, loopback=False),
        send_buffer_size=1 << 20,
        recv_buffer_size=1 << 20,
        with_peers={},
        unknown={},
        unsent={},
    )
    return attrs.evolve(found, **changes)


def test_smaller_buffers_than_asked_for_are_warned_of_with_what_helps() -> None:
    found = list(judge_interface(OVER, a_network(recv_buffer_size=212_992)))

    assert marks(found) == {
        "network.interface": "ok",
        "network.send_buffer": "ok",
        "network.receive_buffer": "warning",
    }
    assert found[-1].advice == "sysctl -w net.core.rmem_max=1048576"


def test_an_interface_that_can_not_be_used_is_all_that_is_said() -> None:
    (found,) = judge_interface(OVER, "interface eth0 is down: ip link set eth0 up")

    assert (found.mark, found.words) == ("wrong", "interface eth0 is down: ip link set eth0 up")


def test_what_this_host_does_not_send_is_its_own_fault() -> None:
    found = list(judge_interface(OVER, a_network(unsent={"operation not permitted": 3})))

    assert marks(found)["network.sending"] == "wrong"
    assert "3 times: operation not permitted" in found[1].words


B = Identity(id="b", incarnation=1)


@pytest.mark.accept("Q-14")
@pytest.mark.parametrize(
    "it,mark,words",
    [
        (Connection(who=B), "ok", "b answers at 10.0.0.2:7401 by TCP"),
        (Connection(who=attrs.evolve(B, id=LISTENER)), "ok", "a doctor listens"),
        (Connection(who=B, cluster="17" * 16), "ok", "b answers"),
        (Connection(who=B, cluster="18" * 16), "wrong", "b is of another cluster, 1818"),
        (Connection(who=attrs.evolve(B, id="d")), "wrong", "at 10.0.0.2:7401 is d, not b"),
        (Connection(failure="refused"), "wrong", "can't be connected to by TCP: refused"),
        (Connection(forbidden="d:1: d is not known"), "wrong", "d:1: d is not known"),
        (Connection(silence="closed the connection"), "wrong", "by TCP closed the connection"),
    ],
)
def test_what_comes_of_tcp_is_told(it: Connection, mark: str, words: str) -> None:
    cluster = "17" * 16
    needed = judge_connection("b", "10.0.0.2:7401", it, needed=True, cluster=cluster)
    unneeded = judge_connection("b", "10.0.0.2:7401", it, needed=False, cluster=cluster)

    assert (needed.mark, bool(needed.advice)) == (mark, mark == "wrong")
    assert words in needed.words
    assert unneeded.mark == "ok" or it.who is not None


# ── round trips ──────────────────────────────────────────────────────────────────────────────────


def trips(milliseconds: float) -> RoundTrips:
    found = round_trips([milliseconds / 1000] * 3)
    assert found is not None
    return found


def test_jitter_is_the_mean_step_from_one_to_the_next() -> None:
    assert round_trips([0.25, 1.0, 0.5]) == RoundTrips(
        least=0.25, median=0.5, most=1.0, jitter=0.625
    )
    assert round_trips([0.004]) == RoundTrips(least=0.004, median=0.004, most=0.004, jitter=0.0)
    assert round_trips([]) is None


@pytest.mark.accept("P-43")
@pytest.mark.parametrize(
    "milliseconds,election,heartbeat",
    [
        (0.2, (0.25, 0.5), 0.05),
        (10, (0.25, 0.5), 0.05),
        (100, (2.5, 5.0), 0.5),
        (40, (1.0, 2.0), 0.2),
    ],
)
def test_timeouts_are_those_of_a_lan_stretched_by_the_round_trip(
    milliseconds: float, election: tuple[float, float], heartbeat: float
) -> None:
    assert advised(milliseconds / 1000) == Waits(
        election_timeout=election, heartbeat_interval=heartbeat
    )


@pytest.mark.accept("C-66", "P-16", "O-96")
@pytest.mark.parametrize(
    "milliseconds,loss,election_low,mark,advice",
    [
        (9.9, 0.0, 0.25, "ok", ""),
        (10.1, 0.0, 0.25, "warning", "raftkit.PRESETS['wan']"),
        (124, None, 0.25, "warning", "raftkit.PRESETS['wan']"),
        (126, None, 0.25, "wrong", "raftkit.PRESETS['wan']"),
        (126, None, 3.0, "warning", "election_timeout = [3.1, 6.3]"),
        (1, 0.05, 0.25, "warning", "loses"),
        (1, 0.001, 0.25, "ok", ""),
    ],
)
def test_slow_or_lossy_networks_are_warned_of(
    milliseconds: float, loss: float | None, election_low: float, mark: str, advice: str
) -> None:
    found = judge_round_trips("b", trips(milliseconds), loss=loss, election_low=election_low)

    assert found.mark == mark
    assert advice in found.advice


@pytest.mark.accept("P-43")
def test_round_trip_jitter_and_advised_timeouts_are_told() -> None:
    measured = RoundTrips(least=0.0011, median=0.0012, most=0.02, jitter=0.0005)
    found = judge_round_trips("b", measured, loss=0.0, election_low=0.25)

    assert found.mark == "ok"  # one late answer is no slow network
    assert found.words == "round trip 1.2 ms, from 1.1 ms to 20 ms, jitter 0.5 ms, 0% lost"
    assert found.facts == {
        "least_ms": 1.1,
        "median_ms": 1.2,
        "most_ms": 20.0,
        "jitter_ms": 0.5,
        "loss": 0.0,
        "advised_election_timeout": (0.25, 0.5),
        "advised_heartbeat_interval": 0.05,
    }


# ── disk and clock ───────────────────────────────────────────────────────────────────────────────

WELL = Disk(writes=(0.001, 0.002, 0.003), free_bytes=1 << 40, file_system="ext4")


@pytest.mark.accept("C-65")
@pytest.mark.parametrize(
    "changes,fsync,room",
    [
        ({}, "ok", "ok"),
        ({"writes": (0.009, 0.011, 0.012)}, "warning", "ok"),
        ({"writes": (0.001, 0.001, 0.3)}, "warning", "ok"),
        ({"file_system": "tmpfs"}, "warning", "ok"),
        ({"free_bytes": (1 << 30) - 1}, "ok", "warning"),
        ({"free_bytes": (64 << 20) - 1}, "ok", "wrong"),
        ({"writes": (), "failure": "Read-only file system"}, "wrong", "ok"),
    ],
)
def test_slow_full_or_forgetful_disks_are_told(
    changes: dict[str, Any], fsync: str, room: str
) -> None:
    found = judge_disk(HOME, attrs.evolve(WELL, **changes))

    assert marks(found) == {"disk.fsync": fsync, "disk.room": room}
    assert all(bool(it.advice) == (it.mark != "ok") for it in found)


def test_a_disk_that_hangs_is_wrong() -> None:
    (found,) = judge_disk(HOME, None)

    assert (found.check, found.mark) == ("disk.fsync", "wrong")
    assert "stands still" in found.words


@pytest.mark.accept("C-65")
def test_writes_are_measured_and_leave_nothing(tmp_path: Path) -> None:
    disk = measure_disk(tmp_path)

    assert disk.failure is None
    assert 1 <= len(disk.writes) <= 50
    assert disk.free_bytes
    assert disk.file_system
    assert list(tmp_path.iterdir()) == []
    assert measure_disk(tmp_path / "missing").failure == "No such file or directory"


@pytest.mark.parametrize(
    "step,mark", [(0.0, "ok"), (0.049, "ok"), (-0.049, "ok"), (0.051, "warning"), (-2.0, "warning")]
)
def test_a_step_of_the_wall_clock_is_noticed(step: float, mark: str) -> None:
    found = judge_clock(
        Clocks(monotonic=10.0, wall=1e9), Clocks(monotonic=13.0, wall=1e9 + 3.0 + step)
    )

    assert found.mark == mark
    assert found.facts["seconds"] == 3.0
    assert found.facts["step_ms"] == pytest.approx(step * 1000, abs=0.1)


# ── how it is shown ──────────────────────────────────────────────────────────────────────────────


def test_json_names_what_scripts_look_for() -> None:
    findings = [
        a_finding("quorum.leader", Mark.OK),
        Finding(check="network.unicast", mark=Mark.WRONG, words="w", advice="do it", peer="b"),
    ]
    said = json.loads(as_json(findings))

    assert said["counts"] == {"ok": 1, "warning": 0, "wrong": 1, "unknown": 0}
    assert said["next"] == "do it"
    assert said["checks"][1] == {
        "check": "network.unicast",
        "mark": "wrong",
        "words": "w",
        "advice": "do it",
        "peer": "b",
        "facts": {},
    }


def test_people_see_what_to_do_and_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    show([Finding(check="network.unicast", mark=Mark.WRONG, words="w", advice="do [it]", peer="b")])
    wrong = capsys.readouterr().out
    show([a_finding("quorum.leader", Mark.OK, "nothing")])

    assert "→ do [it]" in wrong
    assert wrong.endswith("next: network.unicast (b): do [it]\n")
    well = capsys.readouterr().out
    assert well.endswith("nothing is wrong\n")
    assert "→" not in well


def test_the_page_names_every_check() -> None:
    written = "".join(it.read_text() for it in sorted(PACKAGE.glob("*.py")))
    names = set(
        re.findall(r"\"((?:quorum|membership|network|disk|clock|host)\.[a-z_]+)\"", written)
    )

    assert names | {"network.send_buffer", "network.receive_buffer"} == set(CHECKS)
