"""A group goes on serving over TCP, whatever strangers and lost nodes do to it, and nothing of them stays."""

from __future__ import annotations

import inspect
import logging
import struct
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from raftkit.driver_messages import UNBORN, Forward, Scope
from raftkit.membership import Epoch
from raftkit.messages import Heartbeat, VoteRequest
from raftkit.model import Index, Term
from tests.node.tcp_group import Group, open_group, until
from tests.transports.parts import OPENED, Stranger, open_files

pytestmark = pytest.mark.slow

MALFORMED = "malformed, oversized or of another scope"
IMPOSTOR = "not who it should be"
FAR = Term(1_000_000)
"A term that, once taken over, every member would be in."
CLAIM = (
    Heartbeat(term=FAR, round=1, commit_index=Index(1 << 40)),
    VoteRequest(term=FAR, last_index=Index(1 << 40), last_term=Term(FAR - 1), transfer=True),
    Forward(request=1, payloads=(b"no header",)),
)
"What no member but a leader, a candidate or an asking node says."


def framed(content: bytes) -> bytes:
    return struct.pack(">II", len(content), zlib.crc32(content)) + content


@attrs.frozen
class Attack:
    """What strangers do to one member."""

    group: Group
    name: str
    "The member's."

    @property
    def scope(self) -> Scope:
        record = self.group[self.name]._server.storage.record.founding
        assert record is not None
        return record.scope

    async def say(self, *data: bytes) -> Stranger:
        """Connect, and send that."""
        stranger = await Stranger.dial(self.group.members[self.name])
        await stranger.stream.send_all(b"".join(data))
        return stranger

    def hello(
        self, name: str, scope: Scope, *, incarnation: int = 7, wire_format: int = 1
    ) -> bytes:
        """The hello of a node of that name."""
        hello = self.group.hello(self.name, wire_format=wire_format, boot=99)
        return Stranger.framed(name, hello, scope, incarnation=incarnation)

    def claims(self, name: str, scope: Scope, *, incarnation: int = 7) -> bytes:
        """What a leader, a candidate and an asking node of that name would say."""
        return b"".join(
            Stranger.framed(name, body, scope, incarnation=incarnation) for body in CLAIM
        )

    # ── each says something bad to the member, and returns what its endpoint counts ──

    async def garbage(self) -> str:
        await self.say(b"\xff" * 5000)
        return MALFORMED

    async def half_a_frame_and_goes(self) -> str:
        stranger = await self.say(self.hello("x", self.scope)[:50])
        await stranger.stream.aclose()
        return ""

    async def half_a_frame_and_stays(self) -> str:
        await self.say(self.hello("x", self.scope)[:50])
        return ""

    async def announces_too_much(self) -> str:
        await self.say(struct.pack(">II", 1 << 31, 0))
        return MALFORMED

    async def hello_of_another_cluster(self) -> str:
        other = Scope(cluster=b"another cluster!")
        await self.say(self.hello("x", other), self.claims("x", other))
        return MALFORMED

    async def hello_of_another_epoch(self) -> str:
        later = attrs.evolve(self.scope, epoch=Epoch(number=2, nonce=1))
        await self.say(self.hello("x", later), self.claims("x", later))
        return MALFORMED

    async def hello_of_an_unborn_node(self) -> str:
        await self.say(self.hello("x", UNBORN))
        return ""

    async def frame_of_another_format(self) -> str:
        content = bytearray(self.hello("x", self.scope)[8:])
        content[0] = 2
        await self.say(framed(bytes(content)))
        return MALFORMED

    async def hello_of_a_later_version(self) -> str:
        await self.say(self.hello("x", self.scope, wire_format=2), self.claims("x", self.scope))
        return ""

    async def hello_in_our_own_name(self) -> str:
        await self.say(self.hello(self.name, self.scope), self.claims(self.name, self.scope))
        return IMPOSTOR

    async def hello_with_our_own_identity(self) -> str:
        own = self.group.identity(self.name).incarnation
        hello = self.hello(self.name, self.scope, incarnation=own)
        await self.say(hello, self.claims(self.name, self.scope, incarnation=own))
        return IMPOSTOR

    async def no_member_but_of_our_cluster(self) -> str:
        await self.say(self.hello("x", self.scope), self.claims("x", self.scope))
        return ""

    async def nothing(self) -> str:
        await self.say()
        return ""


ATTACKS = [
    function
    for name, function in vars(Attack).items()
    if inspect.iscoroutinefunction(function) and name != "say"
]


@attrs.define(eq=False)
class Service:
    """Commands at one member, one after the other, and how long the slowest took."""

    group: Group
    count: int = 0
    slowest: float = 0.0
    "Seconds."
    over: bool = False

    async def use(self) -> None:
        while not self.over:
            begun = trio.current_time()
            assert await self.group.write("b", str(self.count)) == self.count + 1
            self.count += 1
            self.slowest = max(self.slowest, trio.current_time() - begun)

    async def wait_some(self) -> None:
        """Wait until a few more commands were decided."""
        enough = self.count + 3
        await until(lambda: self.count >= enough)


def close_strangers() -> None:
    while OPENED:
        OPENED.pop().close()


def living() -> tuple[int, int]:
    """Files that are open, and tasks."""
    return open_files(), trio.lowlevel.current_statistics().tasks_living


async def wait_equal(actual: Callable[[], object], expected: object) -> None:
    with suppress(trio.TooSlowError):
        await until(lambda: actual() == expected, 5)
    assert actual() == expected


@asynccontextmanager
async def serving(root: Path) -> AsyncGenerator[tuple[Group, Service]]:
    """A group in use. At the end it is as it was: in files, in tasks, and decides."""
    close_strangers()  # of tests before
    async with open_group(root) as group:
        service = Service(group)
        await group.write("b", "0")
        service.count = 1
        before = living()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.use)
            yield group, service
            await service.wait_some()
            service.over = True
        close_strangers()
        await wait_equal(living, before)
        lines = [await group.lines(name) for name in "abc"]
        assert lines[0] == lines[1] == lines[2]
        assert max(node.statistics().term for node in group) < 100
        assert service.slowest < 5.0


async def test_a_group_serves_while_strangers_talk_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as (group, service):
        for act in ATTACKS:
            for name in group.members:
                refused = refusals(group, name)
                attack = Attack(group, name)
                counted = [await act(attack) for _ in range(3)]
                await service.wait_some()
                expected = refused + Counter(filter(None, counted))
                await wait_equal(partial(refusals, group, name), expected)
        assert not group.failures

    warnings = [it.message for it in caplog.records if it.levelno >= logging.WARNING]
    assert all("closed the connection with somebody" in it for it in warnings)
    assert len(warnings) == len(group.members), warnings


def refusals(group: Group, name: str) -> Counter[str]:
    """Connections closed at once for what came; who says too little is closed after 5 s."""
    counts = Counter(group.endpoint(name).statistics().refused)
    del counts["no hello in time"]
    return counts


async def test_a_group_serves_while_hundreds_connect_and_say_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as (group, service):
        for _ in range(20):
            for name in group.members:
                for _ in range(10):
                    await Attack(group, name).nothing()
            await service.wait_some()
        for name in group.members:
            assert len(group.endpoint(name)._pending) <= 64
        await group.kill("c")  # and whoever comes back gets in through them
        await group.start("c")
        assert await group.lines("c")

    assert len([it for it in caplog.records if "said no hello while others" in it.message]) == 3


async def test_a_node_of_another_cluster_in_a_members_name_is_refused_and_named_rarely(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A member of another cluster is started on the wrong address, while ours is away: it dials and dials."""
    other = Scope(cluster=b"another cluster!")
    async with serving(tmp_path) as (group, service):
        await group.kill("c")
        for _ in range(20):
            attack = Attack(group, "a")
            await attack.say(attack.hello("c", other), attack.claims("c", other))
            await service.wait_some()
        await group.start("c")
        await until(lambda: group["a"]._server.links.greeting.is_heard("c"))

    told = [it.message for it in caplog.records if "another cluster" in it.message]
    cluster = other.cluster.hex()[:8]
    assert told[0] == f"a: c at {group.members['c']} is refused: of another cluster, {cluster}…"
    assert len([it for it in told if "is refused" in it]) == 1
    assert len(told) <= 2
