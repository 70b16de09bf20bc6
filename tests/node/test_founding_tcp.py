"""How groups begin over TCP, with directories: who is waited for, what is said, and that it is one group."""

from __future__ import annotations

from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import Node
from raftkit.driver.storing import Storing
from raftkit.driver_messages import FoundingRecord
from raftkit.messages import PersistentState
from tests.node.machines import Counter, Journal
from tests.node.tcp_group import Group, open_group, until
from tests.transports.parts import free_addresses

pytestmark = pytest.mark.slow


async def assert_one_group(group: Group) -> None:
    """All members run, are of one cluster, and decide together."""
    for count, name in enumerate(sorted(group.members), 1):
        assert await group.write(name, name) == count
    assert len(group.clusters() - {None}) == len(group.clusters()) == 1


async def wait_words(node: Node[Any], *words: str) -> None:
    """Wait until the node explains itself in these words."""
    try:
        await until(lambda: all(it in node.explain() for it in words), 5)
    except trio.TooSlowError:
        raise AssertionError(node.explain()) from None


def of(name: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What that node logged."""
    return [it.message for it in caplog.records if it.message.startswith(f"{name}: ")]


@pytest.mark.parametrize("order", ["".join(it) for it in permutations("abc")])
@pytest.mark.accept("O-21", "U-49")
async def test_members_found_in_whatever_order_they_start(tmp_path: Path, order: str) -> None:
    async with open_group(tmp_path, start=False) as group:
        for name in order:
            assert group.clusters() <= {None}
            await group.start(name)
            await trio.sleep(0.15)
        await assert_one_group(group)


async def test_a_missing_member_is_waited_for_and_named_with_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_group(tmp_path, start=False) as group:
        a = await group.start("a")
        await group.start("b")
        words = f"waiting to found: 2 of 3 here; c {group.members['c']} refused"
        await wait_words(a, words)
        await until(lambda: bool(of("a", caplog)), 5)
        assert of("a", caplog) == [f"a: {words}"]
        assert {node.status for node in group} == {"unborn"}
        await group.start("c")
        await assert_one_group(group)


async def test_different_lists_are_named_on_both_sides(tmp_path: Path) -> None:
    async with open_group(tmp_path, start=False) as group:
        a, b = [await group.start(name) for name in "ab"]
        c = await group.start("c", members={**group.members, "d": "127.0.0.1:9"})
        for node in (a, b):
            await wait_words(node, f"c {group.members['c']} lists a, b, c, d")
        for name in "ab":
            await wait_words(c, f"{name} {group.members[name]} lists a, b, c")

        assert group.clusters() == {None}
        await group.kill("c")
        await group.start("c")  # put right
        await assert_one_group(group)


async def test_different_addresses_are_named(tmp_path: Path) -> None:
    (elsewhere,) = free_addresses(1)
    async with open_group(tmp_path, start=False) as group:
        a, b = [await group.start(name) for name in "ab"]
        c = await group.start("c", members={**group.members, "c": elsewhere})
        words = f"c {group.members['c']} is at {elsewhere} by its own list of members"
        for node in (a, b):  # c dials them, so that they hear of it
            await wait_words(node, words)
        await wait_words(c, f"a {group.members['a']} has other settings, another address")

        assert group.clusters() == {None}


@pytest.mark.parametrize(
    "machine, settings, words",
    [
        (Counter, {}, "has another machine: start all nodes with the same code"),
        (partial(Journal, lines=["?"]), {}, "or a machine that begins otherwise"),
        (Journal, {"entry_bytes_max": 2000}, "has other settings"),
    ],
    ids=["machine", "first state", "settings"],
)
async def test_different_code_or_settings_are_named_on_both_sides(
    tmp_path: Path, machine: Any, settings: dict[str, Any], words: str
) -> None:
    async with open_group(tmp_path, "ab", start=False) as group:
        a = await group.start("a")
        b = await group.start("b", machine, **settings)
        await wait_words(a, f"b {group.members['b']} has ", words)
        await wait_words(b, f"a {group.members['a']} has ", words)

        assert group.clusters() == {None}


@pytest.mark.parametrize("born", ["a", "ab", "ac"])
async def test_a_group_whose_founding_was_interrupted_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, born: str
) -> None:
    """The founder is born first, always; the others die before the record is on their disks."""
    found = Storing.found

    async def found_or_hang(storing: Storing, record: FoundingRecord) -> PersistentState:
        if storing.storage.record.identity.id not in born:
            await trio.sleep_forever()
        return await found(storing, record)

    async with open_group(tmp_path, start=False) as group:
        monkeypatch.setattr(Storing, "found", found_or_hang)
        for name in group.members:
            await group.start(name)
        await until(lambda: all(group[name].status != "unborn" for name in born))
        assert {it.id for it in group if it.status == "unborn"} == set("abc") - set(born)
        await group.kill(*"abc")
        monkeypatch.undo()
        for name in "cba":
            await group.start(name)
        await assert_one_group(group)


async def test_a_group_that_was_founded_starts_without_one_of_them(tmp_path: Path) -> None:
    async with open_group(tmp_path) as group:
        await group.write("a", "before")
        await group.kill(*"abc")
        for name in "cb":
            await group.start(name)
        assert await group.lines("b") == ["before"]
        await group.start("a")
        assert await group.lines("a") == ["before"]
