"""Small groups explored to the end, and proof that the explorer is not blind.

The numbers of states are pinned: a change of the core that makes a group do more, or less, shows here. After
such a change look at why, then write the new number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from unittest.mock import patch

import attrs
import pytest

from raftkit.core import election, quorum
from raftkit.core.log import Log
from raftkit.membership import Configuration
from raftkit.messages import Write
from raftkit.model import Index, NodeId
from raftkit.testing.explore import Bounds, Explorer, NoSuchStep, Violation
from raftkit.testing.explore.command import main
from raftkit.testing.explore.server import Letter
from raftkit.testing.world.disk import WorldDisk

ELECTIONS = Bounds(terms=2, entries=0, crashes=0)
FEW = ["--entries", "0", "--crashes", "0", "--pre-votes"]


def violation(bounds: Bounds) -> Violation:
    """The first one."""
    with pytest.raises(Violation) as caught:
        Explorer(bounds).run()
    return caught.value


# ── what closes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "bounds, states",
    [
        pytest.param(Bounds(servers=1, terms=4, entries=2, crashes=2), 60, id="one server"),
        pytest.param(Bounds(servers=2), 102, id="two servers"),
        pytest.param(ELECTIONS, 49, id="elections"),
        pytest.param(Bounds(crashes=0), 414, id="replication"),
        pytest.param(Bounds(servers=2, disk=True), 478, id="a disk that takes time"),
        pytest.param(
            Bounds(servers=2, terms=3, entries=0, disk=True),
            2863,
            id="crashes that take terms back",
        ),
        pytest.param(attrs.evolve(ELECTIONS, disk=True), 357, id="elections on slow disks"),
        pytest.param(attrs.evolve(ELECTIONS, pre_votes=True), 407, id="pre-votes"),
        pytest.param(Bounds(servers=2, entries=0, crashes=0, beats=2), 2258, id="heartbeats"),
        pytest.param(attrs.evolve(ELECTIONS, lapses=1), 68, id="a leader that hears nobody"),
    ],
)
def test_everything_that_can_happen_is_allowed(bounds: Bounds, states: int) -> None:
    found = Explorer(bounds).run()

    assert found.frontier == 0
    assert found.states == states


@pytest.mark.slow
def test_names_do_not_matter() -> None:
    """Where they are told apart the group has up to six times the states, and nothing else happens."""
    alike = Explorer(ELECTIONS).run()
    apart = Explorer(ELECTIONS, symmetric=False).run()

    assert apart.frontier == alike.frontier == 0
    assert alike.depth == apart.depth
    assert 3 * alike.states < apart.states <= 6 * alike.states


@pytest.mark.slow
@pytest.mark.parametrize(
    "bounds", [Bounds(servers=2, disk=True), ELECTIONS], ids=["disk", "elections"]
)
def test_messages_that_are_forgotten_as_void_change_nothing(bounds: Bounds) -> None:
    """With them kept, there are more groups, but no server gets into any other state."""
    forgotten = Explorer(bounds, symmetric=False).run()
    with patch.object(Letter, "is_void", lambda *_: False):
        kept = Explorer(bounds, symmetric=False).run()

    assert kept.server_states == forgotten.server_states
    assert kept.messages == forgotten.messages
    assert kept.states > forgotten.states


@pytest.mark.slow
def test_the_same_bounds_give_the_same_states_whatever_the_hash_seed() -> None:
    figures: list[dict[str, object]] = []
    for seed in ("1", "2"):
        explored = subprocess.run(
            [sys.executable, "-m", "raftkit.testing.explore", *FEW, "--json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        figures.append(json.loads(explored.stdout))
        del figures[-1]["seconds"], figures[-1]["mebibytes"]

    assert figures[0] == figures[1]
    assert figures[0]["closed"] is True


# ── what is seen ─────────────────────────────────────────────────────────────────────────────────────


def _forgetting_votes(
    perform: Callable[[WorldDisk, Write], None],
) -> Callable[[WorldDisk, Write], None]:
    def forgetful(disk: WorldDisk, write: Write) -> None:
        perform(disk, write)
        disk.voted_for = None

    return forgetful


def _by_one(_: Configuration, match: Callable[[NodeId], Index]) -> Index:
    return max(match(NodeId("a")), match(NodeId("b")))


def test_a_forgotten_vote_is_found_by_the_shortest_way() -> None:
    """A candidate crashes, restarts, and votes for another in the same term."""
    with patch.object(WorldDisk, "_perform", _forgetting_votes(WorldDisk._perform)):
        found = violation(Bounds(entries=0))

    assert found.law == "One Vote"
    assert len(found.way) == 5
    assert found.way[1:4] == ("a crashes", "a restarts", "b campaigns")


@pytest.mark.slow
def test_a_vote_for_a_log_that_is_behind_is_found() -> None:
    with patch.object(election, "_up_to_date", lambda *_: True):
        found = violation(Bounds(terms=3, entries=0, crashes=0))

    assert found.law == "Leader Completeness"
    assert len(found.way) == 8


def test_a_commit_by_a_minority_is_found() -> None:
    with patch.object(quorum, "committed", _by_one):
        found = violation(Bounds(entries=0, crashes=0))

    assert found.law == "Committed Is Durable"


@pytest.mark.slow
def test_a_log_cut_without_a_conflict_is_found() -> None:
    with patch.object(Log, "first_conflict", lambda _, run: run.first):
        found = violation(Bounds(crashes=0))

    assert found.law == "raised"
    assert "would replace committed" in found.detail


# ── beginnings, and the command ──────────────────────────────────────────────────────────────────────

SECOND_LEADER = (
    "a campaigns",
    "a→b VoteRequest",
    "b→a VoteReply",
    "a hears nobody",
    "b campaigns",
    "b→c VoteRequest",
    "c→b VoteReply",
)


def test_an_opening_is_part_of_the_way() -> None:
    """After two leaders that committed nothing, one that counts nobody but itself is found at once."""
    bounds = Bounds(terms=3, lapses=1, entries=0, crashes=0)
    explorer = Explorer(bounds, opening=SECOND_LEADER)

    with (
        patch.object(quorum, "committed", _by_one),
        pytest.raises(Violation) as caught,
    ):
        explorer.run()

    assert len(caught.value.way) > len(SECOND_LEADER)
    assert caught.value.way[0] == "a campaigns"
    assert caught.value.way[1].startswith("a→b VoteRequest(term=2")


def test_an_opening_that_can_not_happen_says_what_can() -> None:
    with pytest.raises(
        NoSuchStep, match=r"no step is 'd campaigns'; say one of\n  a campaigns\n  b c"
    ):
        Explorer(ELECTIONS, opening=["d campaigns"])


def test_an_opening_that_leaves_a_choice_is_refused() -> None:
    with pytest.raises(NoSuchStep, match="more than one step is 'a→'"):
        Explorer(ELECTIONS, opening=["a campaigns", "a→"])


def test_the_command_tells_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--servers", "2", "--crashes", "0", "--entries", "0", "--json"])

    assert status == 0
    assert json.loads(capsys.readouterr().out)["closed"] is True


def test_the_command_fails_with_the_way_to_a_violation(capsys: pytest.CaptureFixture[str]) -> None:
    with patch.object(quorum, "majority", lambda _: 1):
        status = main(["--entries", "0", "--crashes", "0"])

    assert status == 1
    told = capsys.readouterr().out
    assert "Committed Is Durable" in told
    assert "  1. a campaigns" in told
