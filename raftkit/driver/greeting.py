"""Who is heard: the hellos of peers, what is remembered of them, and who is refused.

Laws: nothing but hellos is sent to or heard from a peer before its hello on this link was accepted, and
it is of our cluster and epoch. A hello is sent when a link stands and when ours changes; repeated while
the peer is not heard; and answered, since whoever says hello may be missing ours.
What we remember of a peer, or offer to it, is said only to the very identity that it belongs to. Nothing is
remembered of who was never heard, so that strangers leave no traces.

Who is linked and no member by our configuration is a guest, greeted like the others. It is heard if it shows
a configuration newer than ours which names it. One that is unborn may be on its way to become a member.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs
import trio

from raftkit.driver.looking import next_look
from raftkit.driver_messages import UNBORN, Frame, Hello, Remembered, Scope
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    Heartbeat,
    HeartbeatReply,
    Message,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, NodeId, Term

__all__ = ["Greeting", "Peer"]

REPEAT_SECONDS = 1.0
"Between hellos to a peer whose own is missing, and between answers to repeated ones."
GUESTS_MAX = 16
"Linked nodes that are no members; who comes beyond these is not greeted while they are here."
COMPLAIN_SECONDS = 60.0
"Between two lines in the log about one peer that is refused, however often it comes back."

_NOTHING = (Term(0), Index(0))

logger = logging.getLogger("raftkit")


@attrs.define(eq=False)
class Peer:
    """What is known of one member, or guest, other than this node."""

    id: NodeId
    "Its name."
    address: str
    "Where it is to be found; of a guest, where it says so."
    linked: bool = False
    "Whether a link to it stands."
    why: str = "no link yet"
    "Why there is no link, or why it is not heard. Empty when it is."
    hello: Hello | None = None
    "The hello accepted on this link."
    identity: Identity | None = None
    "Who said it."
    scope: Scope = UNBORN
    "Of which cluster it was."
    vouched_at: Index = Index(0)
    "The index of a configuration that names it, which it showed on this link."
    greeted_at: float = -1e9
    "When our last hello went out to it, in trio's time."
    heard_at: float = -1e9
    "When it last said anything on this link, in trio's time."
    complained_at: float = -1e9
    "When the log was last told that it is refused, in trio's time."


@attrs.define(eq=False, kw_only=True)
class Greeting:
    """All peers, and the rules of who is heard."""

    identity: Identity
    send: Callable[[NodeId, Hello], None]
    hello: Callable[[Identity | None], Hello]
    "Ours to that identity, if it is known yet, without what we remember of it."
    on_change: Callable[[], None]
    "Called whenever what is known of a peer changed."
    peers: dict[NodeId, Peer] = attrs.field(init=False, factory=dict[NodeId, Peer])
    "The members, by name, sorted."
    guests: dict[NodeId, Peer] = attrs.field(init=False, factory=dict[NodeId, Peer])
    "Who else is linked, in the order in which they came."
    _links: set[NodeId] = attrs.field(init=False, factory=set[NodeId])
    "Names to which a link stands, expected or not."
    _scope: Scope = attrs.field(init=False, default=UNBORN)
    _index: Index = attrs.field(init=False, default=Index(0))
    "Where the configuration stands that names the members."
    _boots: dict[Identity, tuple[int, int]] = attrs.field(
        init=False, factory=dict[Identity, tuple[int, int]]
    )
    "The highest boot seen of each, and its nonce."
    _acknowledged: dict[Identity, tuple[Term, Index]] = attrs.field(
        init=False, factory=dict[Identity, tuple[Term, Index]]
    )
    "The highest (term, index) that each acknowledged to us; (term, 0) for its vote, and for a leader."

    def recall(self, remembered: Mapping[Identity, Remembered]) -> None:
        """Start from what an earlier life of this node remembered."""
        for identity, it in remembered.items():
            self._boots[identity] = (it.boot, it.nonce)
            if (it.term, it.index) != _NOTHING:  # whom we only met has promised nothing
                self._acknowledged[identity] = (it.term, it.index)

    def expect(self, members: Mapping[NodeId, str], index: Index = Index(0)) -> None:
        """These, and only these, are the members from now on. Others are guests while they are linked.

        `index` is where the configuration stands that says so, 0 while unborn.
        """
        self._index = index
        before = self.peers | self.guests
        others = [it for it in sorted(members) if it != self.identity.id]
        self.peers = {it: before.get(it) or Peer(it, members[it]) for it in others}
        self.guests = {
            it: peer for it, peer in before.items() if it not in self.peers and peer.linked
        }
        for peer in self.peers.values():
            peer.address = members[peer.id]
            if peer.id in self._links and not peer.linked:
                self.on_linked(peer.id)  # it was one guest too many before

        for peer in (*self.guests.values(), *map(self.peers.__getitem__, others)):
            self._judge(peer)

    def vouch(self, sender: Identity, index: Index) -> None:
        """By a configuration that stands at `index`, `sender` is a member: it is heard if ours is older."""
        peer = self.find(sender.id)
        if peer is not None and peer.identity == sender:
            peer.vouched_at = index
            self._judge(peer)
            self.on_change()

    def met(self) -> list[Peer]:
        """Members and guests."""
        return [*self.peers.values(), *self.guests.values()]

    def find(self, id: NodeId) -> Peer | None:  # noqa: A002 - the field's name
        """The member or guest of that name."""
        return self.peers.get(id) or self.guests.get(id)

    def adopt(self, scope: Scope) -> None:
        """This node is born into `scope`: say so to everyone, and judge again what they said."""
        self._scope = scope
        for peer in self.met():
            self._judge(peer)
            if peer.linked:
                self._greet(peer)

    def is_heard(self, id: NodeId) -> bool:  # noqa: A002 - the field's name
        """Whether messages of cores and drivers may be exchanged with `id` now."""
        peer = self.find(id)
        return peer is not None and not peer.why

    def hear(self, sender: Identity) -> bool:
        """Note that `sender` says something. Whether it is heard, and is the very one that said hello."""
        peer = self.find(sender.id)
        if peer is None or peer.why or peer.identity != sender:
            return False
        peer.heard_at = trio.current_time()
        return True

    def ask(self, peer: Peer) -> None:
        """Have `peer` say something, for a hello is answered."""
        self._greet(peer)

    def foreign_cluster(self) -> str | None:
        """In words, which members are of one other cluster, when these are most of all members."""
        if self._scope == UNBORN:
            return None
        others: dict[bytes, list[NodeId]] = {}
        for peer in self.peers.values():
            if peer.scope not in (UNBORN, self._scope):
                others.setdefault(peer.scope.cluster, []).append(peer.id)
        most = (len(self.peers) + 1) // 2 + 1
        for cluster, ids in others.items():
            if len(ids) >= most:
                return f"{', '.join(ids)} are of cluster {cluster.hex()}"
        return None

    # ── what the transport reports ───────────────────────────────────────────────────────────────

    def on_linked(self, id: NodeId) -> None:  # noqa: A002
        """A link stands: say hello, and wait for theirs."""
        self._links.add(id)
        if id not in self.peers and len(self.guests) < GUESTS_MAX:
            self.guests.setdefault(id, Peer(id, ""))
        peer = self.find(id)
        if peer is not None:
            peer.linked, peer.hello, peer.identity, peer.scope = True, None, None, UNBORN
            peer.vouched_at = Index(0)
            peer.why = "has not said hello"
            self._greet(peer)
            self.on_change()

    def on_unreachable(self, id: NodeId, why: str) -> None:  # noqa: A002
        """The link is gone, or was refused."""
        self._links.discard(id)
        peer = self.peers.get(id) or self.guests.pop(id, None)
        if peer is not None:
            peer.linked, peer.hello, peer.why = False, None, why
            self.on_change()

    def on_hello(self, frame: Frame, hello: Hello) -> bool:
        """Note what a peer says of itself, and answer it. False if it is not listened to."""
        peer = self.find(frame.sender.id)
        if peer is None or not peer.linked:
            return False
        news = peer.identity != frame.sender
        if news and peer.identity is not None:
            return False  # two nodes of one name: the first on this link is heard
        peer.hello, peer.identity, peer.scope = hello, frame.sender, frame.scope
        peer.heard_at = trio.current_time()
        if peer.id in self.guests:
            peer.address = hello.address
        tell = news and (self._knows_more(frame.sender, hello) or frame.scope != self._scope)
        self._judge(peer)
        if tell or trio.current_time() - peer.greeted_at >= REPEAT_SECONDS:
            self._greet(peer)
        self.on_change()
        return True

    async def repeat(self) -> None:
        """For ever: say hello again to linked peers that are not heard."""
        while True:
            await trio.sleep_until(next_look(REPEAT_SECONDS))
            for peer in self.met():
                if peer.linked and peer.why:
                    self._greet(peer)

    def _greet(self, peer: Peer) -> None:
        peer.greeted_at = trio.current_time()
        hello = self.hello(peer.identity)
        if peer.identity is not None:
            hello = attrs.evolve(hello, remembered=self.remembered().get(peer.identity))
        self.send(peer.id, hello)

    def _judge(self, peer: Peer) -> None:
        """Whether a peer that said hello is heard; then its boot is remembered."""
        if peer.hello is None:
            return
        assert peer.identity is not None
        peer.why = ""
        if UNBORN in (self._scope, peer.scope):
            peer.why = "unborn" if peer.scope == UNBORN else "of a cluster already founded"
        elif peer.scope.cluster != self._scope.cluster:
            peer.why = f"of another cluster, {peer.scope.cluster.hex()[:8]}…"
        elif peer.scope != self._scope:
            peer.why = f"of another epoch, {peer.scope.epoch.number}"
        elif peer.id in self.guests and peer.vouched_at <= self._index:
            peer.why = "no member"
        if not peer.why:
            self._note_boot(peer.identity, peer.hello)
        elif UNBORN not in (self._scope, peer.scope) and peer.id in self.peers:
            self._complain(peer)

    def _complain(self, peer: Peer) -> None:
        now = trio.current_time()
        if now >= peer.complained_at + COMPLAIN_SECONDS:
            peer.complained_at = now
            logger.warning(
                "%s: %s at %s is refused: %s", self.identity.id, peer.id, peer.address, peer.why
            )

    # ── what is remembered ───────────────────────────────────────────────────────────────────────

    def note_message(self, sender: Identity, message: Message) -> None:
        """Remember what `sender` has promised by this message to have on its disk."""
        match message:
            case AppendAccepted(term=term, index=index) | HeartbeatReply(term=term, index=index):
                told = (term, index)
            case (
                VoteReply(term=term, granted=True)
                | VoteRequest(term=term)
                | AppendEntries(term=term)
                | Heartbeat(term=term)
            ):
                told = (term, Index(0))
            case _:
                return
        if told > self._acknowledged.get(sender, _NOTHING):
            self._acknowledged[sender] = told

    def has_acknowledged(self, identity: Identity) -> bool:
        """Whether we remember a promise of `identity`."""
        return identity in self._acknowledged

    def remembered(self) -> dict[Identity, Remembered]:
        """All that should be remembered of peers by the next life of this node."""
        return {
            identity: Remembered(
                boot=boot,
                nonce=nonce,
                term=self._acknowledged.get(identity, _NOTHING)[0],
                index=self._acknowledged.get(identity, _NOTHING)[1],
            )
            for identity, (boot, nonce) in sorted(self._boots.items())
        }

    def note_rolled_back(self, told: Remembered) -> None:
        """Remember of this node itself what a peer knew of it: its next life is to know that too."""
        self._boots[self.identity] = (told.boot, told.nonce)
        self._acknowledged[self.identity] = (told.term, told.index)

    @property
    def is_rolled_back(self) -> bool:
        """Whether a peer knew more of this node than its directory holds, now or at an earlier start."""
        return self.identity in self._boots

    def _knows_more(self, sender: Identity, hello: Hello) -> bool:
        """Whether `sender` should hear what is remembered of it."""
        boot, nonce = self._boots.get(sender, (0, 0))
        return (
            sender in self._acknowledged
            or boot > hello.boot
            or (boot == hello.boot and nonce != hello.nonce)
        )

    def _note_boot(self, sender: Identity, hello: Hello) -> None:
        if hello.boot > self._boots.get(sender, (0, 0))[0]:
            self._boots[sender] = (hello.boot, hello.nonce)
