"""A small group whose every move is told: letters arrive, disks write and time passes when asked to.

Laws: nothing here is left to chance. Ghosts look on after every step. `elect`, `stabilise` and `run` are
the three longer phrases that most stories are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from raftkit.config import Config
from raftkit.core import election
from raftkit.core.state import Leader
from raftkit.errors import LocalProtocolError
from raftkit.membership import Configuration, Member, Role, Settings
from raftkit.messages import (
    AppendEntries,
    PreVoteReply,
    PreVoteRequest,
    Receive,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, Kind, NodeId, Run, Term
from raftkit.snapshot import SeekSnapshot, SnapshotFound
from raftkit.testing.scenario.network import Letter, Network
from raftkit.testing.scenario.server import Batching, Patience, Server
from raftkit.testing.scenario.words import message_words, place
from raftkit.testing.world.disk import LogImage, WorldDisk
from raftkit.testing.world.ghosts import Ghosts
from raftkit.testing.world.shadows import TermChain, fail

__all__ = ["Group"]

LETTERS_MAX = 5_000
"A group that has not settled after so many letters never will (B15)."
SILENCE_TICKS_MAX = 1_000
"Any leader is forgotten, and any leader gives up, in less."
_VOTING = PreVoteRequest | PreVoteReply | VoteRequest | VoteReply


class Group:
    """Servers by name, and the network between them."""

    def __init__(
        self,
        voters: Sequence[NodeId],
        *,
        learners: Sequence[NodeId] = (),
        logs: Mapping[NodeId, Sequence[int]],
        settings: Settings,
        local: Config,
        batching: Batching = Batching.AS_WRITTEN,
    ) -> None:
        """Start them all. `logs` are terms of entries, of which the first is the configuration, in term 1.

        Raises LocalProtocolError for logs that no leaders can have made.
        """
        configuration = _configuration(voters, learners, settings)
        founding = _founding(configuration)
        self.network = Network()
        self.ghosts = Ghosts(configuration, founding)
        self.servers: dict[NodeId, Server] = {}
        self.batching = batching
        "What servers take in one step."
        self.lines: list[str] = []
        "What happened since somebody took note."
        self.sharing: dict[NodeId, bool] = {}
        "Who gives others parts of its snapshot, and whether they are right."
        self.quiet = False
        "Whether only news are worth a line."
        self._heading = ""
        self._indent = ""
        names = [member.id for member in configuration.members]
        # Whoever led the latest of these terms was elected by a majority; let all have heard of it.
        term = Term(max((terms[-1] for terms in logs.values()), default=1))
        self._local, self._founding = local, founding
        low, high = (local.ticks(ms) for ms in settings.election_timeout_ms)
        for position, member in enumerate(configuration.members, 1):
            log = _log(logs.get(member.id, (1,)), founding)
            _know(self.ghosts, member.id, log)
            patience = low + (high - low) * position // (len(names) + 1)
            self._make(member.identity, WorldDisk(term=term, voted_for=None, log=log), patience)
        for server in self.servers.values():
            server.start()

    def _make(self, identity: Identity, disk: WorldDisk, patience: int) -> Server:
        server = self.servers[identity.id] = Server(
            config=attrs.evolve(self._local, identity=identity),
            disk=disk,
            patience=Patience(patience),
            network=self.network,
            ghosts=self.ghosts,
            tell=self.tell,
            admit=self._admit,
            give=self._give,
            batching=self.batching,
        )
        return server

    def _admit(self, configuration: Configuration) -> None:
        """Whoever is named for the first time is born, with the entry that founded the group."""
        _, high = configuration.settings.election_timeout_ms
        for member in configuration.members:
            if member.identity not in self.ghosts.shadows:
                disk = WorldDisk(term=Term(1), voted_for=None, log=_log((1,), self._founding))
                server = self._make(member.identity, disk, self._local.ticks(high))
                server.start()
                server.say(f"is born, incarnation {member.incarnation}", news=True)

    def _give(self, request: SeekSnapshot) -> SnapshotFound:
        """A part of a snapshot, from the first that shares the very same."""
        size = self._local.snapshot_chunk_bytes
        for server in self.alive:
            disk = server.disk
            if server.id in self.sharing and disk.snapshot == request.snapshot:
                data = disk.snapshot_data[request.offset : request.offset + size]
                data = data if self.sharing[server.id] else bytes(len(data))
                return SnapshotFound(request=request, holder=server.config.identity, data=data)
        return SnapshotFound(request=request)

    def incarnation_of(self, name: NodeId) -> int:
        """Of the server of that name; the next one if it is new, or has lost its disk."""
        known = self.servers.get(name)
        if known is None:
            return 1
        lost = known.raft is None and not known.disk.log.terms and not known.disk.log.base_index
        return known.config.identity.incarnation + lost

    def tell(self, line: str, *, news: bool = False) -> None:
        """A line, below what it follows from."""
        if self.quiet and not news:
            return
        if self._heading:
            self.lines.append(self._heading)
            self._heading = ""
        self.lines.append(line if self.quiet else self._indent + line)

    @property
    def alive(self) -> list[Server]:
        """Those that run, in the order of their names."""
        return [server for server in self.servers.values() if server.raft is not None]

    # ── letters ──

    def deliver(self, letters: Iterable[Letter]) -> None:
        """These arrive one after the other; or, if that is how servers step, all to one server together."""
        if self.batching is not Batching.TOGETHER:
            for letter in letters:
                self.arrive(letter)
            return
        by_target: dict[NodeId, list[Letter]] = {}
        for letter in letters:
            by_target.setdefault(letter.target, []).append(letter)
        for together in by_target.values():
            self.arrive(*together)

    def arrive(self, *letters: Letter) -> None:
        """These letters, all to one server, arrive there together; or are lost where the link is cut."""
        self.network.take(letters)
        server = self.servers[letters[0].target]
        received: list[Receive] = []
        for letter in letters:
            lost = self._lost(letter)
            waits = " (waits)" if server.paused else ""
            self.tell(f"{letter}{f' (lost: {lost})' if lost else waits}")
            if not lost:
                received.append(Receive(sender=letter.sender, message=letter.message))
        if received:
            indent, self._indent = self._indent, self._indent + "  "
            server.take(*received)
            self._indent = indent

    def _lost(self, letter: Letter) -> str:
        """Why it does not arrive; empty if it does."""
        if (letter.sender.id, letter.target) in self.network.cut:
            return "cut"
        return f"{letter.target} is down" if self.servers[letter.target].raft is None else ""

    def resend(self, name: NodeId, target: NodeId, first: Index, last: Index) -> None:
        """A leader sends these entries once more, as it may at any time; none if `last` is below `first`."""
        server = self.servers[name]
        raft, log = server.running, server.shadow.issued
        prev = Index(first - 1)
        prev_term = log.term(prev)
        if not isinstance(raft.state.role, Leader):
            raise LocalProtocolError(f"{name} leads nobody, so it can send no entries")
        if prev_term is None or last > log.last_index:
            raise LocalProtocolError(f"{name} has no entries {first}..{last} (any more)")
        message = AppendEntries(
            term=raft.term,
            prev_index=prev,
            prev_term=prev_term,
            commit_index=raft.commit_index,
            runs=log.read(first, last, 1 << 30) if last >= first else (),
        )
        letter = Letter(server.config.identity, target, message)
        self.tell(f"{name} sends {target}: {message_words(message)}")
        self.network.send(letter)

    # ── longer phrases ──

    def stabilise(
        self, among: Iterable[NodeId], only: Callable[[Letter], bool] = lambda _: True
    ) -> None:
        """Let letters among these arrive until there are none. No time passes."""
        ids = set(among)
        together = self.batching is Batching.TOGETHER
        for _ in range(LETTERS_MAX):
            found = (
                it for it in self.network.letters if {it.sender.id, it.target} <= ids and only(it)
            )
            letter = next(found, None)
            if letter is None:
                return
            more = (it for it in found if together and it.target == letter.target)
            self.arrive(letter, *more)
        fail("S30 Budget", f"letters still arrive after {LETTERS_MAX}")

    def campaign(self, name: NodeId) -> None:
        """Its election timer fires."""
        server = self.servers[name]
        state = server.running.state
        if isinstance(state.role, Leader):
            raise LocalProtocolError(f"{name} leads already")
        server.tick(max(0, state.election_deadline - state.now))

    def elect(self, name: NodeId, voters: Iterable[NodeId]) -> None:
        """After a silence it campaigns, again if its term was behind; only their ballots travel, no entries.

        Raises LocalProtocolError if it does not win.
        """
        among = (name, *voters)
        older = set(self.network.letters)
        for _ in range(2):
            for server in among:
                self._forget_leader(self.servers[server])
            self.campaign(name)
            self.stabilise(among, lambda it: isinstance(it.message, _VOTING) and it not in older)
            if self.servers[name].running.role == "leader":
                return
        raise LocalProtocolError(f"{name} was not elected")

    def _forget_leader(self, server: Server) -> None:
        """Time passes there until it listens to campaigns."""
        for _ in range(SILENCE_TICKS_MAX):
            if not election.sticks_to_leader(server.running.state):
                return
            server.tick()
        fail(
            "L1 Elects",
            f"{server.id} sticks to its leader through {SILENCE_TICKS_MAX} ticks of silence",
        )

    def pass_time(self, servers: Sequence[Server], ticks: int, *, deliver: bool) -> None:
        """Time passes at these, a tick at a time; with `deliver`, all that is sent arrives at once."""
        for tick in range(1, ticks + 1):
            self._heading = f"tick {tick}:" if ticks > 1 else ""
            for server in servers:
                server.tick()
            if deliver:
                self.stabilise(self.servers)
        self._heading = ""


# ── the beginning ────────────────────────────────────────────────────────────────────────────────────


def _configuration(
    voters: Sequence[NodeId], learners: Sequence[NodeId], settings: Settings
) -> Configuration:
    roles = {**dict.fromkeys(learners, Role.LEARNER), **dict.fromkeys(voters, Role.VOTER)}
    members = (Member(id=it, incarnation=1, address="", role=role) for it, role in roles.items())
    return Configuration(members=tuple(members), settings=settings)


def _founding(configuration: Configuration) -> Run:
    return Run(
        first=Index(1),
        term=Term(1),
        time_ns=0,
        elapsed_ns=0,
        kinds=(Kind.CONFIGURATION,),
        payloads=(configuration.encode(),),
    )


def _log(terms: Sequence[int], founding: Run) -> LogImage:
    """Entry 1, and commands that are called after their places."""
    log = LogImage()
    log.append(founding)
    if terms[0] != 1 or list(terms) != sorted(terms):
        raise LocalProtocolError(f"terms of a log begin with 1 and never decrease: {terms}")
    for position, term in enumerate(terms[1:], 2):
        index = Index(position)
        log.append(
            Run(
                first=index,
                term=Term(term),
                time_ns=0,
                elapsed_ns=0,
                payloads=(place(index, Term(term)).encode(),),
            )
        )
    return log


def _know(ghosts: Ghosts, name: NodeId, log: LogImage) -> None:
    """Tell the ghosts who made these entries: one leader of each term, all of them in one go."""
    previous = Term(0)
    for run in log.runs:
        chain = ghosts.chains.get(run.term)
        if chain is None:
            chain = ghosts.chains[run.term] = TermChain(first=run.first, previous_term=previous)
        began = run.first == chain.first and previous == chain.previous_term
        if not began and not (previous == run.term and chain.first < run.first):
            raise LocalProtocolError(
                f"in the log of {name} term {run.term} goes on at {run.first} after term {previous}, "
                f"elsewhere it begins at {chain.first} after term {chain.previous_term}: "
                "one leader makes all entries of a term"
            )
        if run.last >= chain.end:
            chain.extend(run)
        previous = run.term
