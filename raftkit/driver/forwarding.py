"""Calls on their way to the leader: proposed here if this node leads, else forwarded, never on from there.

Laws: a Forward has a request number that its receiver remembers, so it is proposed at most once however
often it arrives (J7). It is answered with a place in the log, or refused; the result itself is seen by
the node that asked when it applies the entry. A new leader is sent again what is still open, in the same
session. What may be sent only once is sent to it if the last one says that it refused; who asked for it is
not kept waiting when nobody will say any more what became of it. Nothing is sent to a leader that is silent:
what waits here can go to the next one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import attrs
import trio

from raftkit.core import Raft
from raftkit.driver.relay import Relay
from raftkit.driver.sessions import pack_header
from raftkit.driver.waiters import Call, Waiters
from raftkit.driver_messages import DriverMessage, Forward, ForwardAccepted, ForwardRefused
from raftkit.errors import DidNotHappen, EntryTooLarge, Overloaded
from raftkit.messages import Propose, Proposed, Refusal, Refused
from raftkit.model import Identity, Index, Kind, NodeId, Term

__all__ = ["Forwarding"]

BATCH_BYTES_MAX = 256 * 1024
"Payload bytes of one Propose or Forward; at least one call goes whatever its size."
PENDING_BYTES_MAX = 64 * 1024 * 1024
"Payload bytes of calls not sent yet; beyond it callers are refused `Overloaded`."
PAUSE_SECONDS = 0.02
"After a refusal, before the same leader is asked again."
LATE_PART = 0.25
"Of `retry_seconds`: so long a leader of before may take to say what became of what is sent only once."


@attrs.frozen(kw_only=True)
class _Batch:
    """Calls sent together, not answered yet."""

    to: NodeId
    "Who was asked; this node, where it proposed them itself."
    calls: list[Call]
    forward: Forward | None
    "None where this node proposed them itself."
    at: float
    "When it was last sent, or became late, in trio's time."

    @property
    def once(self) -> bool:
        """Whether it is not to be sent again."""
        return self.calls[0].once


@attrs.define(eq=False, kw_only=True)
class Forwarding:
    """What this node wants decided and has not seen applied yet."""

    id: NodeId
    waiters: Waiters
    new_ticket: Callable[[], int]
    send: Callable[[Sequence[NodeId], DriverMessage], None]
    retry_seconds: float
    "An unanswered Forward is sent again after this long."
    silence: Callable[[NodeId], float]
    "Seconds since that member was heard; infinity while there is no link to it."
    _relay: Relay = attrs.field(init=False)
    "What others forward to this node."
    _pending: deque[Call] = attrs.field(init=False, factory=deque[Call])
    "Calls to be sent, in order."
    pending_bytes: int = attrs.field(init=False, default=0)
    "Payloads of `_pending`."
    _swept_at: int = attrs.field(init=False, default=0)
    "Calls that had been dropped when `_pending` was last swept of them."
    _asked: dict[int, _Batch] = attrs.field(init=False, factory=dict[int, _Batch])
    "By ticket or request number; the longest unanswered first."
    _late: dict[int, _Batch] = attrs.field(init=False, factory=dict[int, _Batch])
    "Sent once, to a leader of before, which may yet say that it refused; those that wait longest first."
    _target: tuple[NodeId | None, Term] = attrs.field(init=False, default=(None, Term(0)))
    "The leader that `_asked` went to, and its term."
    _paused_until: float = attrs.field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        self._relay = Relay(self.id, self.new_ticket, self.send)

    def submit(self, call: Call) -> None:
        """Queue an open call for the leader."""
        self._sweep()
        call.queued = True
        self._pending.append(call)
        self.pending_bytes += len(call.payload)

    # ── once a turn ──────────────────────────────────────────────────────────────────────────────

    def is_ready(self, raft: Raft, now: float) -> bool:
        """Whether `collect` would send something."""
        return (
            bool(self._pending)
            and raft.leader is not None
            and now >= self._paused_until
            and self._is_heard(raft, raft.leader)
        )

    def _is_heard(self, raft: Raft, leader: NodeId) -> bool:
        """Whether a heartbeat of `leader` is not overdue: two fit in the lower election bound, at least."""
        low, _ = raft.configuration.settings.election_timeout_ms
        return leader == self.id or self.silence(leader) <= low / 2000

    def deadline(self, now: float) -> float:
        """When `collect` should be called again at the latest, in trio's time."""
        oldest = next(iter(self._asked.values()), None)
        due = [oldest.at + self.retry_seconds] if oldest is not None else []
        if self._late:
            due.append(next(iter(self._late.values())).at + LATE_PART * self.retry_seconds)
        if self._pending:
            due.append(self._paused_until)
        # What is overdue waits for a leader, whose coming wakes us; to wake for it now would be to spin.
        return min((at for at in due if at > now), default=math.inf)

    def collect(self, raft: Raft, now: float) -> list[Propose]:
        """Send what is pending to the leader; what this node is to propose itself is returned."""
        self._sweep()
        self._give_up_late(now)
        if raft.leader is None:
            return []
        if (raft.leader, raft.term) != self._target:
            self._target = (raft.leader, raft.term)
            self._recall(now)
        self._send_again(now)
        proposals: list[Propose] = []
        while self.is_ready(raft, now):
            calls = self._take_batch()
            if not calls:
                break
            ticket = self.new_ticket()
            payloads = tuple(call.payload for call in calls)
            kinds = tuple(call.kind for call in calls)
            forward = None
            if raft.leader == self.id:
                proposals.append(Propose(ticket=ticket, payloads=payloads, kinds=_sparse(kinds)))
            else:
                forward = Forward(request=ticket, payloads=payloads, kinds=_sparse(kinds))
                self.send((raft.leader,), forward)
            self._asked[ticket] = _Batch(to=raft.leader, calls=calls, forward=forward, at=now)
        return proposals

    # ── answers ──────────────────────────────────────────────────────────────────────────────────

    def on_answer(self, answer: Proposed | Refused, entry_bytes_max: int) -> None:
        """This node's core answered a proposal of this node, or one that it relays."""
        if self._relay.on_answer(answer):
            return
        batch = self._asked.pop(answer.ticket, None)
        if batch is None:
            return
        match answer:
            case Proposed():
                _note_place(batch.calls, answer)
            case Refused():
                self._on_refusal(batch.calls, answer.reason, entry_bytes_max)
                self._pause()

    def on_message(
        self, sender: Identity, message: Forward | ForwardAccepted | ForwardRefused, raft: Raft
    ) -> Propose | None:
        """A peer forwards, or answers what this node forwarded. Returns what is to be proposed for it."""
        if isinstance(message, Forward):
            return self._relay.on_forward(sender, message, raft)
        batches = self._late if message.request in self._late else self._asked
        batch = batches.get(message.request)
        if batch is None or batch.to != sender.id:
            return None  # not who was asked
        del batches[message.request]
        match message:
            case ForwardAccepted():
                _note_place(batch.calls, message)
            case ForwardRefused():
                limit = raft.configuration.settings.entry_bytes_max
                self._on_refusal(batch.calls, message.reason, limit)
                if batches is self._asked:
                    self._pause()
        return None

    def _on_refusal(self, calls: list[Call], reason: Refusal, entry_bytes_max: int) -> None:
        """None of these happened by this sending: end them, or try again."""
        for call in calls:
            call.count_sending(-1)
        match reason:
            case Refusal.OVERLOADED:
                error = Overloaded(
                    "the leader's log holds as many undecided bytes as it may: slow down"
                )
                self._refuse(calls, error)
            case Refusal.TOO_LARGE:
                # One of them is. The largest goes, the others are innocent until refused again.
                largest = max(calls, key=lambda call: len(call.payload))
                self._refuse([largest], EntryTooLarge(len(largest.payload), entry_bytes_max))
                self._retry(it for it in calls if it is not largest)
            case _:
                self._retry(calls)

    def _pause(self) -> None:
        """Leave the leader alone for a while."""
        self._paused_until = trio.current_time() + PAUSE_SECONDS

    def _refuse(self, calls: Sequence[Call], error: DidNotHappen) -> None:
        for call in calls:
            if self.waiters.is_definite(call):
                self.waiters.fail(call, error, "")
            else:
                self._retry([call])

    def on_link_lost(self, peer: NodeId) -> None:
        """The link to `peer` closed: what it was asked and has not answered may or may not happen.

        Another life of that node would refuse what this one may have proposed, so no answer counts any more.
        """
        for batches in (self._late, self._asked):
            for request in [it for it, batch in batches.items() if batch.to == peer]:
                batch = batches.pop(request)
                if batch.once:
                    self._give_up(batch, f"the connection to {peer} closed before it answered")
                else:
                    self._retry(batch.calls)

    # ── sending again ────────────────────────────────────────────────────────────────────────────

    def _recall(self, now: float) -> None:
        """There is another leader: what the last one did not get decided is sent to this one too."""
        for request, batch in self._asked.items():
            if batch.once and batch.forward is not None:
                self._late[request] = attrs.evolve(batch, at=now)
        self._asked.clear()
        self._paused_until = -math.inf
        self._retry(call for call in self.waiters if call.sendings)

    def _retry(self, calls: Iterable[Call]) -> None:
        for call in calls:
            if call.over or call.queued:
                continue
            if call.once and call.sendings:
                continue  # it may have happened, and nothing would notice the second time
            self.submit(call)

    def _give_up_late(self, now: float) -> None:
        """A leader of before that is alive has said by now what it refused: this one is silent."""
        for request, batch in list(self._late.items()):
            if batch.at + LATE_PART * self.retry_seconds > now:
                break
            del self._late[request]
            self._give_up(batch, f"{batch.to} did not answer before another was elected")

    def _give_up(self, batch: _Batch, why: str) -> None:
        for call in batch.calls:
            self.waiters.give_up(call, why)

    def _send_again(self, now: float) -> None:
        """Repeat forwards that were not answered: the same numbers, so they happen once all the same."""
        for request, batch in list(self._asked.items()):
            if batch.at + self.retry_seconds > now:
                break
            if batch.forward is not None and not batch.once:
                self.send((batch.to,), batch.forward)
            del self._asked[request]  # to the end of the queue
            self._asked[request] = attrs.evolve(batch, at=now)

    def _sweep(self) -> None:
        """Let go of queued calls that are over, when they may be half of all.

        Without a leader nobody takes them out, and commands given up long ago would fill the queue.
        """
        if 2 * (self.waiters.dropped - self._swept_at) <= len(self._pending):
            return
        self._swept_at = self.waiters.dropped
        self._pending = deque(call for call in self._pending if not call.over)
        self.pending_bytes = sum(len(call.payload) for call in self._pending)

    def _take_batch(self) -> list[Call]:
        """The next pending calls that fit together and still want to be sent."""
        calls: list[Call] = []
        size = 0
        while self._pending and (
            not calls or size + len(self._pending[0].payload) <= BATCH_BYTES_MAX
        ):
            if calls and self._pending[0].once != calls[0].once:
                break  # what is sent at most once is not sent again with its batch
            call = self._pending.popleft()
            call.queued = False
            self.pending_bytes -= len(call.payload)
            if call.over or not self._still_wanted(call):
                continue
            size += len(call.payload)
            call.count_sending(1)
            call.index = Index(0)
            calls.append(call)
        return calls

    def _still_wanted(self, call: Call) -> bool:
        """Whether to send `call`. An abandoned command becomes a void, so that its number can close."""
        if call.wake is not None or call.kind is Kind.VOID:
            return True
        ledger = call.ledger
        if call.kind is Kind.COMMAND and ledger is not None and not ledger.is_held(call.number):
            call.kind = Kind.VOID
            call.payload = pack_header(call.session, call.number, ledger.ack_below)
            return True
        self.waiters.drop(call)
        return False


def _note_place(calls: list[Call], place: Proposed | ForwardAccepted) -> None:
    for offset, call in enumerate(calls):
        call.index = Index(place.first + offset)
        call.term = place.term


def _sparse(kinds: tuple[Kind, ...]) -> tuple[Kind, ...] | None:
    return kinds if any(kinds) else None
