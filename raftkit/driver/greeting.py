"""Who is heard: the hellos of peers, what is remembered of them, and who is refused.

Laws: nothing but hellos is sent to or heard from a peer before its hello on this link was accepted, and
it is of our cluster and epoch. A hello is sent when a link stands and when ours changes; repeated while
the peer is not heard; and answered, since whoever says hello may be missing ours.
What we remember of a peer, or offer to it, is said only to the very identity that it belongs to. Nothing is
remembered of who was never heard, so that strangers leave no traces.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs
import trio

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
COMPLAIN_SECONDS = 60.0
"Between two lines in the log about one peer that is refused, however often it comes back."

_NOTHING = (Term(0), Index(0))

logger = logging.getLogger("raftkit")


@attrs.define(eq=False)
class Peer:
    """What is known of one member other than this node."""

    id: NodeId
    "Its name."
    address: str
    "Where it is to be found."
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
    greeted_at: float = -1e9
    "When our last hello went out to it, in trio's time."
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
    "By name, sorted."
    _links: set[NodeId] = attrs.field(init=False, factory=set[NodeId])
    "Names to which a link stands, expected or not."
    _scope: Scope = attrs.field(init=False, default=UNBORN)
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

    def expect(self, members: Mapping[NodeId, str]) -> None:
        """These, and only these, are the peers from now on."""
        others = [it for it in sorted(members) if it != self.identity.id]
        self.peers = {it: self.peers.get(it) or Peer(it, members[it]) for it in others}
        for peer in self.peers.values():
            peer.address = members[peer.id]
            if peer.id in self._links and not peer.linked:
                self.on_linked(peer.id)  # it found us before we expected it

    def adopt(self, scope: Scope) -> None:
        """This node is born into `scope`: say so to everyone, and judge again what they said."""
        self._scope = scope
        for peer in self.peers.values():
            self._judge(peer)
            if peer.linked:
                self._greet(peer)

    def is_heard(self, id: NodeId) -> bool:  # noqa: A002 - the field's name
        """Whether messages of cores and drivers may be exchanged with `id` now."""
        peer = self.peers.get(id)
        return peer is not None and not peer.why

    def hears(self, sender: Identity) -> bool:
        """Whether `sender` is heard, and is the very one that said hello."""
        return self.is_heard(sender.id) and self.peers[sender.id].identity == sender

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
        peer = self.peers.get(id)
        if peer is not None:
            peer.linked, peer.hello, peer.identity, peer.scope = True, None, None, UNBORN
            peer.why = "has not said hello"
            self._greet(peer)
            self.on_change()

    def on_unreachable(self, id: NodeId, why: str) -> None:  # noqa: A002
        """The link is gone, or was refused."""
        self._links.discard(id)
        peer = self.peers.get(id)
        if peer is not None:
            peer.linked, peer.hello, peer.why = False, None, why
            self.on_change()

    def on_hello(self, frame: Frame, hello: Hello) -> bool:
        """Note what a peer says of itself, and answer it. False if it is not expected here."""
        peer = self.peers.get(frame.sender.id)
        if peer is None or not peer.linked:
            return False
        news = peer.identity != frame.sender
        if news and peer.identity is not None:
            return False  # two nodes of one name: the first on this link is heard
        peer.hello, peer.identity, peer.scope = hello, frame.sender, frame.scope
        tell = news and (self._knows_more(frame.sender, hello) or frame.scope != self._scope)
        self._judge(peer)
        if tell or trio.current_time() - peer.greeted_at >= REPEAT_SECONDS:
            self._greet(peer)
        self.on_change()
        return True

    async def repeat(self) -> None:
        """For ever: say hello again to linked peers that are not heard."""
        while True:
            await trio.sleep(REPEAT_SECONDS)
            for peer in self.peers.values():
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
        if not peer.why:
            self._note_boot(peer.identity, peer.hello)
        elif UNBORN not in (self._scope, peer.scope):
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
