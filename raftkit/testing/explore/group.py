"""Everything that can happen to a small group, breadth first: see `Explorer`, and `docs/exploration.md`.

The shipping core, in every order of deliveries, losses, repetitions, timeouts, proposals, crashes and, if
asked, completions of the disk, up to bounds on terms, entries, crashes and rounds of heartbeats. Where it
comes to an end within its bounds, there is nothing left that could go wrong within them.

A message, once sent, stays: it may be delivered at any later time, again and again, or never. So what is on
its way is a set that only grows, which is loss, repetition and reordering at once, and no bound on
messages is needed. What makes it small, and what each gives up:

- Servers' names do not matter: of states that differ only in them one is kept. Nothing is given up.
- A message that can change nothing at its target, whatever comes, is taken from the set. Nothing is.
- Without `Bounds.pre_votes` a server may campaign at any time, which is more than pre-votes allow; that
  pre-votes themselves are asked and counted well is given up.
- Heartbeats beyond `Bounds.beats` are lost, and with them what their answers would bring: a leader asks
  nobody again, and followers learn of a commit with the next entries only.
- Without `Bounds.disk` a write is durable before anything else happens.

Laws: the same bounds give the same states in the same order. A state is known by a sum of 128-bit hashes of
its parts; two that collide would be taken for one, with a chance below 10⁻²⁰ for ten million.
"""

from __future__ import annotations

import itertools
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from operator import add, sub
from typing import Final, NamedTuple, cast

import attrs

from raftkit.config import Config
from raftkit.errors import RaftError
from raftkit.messages import Heartbeat
from raftkit.model import NodeId, Run, Term
from raftkit.testing.explore.laws import Broken, Laws, Past
from raftkit.testing.explore.server import UNORDERED, Outcome, ServerStates
from raftkit.testing.world import founding_of
from raftkit.testing.world.disk import LogImage, WorldDisk

__all__ = ["Bounds", "Explorer", "Found", "NoSuchStep", "Violation"]


@attrs.frozen(kw_only=True)
class Bounds:
    """How far an exploration goes. The founding entry is of term 1, so the first election is term 2."""

    servers: int = 3
    "Voters."
    terms: int = 2
    "The highest term that a server may campaign for."
    entries: int = 1
    "Proposals that are appended; every leader appends its no-op besides."
    crashes: int = 1
    "Of any servers, each restarted at any later time or never."
    lapses: int = 0
    "Leaders that step down because they heard from nobody."
    beats: int = 0
    "Rounds of heartbeats of each leader that are not lost: the first ones, that on taking office included."
    pre_votes: bool = False
    "Pre-votes are asked for; otherwise any server may win them at any time, which is more than they allow."
    disk: bool = False
    "Writes become durable at any later time, in order, and a crash may cut one; otherwise at once."


@attrs.frozen(kw_only=True)
class Found:
    """How far an exploration came."""

    states: int
    "Distinct ones."
    transitions: int
    "Ways from one to another, or the same."
    depth: int
    "Steps from the beginning to the furthest that was looked at."
    server_states: int
    "Distinct ones of one server."
    messages: int
    "Distinct ones."
    frontier: int
    "States whose consequences were not looked at. 0: the space is closed."
    seconds: float
    "Time taken."


class NoSuchStep(ValueError):
    """An opening says what can't happen, or may be more than one thing."""


class Violation(AssertionError):
    """A state that must not be, with the shortest way to it."""

    def __init__(
        self, law: str, detail: str, way: Sequence[str], found: Found | None = None
    ) -> None:
        steps = "\n".join(f"{number:3}. {step}" for number, step in enumerate(way, 1))
        super().__init__(f"{law}: {detail}\n{steps}")
        self.law = law
        "The property."
        self.detail = detail
        "What violates it."
        self.way = tuple(way)
        "What happened, in order."
        self.found = found
        "How far the exploration had come; None: it was in its opening."


# Tuples, for millions of them are made.
class _State(NamedTuple):
    """A group at one moment."""

    servers: tuple[int, ...]
    "The number of each server's state, in the order of names."
    mail: int
    "The messages sent so far that still matter, a bit for each."
    mail_hashes: tuple[int, ...]
    "Of those messages, one for each renaming."
    past: int
    "The number of its `Past`."


class _Choice(NamedTuple):
    """Something that may happen next."""

    what: str | int
    "In words, or the number of the message that arrives."
    place: int
    "To which server."
    act: Callable[[], Outcome]
    "Makes it happen."
    past: Past | None = None
    "What is remembered of it; None: nothing new."


_MASK: Final = (1 << 128) - 1


class Explorer:
    """One exploration, of a group that was just founded."""

    def __init__(
        self, bounds: Bounds, *, symmetric: bool = True, opening: Sequence[str] = ()
    ) -> None:
        """Begins after `opening`: steps in the words of a violation, or as many of them as tell it apart.

        Without `symmetric`, names make a difference. Raises NoSuchStep, and Violation where the
        opening comes to what must not be.
        """
        self.bounds = bounds
        configuration, founding = founding_of(bounds.servers)
        self.names = tuple(member.id for member in configuration.members)
        identities = {member.id: member.identity for member in configuration.members}

        def config(name: NodeId) -> Config:
            return Config(
                identity=identities[name],
                inflight_messages_max=2,
                append_bytes_max=1,
                paranoid=True,
            )

        self.states = ServerStates(config=config, asynchronous=bounds.disk)
        self._laws = Laws(self.states)
        self._letter_hashes: list[tuple[int, ...]] = []
        self._to = [0] * bounds.servers
        "For each server, what is addressed to it, a bit for each message."
        self._void: list[dict[Term, int]] = [{} for _ in self.names]
        "For each server and durable term, the messages to it that can change nothing any more."
        self._lost = 0
        "Messages that never arrive."
        self._inert: dict[int, int] = {}
        "By the number of a server's state, the messages that change nothing there."
        self._server_hashes: list[tuple[int, ...]] = []
        self._pasts: list[Past] = []
        self._past_numbers: dict[Past, int] = {}
        self._past_hashes: list[tuple[int, ...]] = []
        orders = itertools.permutations(self.names) if symmetric else [self.names]
        self._renamings = [dict(zip(self.names, order, strict=True)) for order in orders]
        self._opening: list[str] = []
        self._begin = self._founded(founding)
        for text in opening:
            self._begin = self._play(text)

    def run(
        self, *, seconds: float = float("inf"), tell: Callable[[Found], None] = lambda _: None
    ) -> Found:
        """Look at everything, or for so long; `tell` hears of progress about once a second.

        Raises Violation at the first state that must not be, by the shortest way.
        """
        seen, ways = {self._key(self._begin)}, _Ways()
        frontier, transitions, depth = deque([(self._begin, 0, 0)]), 0, 0
        started = now = told = time.monotonic()

        def found() -> Found:
            return Found(
                states=len(seen),
                transitions=transitions,
                depth=depth,
                server_states=len(self.states),
                messages=len(self.states.letters),
                frontier=len(frontier),
                seconds=round(now - started, 3),
            )

        while frontier and now - started < seconds:
            state, place, depth = frontier.popleft()
            for choice in self._choices(state):
                transitions += 1
                try:
                    after = self._take(state, choice)
                except Broken as broken:
                    way = [*self._opening, *map(self._words, [*ways.to(place), choice.what])]
                    raise Violation(broken.law, broken.detail, way, found()) from broken
                if (key := self._key(after)) not in seen:
                    seen.add(key)
                    frontier.append((after, ways.add(place, choice.what), depth + 1))
            now = time.monotonic()
            if now - told > 1.0:
                told = now
                tell(found())
        return found()

    def _play(self, text: str) -> _State:
        """The group after one step of the opening."""
        fitting = [
            choice
            for choice in self._choices(self._begin)
            if self._words(choice.what).startswith(text)
        ]
        exact = [choice for choice in fitting if self._words(choice.what) == text] or fitting
        if len(exact) != 1:
            among = exact or self._choices(self._begin)
            possible = "\n  ".join(self._words(choice.what) for choice in among)
            raise NoSuchStep(
                f"opening: {'more than one' if exact else 'no'} step is {text!r}; say one of\n  {possible}"
            )
        self._opening.append(self._words(exact[0].what))
        try:
            return self._take(self._begin, exact[0])
        except Broken as broken:
            raise Violation(broken.law, broken.detail, self._opening) from broken

    # ── what may happen ──────────────────────────────────────────────────────────────────────────

    def _founded(self, founding: Run) -> _State:
        """Every server has the founding entry, and has committed nothing yet."""
        servers: list[int] = []
        for name in self.names:
            log = LogImage()
            log.append(founding)
            disk = WorldDisk(term=founding.term, voted_for=None, log=log)
            servers.append(self.states.found(name, disk))
        return _State(tuple(servers), 0, (0,) * len(self._renamings), self._past_number(Past()))

    def _choices(self, state: _State) -> Iterator[_Choice]:
        """Everything that may happen next."""
        for place, server in enumerate(state.servers):
            if self.states.kept[server].up:
                yield from self._of_server(state, place)
                yield from self._of_mail(state, place)
            else:
                restart = partial(self.states.restart, server)
                yield _Choice(f"{self.names[place]} restarts", place, restart)

    def _of_server(self, state: _State, place: int) -> Iterator[_Choice]:
        """What a server that runs does, or suffers, without a message."""
        states, bounds = self.states, self.bounds
        server, name, past = state.servers[place], self.names[place], self._pasts[state.past]
        kept = states.kept[server]
        if kept.writes:
            yield _Choice(f"{name} has a write on disk", place, partial(states.sync, server))
        if past.crashes < bounds.crashes:
            crashed = attrs.evolve(past, crashes=past.crashes + 1)
            # Writes that survive whole, and changes of the one after them.
            for writes, changes in _cuts(kept.writes):
                crash = partial(states.crash, server, writes=writes, changes=changes)
                told = f" ({writes} writes and {changes} changes survive)" if kept.writes else ""
                yield _Choice(f"{name} crashes{told}", place, crash, crashed)
        if not kept.leads:
            if kept.term < bounds.terms:
                campaign = states.time_out if bounds.pre_votes else states.campaign
                yield _Choice(f"{name} campaigns", place, partial(campaign, server))
            return
        if past.lapses < bounds.lapses:
            lapsed = attrs.evolve(past, lapses=past.lapses + 1)
            yield _Choice(
                f"{name} hears nobody", place, partial(states.lose_contact, server), lapsed
            )
        if kept.round < bounds.beats:
            yield _Choice(f"{name} beats", place, partial(states.beat, server))
        if past.proposals < bounds.entries:
            proposed = attrs.evolve(past, proposals=past.proposals + 1)
            propose = partial(states.propose, server, b"v%d" % proposed.proposals)
            yield _Choice(f"{name} is asked to append", place, propose, proposed)

    def _of_mail(self, state: _State, place: int) -> Iterator[_Choice]:
        """What a message that was sent to a server may do when it arrives now."""
        server = state.servers[place]
        for number in _bits(state.mail & self._to[place] & ~self._inert.get(server, 0)):
            yield _Choice(number, place, partial(self._deliver, server, number))

    def _deliver(self, server: int, number: int) -> Outcome:
        outcome = self.states.deliver(server, number)
        if outcome.server == server and not outcome.letters:
            self._inert[server] = self._inert.get(server, 0) | 1 << number
        return outcome

    def _take(self, state: _State, choice: _Choice) -> _State:
        """The group after that. Raises Broken if it must not be."""
        try:
            outcome = choice.act()
        except (AssertionError, RaftError) as error:
            raise Broken("raised", f"{type(error).__name__}: {error}") from error
        servers = list(state.servers)
        servers[choice.place] = outcome.server
        mail, hashes = self._mail_after(state, servers, outcome)
        before = self._pasts[state.past]
        past = choice.past or before
        if outcome.server != state.servers[choice.place]:
            past = self._laws.judge(servers, choice.place, past)
        number = state.past if past is before else self._past_number(past)
        return _State(tuple(servers), mail, hashes, number)

    def _mail_after(
        self, state: _State, servers: Sequence[int], outcome: Outcome
    ) -> tuple[int, tuple[int, ...]]:
        """With what was sent, without what has become void. Raises Broken at a second vote."""
        mail, hashes, kept = state.mail, state.mail_hashes, self.states.kept
        for number in outcome.letters:
            if number >= len(self._letter_hashes):
                self._read_letters()
            self._laws.judge_letter(mail, number)
            if not (mail | self._lost) >> number & 1:
                mail |= 1 << number
                hashes = tuple(map(add, hashes, self._letter_hashes[number]))
        for place, server in enumerate(servers):
            void = mail & self._void[place].get(kept[server].durable_term, 0)
            if not void:
                continue
            mail ^= void
            for number in _bits(void):
                hashes = tuple(map(sub, hashes, self._letter_hashes[number]))
        return mail, hashes

    # ── numbers and hashes ───────────────────────────────────────────────────────────────────────

    def _read_letters(self) -> None:
        """Sort the messages that were never sent before."""
        for number in range(len(self._letter_hashes), len(self.states.letters)):
            letter, bit = self.states.letters[number], 1 << number
            place = self.names.index(letter.target)
            self._to[place] |= bit
            for term in map(Term, range(self.bounds.terms + 1)):
                if letter.is_void(term):
                    self._void[place][term] = self._void[place].get(term, 0) | bit
            match letter.message:
                case Heartbeat(round=round_) if round_ > self.bounds.beats:
                    self._lost |= bit
                case _:
                    pass
            self._laws.read_letter(number)
            plain = (letter.sender.id, letter.target, attrs.astuple(letter.message))
            self._letter_hashes.append(tuple(_hash("letter", plain, to) for to in self._renamings))

    def _past_number(self, past: Past) -> int:
        number = self._past_numbers.setdefault(past, len(self._pasts))
        if number == len(self._pasts):
            self._pasts.append(past)
            leaders = (UNORDERED, *past.leaders)
            plain = (leaders, *attrs.astuple(past, recurse=False)[1:])
            self._past_hashes.append(tuple(_hash("past", plain, to) for to in self._renamings))
        return number

    def _key(self, state: _State) -> int:
        """The same for states that differ only in names: the least hash among all renamings."""
        hashes = self._server_hashes
        for kept in self.states.kept[len(hashes) :]:
            hashes.append(tuple(_hash("server", kept.plain, to) for to in self._renamings))
        parts = [hashes[server] for server in state.servers]
        parts += [state.mail_hashes, self._past_hashes[state.past]]
        sums: list[int] = [sum(each) & _MASK for each in zip(*parts, strict=True)]
        return min(sums)

    def _words(self, what: str | int) -> str:
        return what if isinstance(what, str) else str(self.states.letters[what])


class _Ways:
    """For each state found, by its place in that order, which one it came from and by what."""

    def __init__(self) -> None:
        self._from = array("q", [-1])
        self._by = array("q", [0])
        "The number of a message, or -1 minus the place of what is in words."
        self._words: dict[str, int] = {}

    def add(self, place: int, what: str | int) -> int:
        """The place of the state that comes of the one at `place`."""
        self._from.append(place)
        if isinstance(what, str):
            what = -1 - self._words.setdefault(what, len(self._words))
        self._by.append(what)
        return len(self._from) - 1

    def to(self, place: int) -> list[str | int]:
        """What happened before the state at `place`."""
        words, way = list(self._words), list[str | int]()
        while place > 0:
            what = self._by[place]
            way.append(what if what >= 0 else words[-1 - what])
            place = self._from[place]
        return way[::-1]


def _cuts(writes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where a crash may cut writes of so many changes: whole ones, and changes of the next."""
    for whole, changes in enumerate(writes):
        for cut in range(changes):
            yield whole, cut
    yield len(writes), 0


def _bits(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        mask ^= bit
        yield bit.bit_length() - 1


def _hash(part: str, plain: object, to: dict[NodeId, NodeId]) -> int:
    """Of one part of a state, with its servers renamed."""
    renamed = (part, _renamed(plain, to))
    return int.from_bytes(blake2b(repr(renamed).encode(), digest_size=16).digest(), "big")


def _renamed(plain: object, to: dict[NodeId, NodeId]) -> object:
    if isinstance(plain, str):
        return to.get(NodeId(plain), plain)
    if not isinstance(plain, tuple):
        return plain
    renamed = tuple(_renamed(it, to) for it in cast("tuple[object, ...]", plain))
    if renamed[:1] == (UNORDERED,):
        return (UNORDERED, *sorted(renamed[1:], key=repr))
    return renamed
