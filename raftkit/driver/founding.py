"""How a node is born: it founds a group with the others, or is named by one that was founded.

Laws: founding needs a live hello of every listed member, all unborn, all with the same list and settings;
the smallest id does it. An unborn node adopts nothing that does not name its own identity, nor anything
from a peer that remembers an acknowledgement of it. A list of one founds only when told to. So a wiped
node can neither found its group again nor vote away what it acknowledged.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

import attrs

from raftkit.driver.greeting import Greeting, Peer
from raftkit.driver_messages import UNBORN, FoundingRecord, Hello, Scope
from raftkit.membership import Configuration, Epoch, Member, Settings
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term

__all__ = ["Founding", "rolled_back"]


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
    alone: bool
    "Whether a list of one may found."

    @property
    def founders(self) -> tuple[NodeId, ...]:
        """The names, sorted."""
        return tuple(sorted(self.members))

    def settings_hash(self) -> bytes:
        """32 bytes over everything that founders must agree on."""
        listed = self._configuration(dict.fromkeys(self.members, 0), Epoch())
        return hashlib.sha256(listed.encode() + self.machine_digest).digest()

    def adopt(self, greeting: Greeting) -> FoundingRecord | None:
        """The record of a founded group that names this very node, if nobody who is here objects."""
        hellos = [it.hello for it in greeting.peers.values() if it.hello is not None]
        if any(_remembers(hello) for hello in hellos):
            return None
        offers = [it.founding for it in hellos if it.founding is not None and self._names_us(it)]
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
        if self.missing(greeting) or self.identity.id != min(self.members):
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
        if len(self.members) == 1:
            return [] if self.alone else ["a list of one founds only with open_node(found=True)"]
        return [words for peer in greeting.peers.values() if (words := self._lacks(peer))]

    def _lacks(self, peer: Peer) -> str:
        """What is wrong with one peer; empty when it is here, unborn, and agrees."""
        where = f"{peer.id} {peer.address}"
        hello = peer.hello
        if hello is None:
            return f"{where} {peer.why}"
        if peer.scope != UNBORN:
            return f"{where} {self._objection(hello)}"
        if hello.founders != self.founders:
            return f"{where} lists {', '.join(hello.founders) or 'nobody'}"
        if hello.settings_hash != self.settings_hash():
            return f"{where} has other addresses, settings or another machine"
        return ""

    def _objection(self, hello: Hello) -> str:
        """Why a born peer's founding record is not for this node; empty when it is.

        (A born peer offers it only to whom its newest configuration names, and of whom it remembers
        no promise. Both are checked here again.)
        """
        if _remembers(hello):
            assert hello.remembered is not None
            return (
                f"remembers that this directory acknowledged index {hello.remembered.index} of term "
                f"{hello.remembered.term}: it was emptied or rolled back; restore it"
            )
        if not self._names_us(hello):
            return (
                f"is of a cluster already founded, which does not name {self.identity}: if this "
                "directory was wiped, restore it, or stop all nodes and delete all directories"
            )
        return ""

    def _names_us(self, hello: Hello) -> bool:
        if hello.founding is None:
            return False
        return Configuration.decode(hello.founding.entry.payloads[0]).knows(self.identity)

    def _configuration(self, incarnations: Mapping[NodeId, int], epoch: Epoch) -> Configuration:
        return Configuration(
            members=tuple(
                Member(id=name, incarnation=incarnations[name], address=address)
                for name, address in self.members.items()
            ),
            settings=attrs.evolve(self.settings, epoch=epoch),
        )


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
    if told.boot > boot or (told.boot == boot and told.nonce != nonce):
        return f"a peer has seen boot {told.boot} of this directory, which is at {boot}: it was rolled back"
    if (told.term, told.index) > (term, last_index):
        return (
            f"a peer has an acknowledgement of index {told.index} in term {told.term} from this "
            f"directory, which ends at {last_index} in term {term}: it was rolled back"
        )
    return None
