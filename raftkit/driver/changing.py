"""Changes of the group, made by this node while it leads: who comes is awaited, and the core's answer told.

Laws: a refusal is definite, and one line that says what to do. A newcomer without an incarnation is the
unborn node of that name which says hello at that address: only it can be admitted, whoever had the name
before; but the name of a member that lives is its own. When the leadership, or the time, ends over a change
that is in the log, its outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import trio

from raftkit.changes import (
    CHANGES_MAX,
    AddLearner,
    Change,
    ChangeMembership,
    ChangeRefused,
    MembershipChanged,
    MembershipUnknown,
    change_form,
    read_change,
)
from raftkit.core import Raft
from raftkit.driver.asking import Asking
from raftkit.driver.greeting import Peer
from raftkit.driver.links import Links
from raftkit.driver_messages import UNBORN
from raftkit.encoding import MalformedError
from raftkit.errors import LocalProtocolError, NodeClosed, NotLeader, OutcomeUnknown
from raftkit.membership import Configuration
from raftkit.messages import Refusal, Refused
from raftkit.model import Identity, Index

__all__ = ["Changing", "checked_changes"]

_Answer = MembershipChanged | MembershipUnknown | Refused


@attrs.define(eq=False, kw_only=True)
class Changing:
    """What callers want changed of the group."""

    identity: Identity
    "Of this node."
    raft: Callable[[], Raft | None]
    "The core, to be read; None while unborn."
    links: Callable[[], Links]
    "Where newcomers knock."
    new_ticket: Callable[[], int]
    asking: Asking[_Answer]
    _closed: str | None = attrs.field(init=False, default=None)
    _news: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    "Who waits until something is heard of a peer, is applied, or another leads."

    async def change(
        self, wanted: tuple[Change, ...], *, based_on: Index | None, within: float
    ) -> Index:
        """Have these changes made, all or none. Raises NotLeader, and what `Node.change_membership` does."""
        request = None
        with trio.move_on_after(within):
            complete = await self._complete(wanted)
            raft = await self._wait_ready()
            request = ChangeMembership(
                ticket=self.new_ticket(), changes=complete, based_on=based_on
            )
            return self._concluded(raft, request, await self.asking.ask(request))
        raise self._too_late(wanted, within, asked=request is not None)

    def _concluded(self, raft: Raft, request: ChangeMembership, answer: _Answer | None) -> Index:
        """The index of the new configuration. Raises what the answer means otherwise."""
        match answer:
            case MembershipChanged(index=index):
                return index
            case Refused():
                raise _error(raft, answer, request.based_on)
            case MembershipUnknown():
                raise OutcomeUnknown(
                    None,
                    f"{self.identity.id} lost the leadership while the change was not decided: "
                    "the members are then what `members` of the next leader says",
                )
            case None:
                raise OutcomeUnknown(None, f"{self._closed}, before it was decided")

    async def _wait_ready(self) -> Raft:
        """Wait until the leader's no-op is committed: earlier it may change nothing (Ongaro, 2015)."""
        while True:
            raft = self._leading()
            since = raft.leads_since
            assert since is not None  # it leads
            if raft.commit_index >= since:
                return raft
            await self._news.park()

    def _leading(self) -> Raft:
        """The core, which leads. Raises NodeClosed, NotLeader."""
        raft = self.raft()
        if self._closed is not None:
            raise NodeClosed(self._closed)
        if raft is None or raft.leads_since is None:
            raise NotLeader(None if raft is None else raft.leader)
        return raft

    def _too_late(
        self, changes: Sequence[Change], within: float, *, asked: bool
    ) -> ChangeRefused | OutcomeUnknown:
        """What to say when the time is over: what was missing, or that nobody knows."""
        time = f"{round(within, 2):g} s"
        if asked:
            return OutcomeUnknown(
                None,
                f"it was not decided within {time}: the members are then what `members` says",
            )
        missing = [it for it in changes if isinstance(it, AddLearner) and self._lacks(it)]
        words = [f"{it.id} at {it.address} {self._lacks(it)}" for it in missing]
        return ChangeRefused(
            f"within {time}: {'; '.join(words) or 'the leader could commit nothing'}"
        )

    # ── newcomers ────────────────────────────────────────────────────────────────────────────────

    async def _complete(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """The changes, with the incarnation of every newcomer, once all are here."""
        await trio.lowlevel.checkpoint()
        self._leading()
        newcomers = [it for it in changes if isinstance(it, AddLearner)]
        self._refuse_namesakes(newcomers)
        away = {it.id: it.address for it in newcomers if self._lacks(it)}
        with self.links().invited(away):
            while any(map(self._lacks, newcomers)):
                await self._news.park()
                self._leading()
        return tuple(self._completed(it) for it in changes)

    def _refuse_namesakes(self, newcomers: Sequence[AddLearner]) -> None:
        """Raise ChangeRefused if one is to have the name of a member that lives."""
        links, raft = self.links(), self.raft()
        for it in newcomers:
            peer = links.greeting.find(it.id)
            if peer is None or raft is None or not _knows(raft, peer):
                continue
            same = peer.identity == it.identity
            same |= not it.incarnation and it.address == peer.address
            why = "" if same else links.namesakes.objection(it.identity)
            if why:
                raise ChangeRefused(why)

    def _lacks(self, change: AddLearner) -> str:
        """In words, why it isn't known yet which node that is; empty when it is."""
        if change.incarnation or change.id == self.identity.id:
            return ""
        peer = self.links().greeting.find(change.id)
        if peer is None or peer.hello is None:
            why = "was not met" if peer is None else peer.why
            return f"{why}: start it there, with join=True, or on an empty directory"
        raft = self.raft()
        known = raft is not None and _knows(raft, peer)
        if peer.scope != UNBORN and not known:
            return "belongs to a group already, with that directory: delete it, and start the node again"
        if peer.hello.address != change.address:
            return f"says that it is reached at {peer.hello.address}: give that address"
        return ""

    def _completed(self, change: Change) -> Change:
        if not isinstance(change, AddLearner) or change.incarnation:
            return change
        peer = self.links().greeting.find(change.id)
        identity = self.identity if peer is None else peer.identity
        assert identity is not None
        return attrs.evolve(change, incarnation=identity.incarnation)

    # ── what others report ───────────────────────────────────────────────────────────────────────

    def on_news(self) -> None:
        """Something was heard of a peer, was applied, or another leads, or nobody."""
        self._news.unpark_all()

    def close(self, why: str) -> None:
        """The node ends: so do all changes that are asked for."""
        self._closed = why
        self.asking.close()
        self._news.unpark_all()


def _knows(raft: Raft, peer: Peer) -> bool:
    return peer.identity is not None and raft.configuration.knows(peer.identity)


def checked_changes(changes: Sequence[object]) -> tuple[Change, ...]:
    """The changes, which every node can read. Raises ChangeRefused, LocalProtocolError for anything else."""
    if not changes:
        raise ChangeRefused("no change is asked for: give at least one, such as AddLearner(…)")
    if len(changes) > CHANGES_MAX:
        raise ChangeRefused(f"{len(changes)} changes at once: give at most {CHANGES_MAX}")
    return tuple(map(_checked, changes))


def _checked(change: object) -> Change:
    if not isinstance(change, Change):
        raise LocalProtocolError(
            f"a change is an AddLearner, Promote, Demote, Remove, Readdress or ChangeSettings, "
            f"got {change!r:.80}"
        )
    try:
        return read_change(change_form(change))
    except MalformedError as error:
        raise ChangeRefused(f"{change!r:.80} is not a change: {error}") from error


def _error(raft: Raft, refused: Refused, based_on: Index | None) -> ChangeRefused | NotLeader:
    """What the caller is told, with what to do."""
    match refused.reason:
        case Refusal.NOT_LEADER:
            return NotLeader(refused.leader)
        case Refusal.UNDER_WAY:
            words = (
                f"the change at index {raft.configuration_index}, to {_in_words(raft.configuration)}, is "
                "under way: ask again when it is done"
            )
        case Refusal.OVERTAKEN:
            words = (
                f"the configuration of index {based_on} was overtaken by that of index "
                f"{raft.configuration_index}, {_in_words(raft.configuration)}: look again"
            )
        case Refusal.BEHIND:
            names = set(refused.detail.split(", "))
            ats = [f"{it.id} is at index {it.match_index}" for it in raft.peers() if it.id in names]
            words = (
                f"{'; '.join(ats)} of {raft.last_index}, too far to become a voter: ask again later, or "
                "admit such a node with promote=True, and it becomes one by itself"
            )
        case _:
            words = refused.detail or refused.reason.value
    return ChangeRefused(words)


def _in_words(configuration: Configuration) -> str:
    """Its members, with the role of each that is no voter."""
    return ", ".join(
        it.id if it.role.name == "VOTER" else f"{it.id} ({it.role.name.lower()})"
        for it in configuration.members
    )
