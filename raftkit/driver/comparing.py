"""States are compared while the group runs: who is wrong by a majority's digests is mended (F17, J4).

    cut behind one entry ──▶ snapshot, its digest ──▶ told to all ──▶ judged by each (`digests.py`)
    wrong? ──▶ apply and answer nothing, lead no more ──▶ a right one's snapshot ──▶ apply the log from there

Laws: each node judges itself, so no leader is needed; it believes a snapshot only by the digest of a
majority. Votes and acknowledgements go on, for the log is right. A holder that is silent, or has no such
snapshot any more, is left for another. Nothing is persisted of all this: a wrong snapshot that is found at
the next start is told, and answered, like any other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.applying import Applying, Seed
from raftkit.driver.digests import Digests, Verdict
from raftkit.driver.events import StateDiverged, StateHealed
from raftkit.driver.parts import Parts
from raftkit.driver.snapshotting import Snapshotting
from raftkit.driver.storing import Storing
from raftkit.driver_messages import (
    DIGESTS_MAX,
    DriverMessage,
    SnapshotPart,
    SnapshotWanted,
    StateDigest,
    StateDigests,
)
from raftkit.errors import Diverged
from raftkit.messages import Fit, Unfit
from raftkit.model import Identity, Index, NodeId
from raftkit.snapshot import SnapshotMeta

__all__ = ["Comparing"]

GRACE_SECONDS = 2.0
"For others to say what they have, before it is said that nobody can be called right."
PAUSE_SECONDS = (0.2, 10.0)
"Between two attempts to be mended: at first, and at most; it doubles."

logger = logging.getLogger("raftkit")


@attrs.define(eq=False, kw_only=True)
class Comparing:
    """What a node does about digests, its own and those of others."""

    identity: Identity
    "Of this node."
    raft: Callable[[], Raft]
    "For the configuration in force."
    applying: Applying
    snapshotting: Snapshotting
    storing: Storing
    send: Callable[[Sequence[NodeId], DriverMessage], None]
    tell_core: Callable[[Unfit | Fit], None]
    publish: Callable[[StateDiverged | StateHealed], None]
    fail_reads: Callable[[Callable[[], Exception]], None]
    "Ends every read that waits at this node."
    digests: Digests = attrs.field(init=False, factory=Digests)
    _own: dict[Index, tuple[SnapshotMeta, StateDigest]] = attrs.field(
        init=False, factory=dict[Index, tuple[SnapshotMeta, StateDigest]]
    )
    "The newest `DIGESTS_MAX` of this node."
    _said: dict[Index, StateDiverged] = attrs.field(init=False, factory=dict[Index, StateDiverged])
    "The last event about an index."
    _doubts: dict[Index, float] = attrs.field(init=False, factory=dict[Index, float])
    "Where states differ and it is not decided: when to say so, in trio's time."
    parts: Parts = attrs.field(init=False)
    "How a right snapshot is had of others, and given to them."
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.parts = Parts(
            storing=self.storing,
            send=self.send,
            raft=self.raft,
            held=self.held,
        )

    # ── what this node has ───────────────────────────────────────────────────────────────────────

    def recall(self, snapshot: SnapshotMeta, digest: StateDigest) -> None:
        """This node begins with such a snapshot."""
        self._own[digest.index] = (snapshot, digest)

    def on_own(self, snapshot: SnapshotMeta, digest: StateDigest) -> None:
        """This node has such a snapshot, behind a cut or in place of a wrong one."""
        self._own[digest.index] = (snapshot, digest)
        for index in sorted(self._own)[:-DIGESTS_MAX]:
            del self._own[index]
        self.tell()
        self._note(self.identity, self._own_digests())

    def on_replaced(self, index: Index, diverged: bool) -> None:
        """A snapshot at `index` replaced this node's state: what that was before says nothing now."""
        self._own = {at: it for at, it in self._own.items() if at >= index}
        self.digests.note(self.identity, self._own_digests())
        if diverged:
            logger.warning("%s: healed at index %s", self.identity.id, index)
            self.tell_core(Fit())
            self.publish(StateHealed(index=index))

    def tell(self, *targets: NodeId) -> None:
        """Say what this node's states were: to all members, if nobody is named."""
        if self._own:
            members = self.raft().configuration.members
            others = [it.id for it in members if it.id != self.identity.id]
            self.send(targets or others, StateDigests(digests=self._own_digests()))

    def _own_digests(self) -> tuple[StateDigest, ...]:
        return tuple(self._own[index][1] for index in sorted(self._own))

    def held(self, index: Index) -> SnapshotMeta | None:
        """The snapshot behind what this node told of its state there."""
        return self._own[index][0] if index in self._own else None

    # ── what others have ─────────────────────────────────────────────────────────────────────────

    def on_message(
        self, sender: Identity, message: StateDigests | SnapshotWanted | SnapshotPart
    ) -> None:
        """A peer told its digests, wants a part of a snapshot, or sent one."""
        match message:
            case StateDigests():
                self.on_digests(sender, message)
            case SnapshotWanted():
                self.parts.on_wanted(sender, message)
            case SnapshotPart():
                self.parts.on_part(sender, message)

    def on_digests(self, sender: Identity, message: StateDigests) -> None:
        """A peer said what its states were. Who is wrong is told what this node has, once each time."""
        if not self.raft().configuration.knows(sender):
            return
        for verdict in self._note(sender, message.digests):
            if sender.id in verdict.wrong and self.identity.id in verdict.right:
                self.tell(sender.id)
                return

    def _note(self, who: Identity, said: Sequence[StateDigest]) -> list[Verdict]:
        """Take note and draw the conclusions."""
        configuration = self.raft().configuration
        self.digests.keep(configuration)
        self.digests.note(who, said)
        verdicts = [self.digests.judge(it.index, configuration) for it in said]
        known = self.digests.indexes()
        self._said = {index: it for index, it in self._said.items() if index in known}
        self._doubts = {index: it for index, it in self._doubts.items() if index in known}
        for verdict in verdicts:
            self._conclude(verdict)
        self._news.set()
        return verdicts

    def _conclude(self, verdict: Verdict) -> None:
        if verdict.right or not verdict.differ:
            self._doubts.pop(verdict.index, None)
        elif verdict.final:
            self._doubts[verdict.index] = trio.current_time()
        else:
            self._doubts.setdefault(verdict.index, trio.current_time() + GRACE_SECONDS)
        if verdict.wrong:
            self._say(StateDiverged(index=verdict.index, members=verdict.wrong, decided=True))
        if self.identity.id in verdict.wrong and self.applying.divergence is None:
            self._diverge(verdict.index)

    def _diverge(self, index: Index) -> None:
        """Be of no use for anything but the log."""
        why = (
            f"the state of {self.identity.id} diverged at index {index}: it is not what a majority has, "
            "and waits for a snapshot of theirs"
        )
        self.applying.diverge(why)
        self.fail_reads(lambda: Diverged(why))
        self.tell_core(Unfit(reason=why))

    def _say(self, event: StateDiverged) -> None:
        """Tell people and listeners, once."""
        if self._said.get(event.index) == event:
            return
        self._said[event.index] = event
        logger.error("%s: %s", self.identity.id, in_words(event))
        self.publish(event)

    def explain(self) -> list[str]:
        """What people should know of it."""
        return [in_words(self._said[index]) for index in sorted(self._said)[-1:]]

    # ── being mended ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Say what stays undecided, and mend this node's state whenever it is wrong, for ever."""
        self.digests.note(self.identity, self._own_digests())
        self.tell()
        pause = PAUSE_SECONDS[0]
        while True:
            self._news = trio.Event()
            self._voice_doubts()
            if self.applying.divergence is None:
                pause = PAUSE_SECONDS[0]
                with trio.move_on_at(min(self._doubts.values(), default=math.inf)):
                    await self._news.wait()
            elif not await self._mend():
                await trio.sleep(pause)
                pause = min(2 * pause, PAUSE_SECONDS[1])

    def _voice_doubts(self) -> None:
        now, configuration = trio.current_time(), self.raft().configuration
        for index in [index for index, at in sorted(self._doubts.items()) if at <= now]:
            del self._doubts[index]
            differ = self.digests.judge(index, configuration).differ
            if differ:
                self._say(StateDiverged(index=index, members=differ, decided=False))

    async def _mend(self) -> bool:
        """Go on from a snapshot that a majority has; whether that could be done."""
        configuration = self.raft().configuration
        for index in reversed(self.digests.indexes()):
            # Later ones wait until the log is known so far; for earlier ones it may not reach back.
            if not self.snapshotting.index <= index <= self.applying.given:
                continue
            right = self.digests.judge(index, configuration).right
            for holder in sorted(right):
                if self.applying.divergence is None:
                    return True  # a leader's snapshot came
                content = await self._fetch(holder, right[holder])
                if content is not None and await self.applying.reseed(
                    Seed(index=index, digest=right[holder].digest, content=content)
                ):
                    return True
        return False

    async def _fetch(self, holder: NodeId, whole: StateDigest) -> list[bytes] | None:
        """All of a snapshot, of as many bytes as its holder has said; None if it can't be had."""
        content: list[bytes] = []
        offset = 0
        while offset < whole.size:
            wanted = SnapshotWanted(index=whole.index, offset=offset)
            answer = await self.parts.ask(holder, wanted)
            if answer is None or not 0 < len(answer[1]) <= whole.size - offset:
                return None
            content.append(answer[1])
            offset += len(answer[1])
        return content


def in_words(event: StateDiverged) -> str:
    """What happened, and what follows."""
    who = ", ".join(event.members)
    if event.decided:
        return (
            f"at index {event.index} the state of {who} is not what a majority has: it is replaced; look "
            "for what is not deterministic in the machine, or for bad memory"
        )
    return (
        f"at index {event.index} the states of {who} differ, and nobody can be called right: nothing is "
        "replaced; look for what is not deterministic in the machine, or for bad memory"
    )
