"""Who asks a node for its vote: another member of its group, over TCP, from this process.

    the node dials us ──▶ our hello ──▶ VoteRequest, again and again ──▶ its VoteReply

A node answers when its core exists, and a vote is on its disk before it is told. So the reply says that
directory, log, snapshot, network and core are all there.

Laws: the request is the one that a leader asks for when it hands over. Any other a node leaves unanswered
for an election timeout after its start, by rule (§4.2.3), and that time is not what is measured.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from raftkit.driver_messages import FoundingRecord, Frame, Hello
from raftkit.membership import Configuration
from raftkit.messages import VoteReply, VoteRequest
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.transports import LossyEndpoint, TcpTransport
from raftkit.wire import FORMAT

__all__ = ["Candidate", "Vote", "open_candidate"]

REPEAT_SECONDS = 0.005
"Between requests: what the time until the reply may be too long by."


@attrs.frozen(kw_only=True)
class Vote:
    """A node's answer."""

    granted: bool
    at: float
    "When it came, by `time.perf_counter`."


@asynccontextmanager
async def open_candidate(
    name: NodeId, record: FoundingRecord, addresses: Mapping[NodeId, str]
) -> AsyncGenerator[Candidate]:
    """The member called `name`, of the group that `record` founded, listening at its address."""
    members = Configuration.decode(record.entry.payloads[0]).members
    (identity,) = (it.identity for it in members if it.id == name)
    candidate = Candidate(addresses[name])
    opened = TcpTransport().open_endpoint(identity, addresses[name], candidate)
    async with opened as candidate.endpoint:
        candidate.endpoint.adopt(record.scope)
        yield candidate


@attrs.define(eq=False)
class Candidate:
    """A member that campaigns. A `Sink`. Made by `open_candidate`."""

    _address: str
    endpoint: LossyEndpoint = attrs.field(init=False)
    "Where it listens."
    _vote: Vote | None = attrs.field(init=False, default=None)
    "The first answer."

    async def ask(self, voter: NodeId, term: int, last_index: int) -> Vote:
        """The voter's first answer, whenever it is started, to who wants to lead `term`.

        `last_index` is where the candidate's log ends, in term 1: who has a longer one refuses.
        """
        request = VoteRequest(
            term=Term(term), last_index=Index(last_index), last_term=Term(1), transfer=True
        )
        while self._vote is None:
            self.endpoint.send((voter,), request)
            await trio.sleep(REPEAT_SECONDS)
        return self._vote

    # ── a Sink ───────────────────────────────────────────────────────────────────────────────────────

    def linked(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.endpoint.send((peer,), self._hello())

    def received(self, frame: Frame) -> None:
        """See `Sink`."""
        if isinstance(frame.body, VoteReply) and self._vote is None:
            self._vote = Vote(granted=frame.body.granted, at=time.perf_counter())

    def unreachable(self, peer: NodeId, why: str) -> None:
        """See `Sink`."""

    def objection(self, newcomer: Identity) -> str:  # noqa: ARG002 - anybody may
        """See `Sink`."""
        return ""

    def settings_differ(self, peer: NodeId) -> None:
        """See `Sink`."""

    def _hello(self) -> Hello:
        return Hello(
            wire_format=FORMAT,
            boot=1,
            nonce=secrets.randbits(64),
            address=self._address,
            founders=(),
            settings_hash=bytes(32),
            founding=None,
            remembered=None,
            machine_version=1,
            fingerprint=bytes(32),
            python=(sys.version_info.major, sys.version_info.minor),
        )
