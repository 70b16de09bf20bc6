"""How a node is born: it founds a group with the others, or is taken in by one that was founded.

Laws: founding needs a live hello of every listed member, all unborn, all with the same list and settings;
the smallest id does it. A group's record is offered to whom its newest configuration names, incarnation
included, and to nobody else; an unborn node adopts what is offered to it, but not while a peer remembers
an acknowledgement of it. A list of one founds only when told to, and who is to join founds nothing. So a
wiped node can neither found its group again nor vote away what it acknowledged.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import attrs

from raftkit.driver.greeting import Greeting, Peer
from raftkit.driver.replica import Replica
from raftkit.driver_messages import UNBORN, FoundingRecord, Hello, Remembered, Scope
from raftkit.membership import Configuration, Epoch, Member, Settings
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.statemachine import StateMachine, schema_of

__all__ = ["Founding", "fingerprint_of", "rolled_back", "rolled_back_before"]

_CURE = "delete it, start the node again, and admit it as it then says"


@attrs.frozen(kw_only=True)
class Founding:
    """What an unborn node would found, and how it knows when."""

    identity: Identity
    "Of this node."
    members: Mapping[NodeId, str]
    "Every founder's address, this node's included."
    settings: Settings
    "Of the group."
    machine_digest: bytes
    "Of what the factory makes, before any command."
    fingerprint: bytes
    "Of what the machine's code declares, see `Hello`."
    alone: bool
    "Whether a list of one may found."
    joins: bool = False
    "Whether it waits to be admitted to a group, and founds none: `members` are whom it knocks at."

    @property
    def founders(self) -> tuple[NodeId, ...]:
        """The names, sorted; none where it is to join."""
        return () if self.joins else tuple(sorted(self.members))

    def settings_hash(self) -> bytes:
        """32 bytes over everything that founders must agree on."""
        listed = self._configuration(dict.fromkeys(self.members, 0), Epoch())
        return hashlib.sha256(listed.encode() + self.machine_digest).digest()

    def adopt(self, greeting: Greeting) -> FoundingRecord | None:
        """The record of a founded group that has this very node, if nobody who is here objects."""
        hellos = [it.hello for it in greeting.met() if it.hello is not None]
        if any(_remembers(hello) for hello in hellos):
            return None
        offers = [it.founding for it in hellos if it.founding is not None]
        return offers[0] if offers else None

    def has_heard_all(self, greeting: Greeting) -> bool:
        """Whether every peer has said what it thinks of this node.

        A born peer that offers nothing and remembers nothing has not seen our hello when it said its own,
        or will never offer anything.
        """
        return all(
            it.hello is not None
            and (it.scope == UNBORN or (it.hello.founding or it.hello.remembered) is not None)
            for it in greeting.peers.values()
        )

    def found(self, greeting: Greeting, rng: random.Random, time_ns: int) -> FoundingRecord | None:
        """The record of a new group, if all is as it must be and this node is to found it."""
        if self.joins or self.missing(greeting) or self.identity.id != min(self.members):
            return None
        incarnations = {self.identity.id: self.identity.incarnation}
        for peer in greeting.peers.values():
            assert peer.identity is not None  # nobody is missing
            incarnations[peer.id] = peer.identity.incarnation
        epoch = Epoch(number=1, nonce=rng.getrandbits(64))
        entry = Run(
            first=Index(1),
            term=Term(1),
            time_ns=time_ns,
            elapsed_ns=0,
            kinds=(Kind.CONFIGURATION,),
            payloads=(self._configuration(incarnations, epoch).encode(),),
        )
        return FoundingRecord(scope=Scope(cluster=rng.randbytes(16), epoch=epoch), entry=entry)

    def missing(self, greeting: Greeting) -> list[str]:
        """In words, what still stands against founding; empty when nothing does."""
        if len(self.members) == 1 and not self.joins:
            return (
                []
                if self.alone
                else ["a list of one founds only by `raftkit init` or open_node(found=True)"]
            )
        return [
            f"{peer.id} {peer.address} {words}"
            for peer in greeting.peers.values()
            if (words := self.lacks(peer))
        ]

    def lacks(self, peer: Peer) -> str:
        """What is wrong with one peer; empty when it is here, unborn, and agrees."""
        hello = peer.hello
        if hello is None:
            return peer.why
        if peer.scope != UNBORN:
            return (
                self._objection(hello) or "is of a cluster already founded, which names this node"
            )
        if hello.founders != self.founders:
            return f"lists {', '.join(hello.founders) or 'nobody'}"
        if hello.settings_hash != self.settings_hash():
            return self._difference(peer.address, hello)
        return ""

    def _difference(self, address: str, hello: Hello) -> str:
        """What an unborn peer with the same names has otherwise, as far as its hello tells."""
        if hello.address != address:
            return f"is at {hello.address} by its own list of members: make the lists alike"
        if hello.fingerprint != self.fingerprint:
            return "has another machine: start all nodes with the same code"
        return (
            "has other settings, another address for some member, or a machine that begins otherwise: "
            "start all nodes alike"
        )

    def is_refused(self, greeting: Greeting) -> bool:
        """Whether a founded group is here that does not have this node; its name may be known there."""
        return any(
            it.hello is not None
            and it.scope != UNBORN
            and it.hello.founding is None
            and not _remembers(it.hello)
            for it in greeting.met()
        )

    def _objection(self, hello: Hello) -> str:
        """Why a born peer's founding record is not for this node; empty when it is."""
        if _remembers(hello):
            assert hello.remembered is not None
            return (
                f"remembers that this directory acknowledged index {hello.remembered.index} of term "
                f"{hello.remembered.term}: it was emptied or rolled back; {_CURE}"
            )
        if hello.founding is None:
            return f"is of a cluster already founded, which does not name {self.identity}"
        return ""

    def _configuration(self, incarnations: Mapping[NodeId, int], epoch: Epoch) -> Configuration:
        return Configuration(
            members=tuple(
                Member(id=name, incarnation=incarnations[name], address=address)
                for name, address in self.members.items()
            ),
            settings=attrs.evolve(self.settings, epoch=epoch),
        )


def fingerprint_of(replica: Replica[Any]) -> bytes:
    """32 bytes over the newest version of a typed machine; a bytes machine has no declared commands."""
    machine: object = replica.machine
    if isinstance(machine, StateMachine):
        return schema_of(type(machine), replica.newest_version).fingerprint
    return bytes(32)


def _remembers(hello: Hello) -> bool:
    """Whether its sender remembers a promise of this node."""
    told = hello.remembered
    return told is not None and (told.term, told.index) != (0, 0)


def rolled_back(
    hello: Hello, *, boot: int, nonce: int, term: Term, last_index: Index
) -> str | None:
    """Whether a peer remembers more of this node than is on its disk; then in words what."""
    told = hello.remembered
    if told is None:
        return None
    if told.boot > boot:
        return (
            f"a peer has seen boot {told.boot} of this directory, which is at {boot}: "
            f"it was rolled back; {_CURE}"
        )
    if told.boot == boot and told.nonce != nonce:
        return f"a peer has seen another boot {boot} of this directory: it was rolled back; {_CURE}"
    if (told.term, told.index) > (term, last_index):
        return (
            f"a peer has an acknowledgement of index {told.index} in term {told.term} from this "
            f"directory, which ends at {last_index} in term {term}: it was rolled back; {_CURE}"
        )
    return None


def rolled_back_before(told: Remembered) -> str:
    """In words, that an earlier start of this directory was shown to be rolled back, by `told`."""
    return (
        f"at an earlier start, a peer had seen boot {told.boot} of this directory, and index "
        f"{told.index} of term {told.term} on it: it was rolled back; {_CURE}"
    )
