"""Every member says how it is and whom it does not hear, so that each node knows who hears whom.

    this node ── `Presence`, each second that it has news ──▶ all members
    all of them ── theirs, and whatever else they send ──▶ who was heard, and when; what each said last
    which makes ──▶ rows of links for people, and who campaigns first where a leader's connection closes

Laws: what others say of themselves may be old or wrong, so no term, vote, index or timer moves by it; it is
only said on, and orders who tries first, or is asked to. Kept is one of each member. What is compared between
members is what all of them have heard: of this node too what it said, not what it has come to know since.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.links import Links
from raftkit.driver.looking import next_look
from raftkit.driver_messages import Presence
from raftkit.messages import PriorityHeard
from raftkit.model import Identity, Index, NodeId

__all__ = ["MemberLinks", "Presences"]

LOOK_SECONDS = 1.0
"Between two looks at whether there is news to tell."
REPEAT_SECONDS = 5.0
"Without news, until the same is said again: whoever is there can be heard."
SETTLE_SECONDS = 2.5
"So long somebody must have been missed by another before it is worth a word: two looks, and some."
SILENT_SECONDS = 12.0
"Who says nothing for longer is missing, whatever its link says: two in a row may be lost."


@attrs.frozen(kw_only=True)
class MemberLinks:
    """One member's links, as far as one node knows: a row of who hears whom."""

    id: NodeId
    "Which member."
    heard_age: float | None
    "Seconds since this node heard anything from it; 0 of itself. None: this node may not talk to it now."
    missing: tuple[NodeId, ...] | None
    "Members that it does not hear, so it hears the others. None: not known, it has not said so lately."
    said: Presence | None
    "The last that it said of itself. None: nothing, since this node runs."
    said_age: float | None
    "Seconds since it said that."


@attrs.define(eq=False, kw_only=True)
class Presences:
    """What is told to the members, and what they told."""

    identity: Identity
    "Of this node."
    raft: Callable[[], Raft | None]
    "The core, to be read; None while unborn."
    applied: Callable[[], Index]
    "How far this node's state is."
    links: Callable[[], Links]
    priority: int
    "With which this node campaigns."
    tell_core: Callable[[PriorityHeard], None]
    _heard_at: dict[NodeId, float] = attrs.field(init=False, factory=dict[NodeId, float])
    "When each that may be heard last was, or could be, in trio's time."
    _said: dict[NodeId, tuple[Presence, float]] = attrs.field(
        init=False, factory=dict[NodeId, tuple[Presence, float]]
    )
    "What each member said last, and when."
    _missing_since: dict[NodeId, float] = attrs.field(init=False, factory=dict[NodeId, float])
    "Since when each says that it misses whom it says that it misses."
    _told: Presence | None = attrs.field(init=False, default=None)
    "What this node said last."
    _told_at: float = attrs.field(init=False, default=0.0)
    _looked_at: float = attrs.field(init=False, default=0.0)
    "When it was last awake for that."
    _linked: trio.Event = attrs.field(init=False, factory=trio.Event)
    "Somebody is heard who was told nothing yet."

    # ── in ───────────────────────────────────────────────────────────────────────────────────────

    def hear(self, peer: NodeId) -> None:
        """Something came from `peer`, whatever it is."""
        self._heard_at[peer] = trio.current_time()

    def on_presence(self, sender: Identity, said: Presence) -> None:
        """A member says how it is. Of others it is not kept."""
        raft = self.raft()
        if raft is not None and raft.configuration.knows(sender):
            now, before = trio.current_time(), self._said.get(sender.id)
            if before is None or before[0].priority != said.priority:
                self.tell_core(PriorityHeard(peer=sender.id, priority=said.priority))
            if before is None or before[0].missing != said.missing:
                self._missing_since[sender.id] = now
            self._said[sender.id] = (said, now)

    def on_news(self) -> None:
        """What is known of a peer changed: who is heard from now on is told at once how this node is.

        So all compare the same when a leader is lost soon after.
        """
        if self._told is not None and any(map(self.links().greeting.is_heard, self._told.missing)):
            self._linked.set()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Tell the members how this node is, for ever."""
        while True:
            raft = self.raft()
            assert raft is not None  # started by who is born
            self._look(raft, trio.current_time())
            self._linked = trio.Event()
            with trio.move_on_at(next_look(LOOK_SECONDS)):
                await self._linked.wait()

    def _look(self, raft: Raft, now: float) -> None:
        others, is_heard = self._others(raft), self.links().greeting.is_heard
        # Who slept so long would take for silence what it has not listened to.
        slept = now - self._looked_at > SILENT_SECONDS - 2 * REPEAT_SECONDS
        before = {} if slept else self._heard_at
        self._looked_at = now
        self._heard_at = {it: before.get(it, now) for it in others if is_heard(it)}
        self._said = {it: self._said[it] for it in others if it in self._said}
        self._missing_since = {it: self._missing_since[it] for it in self._said}
        said = self._presence(raft, now)
        if said != self._told or now >= self._told_at + REPEAT_SECONDS:
            self._told, self._told_at = said, now
            self.links().send(others, said)

    def _others(self, raft: Raft) -> list[NodeId]:
        return [it.id for it in raft.configuration.members if it.id != self.identity.id]

    def _presence(self, raft: Raft, now: float) -> Presence:
        return Presence(
            term=raft.term,
            leader=raft.leader,
            last_index=raft.last_index,
            last_term=raft.last_term,
            first_index=raft.first_index,
            commit_index=raft.commit_index,
            applied_index=self.applied(),
            configuration_index=raft.configuration_index,
            missing=tuple(it for it in self._others(raft) if not self._hears(it, now)),
            priority=self.priority,
        )

    def _hears(self, peer: NodeId, now: float) -> bool:
        age = self._age(peer, now)
        return age is not None and age <= SILENT_SECONDS

    def _age(self, peer: NodeId, now: float) -> float | None:
        """Seconds since `peer` was heard. None: this node may not talk to it now."""
        if not self.links().greeting.is_heard(peer):
            return None
        return now - self._heard_at.get(peer, now)

    # ── what is known ────────────────────────────────────────────────────────────────────────────

    def silence(self, peer: NodeId) -> float:
        """Seconds since anything came from `peer`; infinity while this node may not talk to it."""
        age = self._age(peer, trio.current_time())
        return math.inf if age is None else age

    def succession(self) -> tuple[NodeId, ...]:
        """This node and the members that it hears, by what they said the furthest log first, then by name.

        Empty before anybody has heard of this node.
        """
        if self._told is None:
            return ()
        now, said = trio.current_time(), {self.identity.id: self._told}
        for peer, (what, _) in self._said.items():
            if self._hears(peer, now):
                said[peer] = what
        return tuple(sorted(said, key=lambda it: (-said[it].last_term, -said[it].last_index, it)))

    def rows(self) -> tuple[MemberLinks, ...]:
        """One of each member, in the order of their names; none while unborn."""
        raft, now = self.raft(), trio.current_time()
        if raft is None:
            return ()
        return tuple(self._row(raft, member.id, now) for member in raft.configuration.members)

    def _row(self, raft: Raft, member: NodeId, now: float) -> MemberLinks:
        if member == self.identity.id:
            own = self._presence(raft, now)
            return MemberLinks(
                id=member, heard_age=0.0, missing=own.missing, said=own, said_age=0.0
            )
        said, at = self._said.get(member, (None, now))
        fresh = now - at <= SILENT_SECONDS and self._hears(member, now)
        return MemberLinks(
            id=member,
            heard_age=self._age(member, now),
            missing=said.missing if said is not None and fresh else None,
            said=said,
            said_age=None if said is None else now - at,
        )

    def explain(self) -> list[str]:
        """Who is silent on a link that stands, and who misses somebody whom this node hears.

        Only what has been so for `SETTLE_SECONDS`: links that come up are not all heard of at once.
        """
        rows, now = self.rows(), trio.current_time()
        own = {it for row in rows if row.id == self.identity.id for it in row.missing or ()}
        silent = [it for it in rows if it.id in own and it.heard_age is not None]
        apart = [
            it
            for it in rows
            if now - self._missing_since.get(it.id, now) >= SETTLE_SECONDS
            and not own.issuperset(it.missing or ())
        ]
        return [
            *(
                f"{it.id} has said nothing for {it.heard_age:.0f} s, on a link that stands"
                for it in silent
            ),
            *(_in_words(it, [row.id for row in rows]) for it in apart),
        ]


def _in_words(row: MemberLinks, members: list[NodeId]) -> str:
    """Whom a member hears, or whom it does not, whichever is shorter."""
    missing = row.missing or ()
    heard = [it for it in members if it != row.id and it not in missing]
    if not heard:
        return f"{row.id} hears nobody"
    if len(heard) < len(missing):
        return f"{row.id} hears only {', '.join(heard)}"
    return f"{row.id} does not hear {', '.join(missing)}"
