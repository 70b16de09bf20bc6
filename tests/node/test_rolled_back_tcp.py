"""Directories that were wiped or replaced by old copies, over TCP: recognised, said, and without a vote."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from raftkit import NoQuorum
from tests.node.machines import Journal
from tests.node.tcp_group import Group, open_group, until

pytestmark = pytest.mark.slow

CURE = "delete it, start the node again, and admit it as it then says"


async def assert_no_vote_of(group: Group, name: str, friend: str) -> None:
    """With that member and one other nothing is decided; with both others, all is well."""
    (other,) = set(group.members) - {name, friend}
    await group.kill(other)
    await until(lambda: group[friend].leader is None)
    with pytest.raises(NoQuorum):
        await group[friend].read(Journal.read(), timeout=1.5)
    assert group[friend].leader is None
    await group.start(other)
    await group.write(friend, f"without {name}")
    assert await group.lines(other) == await group.lines(friend)


async def test_a_wiped_member_founds_nothing_votes_for_nothing_and_is_told_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_group(tmp_path) as group:
        await group.write("c", "before")
        await group.kill("c")
        kept = group.copy("c")
        group.wipe("c")
        c = await group.start("c")
        identity = group.identity("c")
        address = group.members["c"]
        words = (
            f"waiting to be admitted, by its leader: `raftkit admit DIRECTORY c {address}`, or "
            f"change_membership(AddLearner(id='c', address='{address}', promote=True)); "
            f"a {group.members['a']} is of a cluster already founded, which does not name {identity}"
        )
        await until(lambda: words in c.explain())
        await until(lambda: f"c: {words}" in caplog.text)
        await assert_no_vote_of(group, "c", "a")

        assert c.status == "unborn"
        assert (c.statistics().term, c.statistics().last_index) == (0, 0)
        await group.kill("c")
        group.roll_back("c", kept)  # put back as it was
        await group.start("c")
        assert await group.lines("c") == ["before", "without c"]
        assert group["c"].status in ("follower", "leader")


async def test_all_wiped_is_a_new_group(tmp_path: Path) -> None:
    async with open_group(tmp_path) as group:
        await group.write("a", "before")
        (old,) = group.clusters()
        await group.kill(*"abc")
        for name in "abc":
            group.wipe(name)
        await group.start_all()

        assert await group.lines("a") == []
        assert group.clusters() != {old}


async def test_a_wiped_founder_does_not_found_again(tmp_path: Path) -> None:
    """It has the smallest name, so with two that were wiped too it would found; with these it must not."""
    async with open_group(tmp_path) as group:
        await group.write("c", "before")
        await group.kill(*"abc")
        for name in "ab":
            group.wipe(name)
        for name in "abc":
            await group.start(name)
        await until(lambda: "does not name a@" in group["a"].explain())
        await until(lambda: "does not name b@" in group["b"].explain())
        await trio.sleep(1.0)

        assert [it.status for it in group][:2] == ["unborn", "unborn"]
        assert group["c"].leader is None
        assert "1 of 3 voters reachable" in group["c"].explain()


@pytest.mark.parametrize(
    "starts, words",
    [
        (1, "a peer has seen another boot 2 of this directory: it was rolled back"),
        (2, "a peer has seen boot 3 of this directory, which is at 2: it was rolled back"),
    ],
    ids=["the same boot", "a lower boot"],
)
async def test_an_old_copy_neither_votes_nor_acknowledges_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, starts: int, words: str
) -> None:
    async with open_group(tmp_path) as group:
        await group.write("c", "before")
        await group.kill("c")
        old = group.copy("c")
        for number in range(starts):
            await group.start("c")
            await group.write("c", f"lost {number}")
            await group.kill("c")
        group.roll_back("c", old)
        c = await group.start("c")
        await until(lambda: c.status == "barred")
        await assert_no_vote_of(group, "c", "b")

        told = f"neither votes nor acknowledges: {words}; {CURE}"
        assert told in c.explain()
        assert f"c: {told}" in caplog.text
        assert "no leader" not in group["b"].explain()


async def test_a_copy_as_new_as_its_peers_remember_is_as_good_as_the_directory(
    tmp_path: Path,
) -> None:
    async with open_group(tmp_path) as group:
        await group.write("c", "before")
        await group.kill("c")
        await group.write("a", "since")
        group.roll_back("c", group.copy("c"))
        await group.start("c")
        assert await group.lines("c") == ["before", "since"]
        assert group["c"].status in ("follower", "leader")


async def test_an_old_copy_stays_barred_however_often_it_is_started(tmp_path: Path) -> None:
    """Its boots catch up with those that peers have seen, and its term with theirs: its log does not."""
    async with open_group(tmp_path) as group:
        await group.kill("c")
        old = group.copy("c")
        await group.start("c")
        await group.write("c", "lost")
        await group.kill("c")
        newest = group.copy("c", as_="the newest")
        group.roll_back("c", old)
        await group.start("c")
        await until(lambda: group["c"].status == "barred")
        await assert_no_vote_of(group, "c", "a")  # which also begins a later term, seen by all
        seen = group["a"].statistics().term
        await until(lambda: group["c"].statistics().term >= seen > 2)
        for _ in range(3):
            await group.kill("c")
            await group.start("c")
            await until(lambda: group["c"].leader is not None)
            await trio.sleep(0.2)
            assert group["c"].status == "barred"
            assert "at an earlier start, a peer had seen boot 2" in group["c"].explain()

        await group.kill("c")
        group.roll_back("c", newest)  # which has fewer boots by now, and is right all the same
        await group.start("c")
        assert await group.lines("c") == ["lost", "without c"]
        assert group["c"].status in ("follower", "leader")
