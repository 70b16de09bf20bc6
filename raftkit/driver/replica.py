"""Everything that is replicated and deterministic: machine, sessions, log time, version, configuration, and
where the next snapshot is due.

Laws: a replica is a function of the entries applied: two that applied the same log have the same bytes and
the same digest, on every Python, however applying was batched. It does no I/O and knows no clock. Nothing
is half restored. Format: `docs/command-format.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar, overload

import attrs

from raftkit.driver import replies
from raftkit.driver.bytes_host import BytesHost
from raftkit.driver.cutting import Cuts
from raftkit.driver.envelope import END, Reader, item
from raftkit.driver.hosts import Host, Outcome
from raftkit.driver.sessions import Sessions, unpack_header, unpack_version
from raftkit.driver.typed_host import TypedHost
from raftkit.encoding import MalformedError
from raftkit.errors import (
    CommandFailed,
    ConfigError,
    DidNotHappen,
    OutcomeUnknown,
    RaftError,
    SessionExpired,
    StateMachineFailed,
)
from raftkit.membership import Configuration, Settings
from raftkit.model import Index, Kind, Run, Term
from raftkit.statemachine import BytesStateMachine, Query, StateMachine

__all__ = ["SNAPSHOT_FORMAT", "Capture", "Outcome", "Replica", "Restored", "UnknownCommand"]

SNAPSHOT_FORMAT = 2
"Of the snapshots written and read here. 1, before any release, had no count since the last cut."
AnyMachine = TypeVar("AnyMachine", bound=StateMachine | BytesStateMachine)
R = TypeVar("R")


class UnknownCommand(RaftError):
    """This code is older than what it was given to apply. The node goes on without applying."""

    def __init__(self, index: int, why: str, outcomes: list[Outcome]) -> None:
        super().__init__(f"can't apply the entry at index {index}: {why}; upgrade this node's code")
        self.index = index
        "What could not be applied. Everything before it was."
        self.outcomes = outcomes
        "Of the entries that the same call applied before it."


class _Hasher(Protocol):
    """As `hashlib` makes them."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def copy(self) -> _Hasher: ...


@attrs.frozen(kw_only=True)
class Capture:
    """A replica's state at one index. Iterating writes it, once, while the replica applies on."""

    index: Index
    "The last entry in it."
    term: Term
    "Its term."
    time_ns: int
    "Its stamp: see `Run`."
    elapsed_ns: int
    "The same."
    configuration: Configuration | None
    "The newest one applied; None before the first."
    configuration_index: Index
    "Where it stood in the log; 0 before the first."
    header: bytes
    "The first items of the snapshot."
    sessions: list[list[object]]
    "The session table, an item each."
    machine: Callable[[], Iterator[bytes]]
    "Writes the machine's part."
    version: int
    "Of the machine in force."
    own_digest: bytes | None
    "The machine's own, if it has one: then that stands for its part."
    comparable: bool
    "Whether equal states have equal digests at every node: so of a `StateMachine`, and with an own digest."

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of the snapshot, in pieces of any size. Raises StateUnwritable."""
        yield from self.front()
        yield from self.machine()

    def digesting(self, hasher: _Hasher) -> Iterator[bytes]:
        """The same, and `hasher` takes in what is equal where the states are."""
        for chunk in self.front():
            hasher.update(chunk)
            yield chunk
        if self.own_digest is not None:
            hasher.update(self.own_digest)
            yield from self.machine()
            return
        for chunk in self.machine():
            hasher.update(chunk)
            yield chunk

    def front(self) -> Iterator[bytes]:
        """What stands before the machine's own part."""
        yield self.header
        yield from map(item, self.sessions)
        yield END


class Replica(Generic[AnyMachine]):
    """One copy of the replicated state."""

    def __init__(
        self,
        factory: Callable[[], AnyMachine],
        *,
        cluster: bytes = bytes(16),
        paranoid: bool = False,
    ) -> None:
        """The state at index 0: what `factory` makes. `cluster` seeds `ctx.rng`; it may be set later, before
        the first entry is applied. `paranoid` checks that reads change nothing, at the price of two digests,
        and after each command that small fields of a `StateMachine` hold what they are annotated to.

        Raises ConfigError for a machine that can't be replicated.
        """
        self.cluster = cluster
        self.applied = Index(0)
        "The last entry applied."
        self.applied_term = Term(0)
        "Its term."
        self.time_ns = 0
        "Stamp of the last entry: see `Run`."
        self.elapsed_ns = 0
        "The same."
        self.version = 1
        "Version of the machine in force. Raised by entries, never lowered."
        self.configuration: Configuration | None = None
        "The newest one applied."
        self.configuration_index = Index(0)
        "Where it stood in the log."
        self._factory = factory
        self._paranoid = paranoid
        self._sessions = Sessions()
        self._cuts = Cuts()
        self._host: Host = _host_of(factory(), self.version, paranoid=paranoid)

    @property
    def machine(self) -> AnyMachine:
        """The user's object. Another one after `restore`."""
        machine: AnyMachine = self._host.machine
        return machine

    @property
    def newest_version(self) -> int:
        """The newest version that the machine's code knows."""
        return self._host.newest

    @property
    def settings(self) -> Settings:
        """Those in force when applied: of the newest configuration applied, or the defaults before it."""
        return _DEFAULTS if self.configuration is None else self.configuration.settings

    @property
    def at_cut(self) -> bool:
        """Whether a snapshot is due behind the last entry applied."""
        return self.applied == self._cuts.index

    # ── applying ─────────────────────────────────────────────────────────────────────────────────────

    def until_cut(self, run: Run) -> Run:
        """The beginning of `run`, the next entries, up to where a snapshot is due or other settings begin."""
        return self._cuts.take(run, self.settings)[0]

    def apply(
        self, runs: Iterable[Run], *, each: Callable[[Index], None] | None = None
    ) -> list[Outcome]:
        """Apply committed entries, which continue the log; the outcomes in order of those that have a header.

        `each` is called after each command, clock entry and version entry, with its index.

        Raises UnknownCommand at an entry that this code does not know, and StateMachineFailed when this node
        must halt: its state is then of no use.
        """
        outcomes: list[Outcome] = []
        for run in runs:
            assert run.first == self.applied + 1, "committed entries come in order, each once"
            while self.applied < run.last:
                rest = run.cut(Index(self.applied + 1), run.last)
                self._apply_part(*self._cuts.take(rest, self.settings), outcomes, each)
        return outcomes

    def _apply_part(
        self,
        part: Run,
        cut: bool,
        outcomes: list[Outcome],
        each: Callable[[Index], None] | None,
    ) -> None:
        """Apply entries behind the last of which alone a snapshot may be due: `cut` says whether it is."""
        try:
            for kind, piece in _parts(part):
                if kind is Kind.COMMAND:
                    self._apply_commands(piece, outcomes, each)
                else:
                    self._apply_other(kind, piece, outcomes)
                if each is not None and kind in (Kind.CLOCK, Kind.VERSION):
                    each(piece.last)
        except MalformedError as error:
            raise UnknownCommand(self.applied + 1, str(error), outcomes) from error
        finally:
            # An entry that was not applied leaves no trace, its stamps neither.
            if self.applied >= part.first:
                self.applied_term = part.term
                self.time_ns, self.elapsed_ns = part.time_ns, part.elapsed_ns
                done = part.cut(part.first, self.applied)
                self._cuts.count(done, cut=cut and done is part)

    def _apply_commands(
        self, run: Run, outcomes: list[Outcome], each: Callable[[Index], None] | None
    ) -> None:
        bytes_max = self.settings.session_reply_bytes_max
        for outcome in self._host.apply(run, self._sessions, bytes_max, self.cluster):
            outcomes.append(outcome)
            self.applied = Index(self.applied + 1)
            if each is not None:
                each(self.applied)

    def _apply_other(self, kind: Kind, run: Run, outcomes: list[Outcome]) -> None:
        payload = run.payloads[0]
        match kind:
            case Kind.SESSION:
                # Its header is of the asker's nonce, so that the asker recognises the answer.
                session, seq, _ = unpack_header(payload)
                self._sessions.register(run.first, run.elapsed_ns, self.settings)
                outcomes.append((session, seq, replies.VALUE + run.first.to_bytes(8, "big")))
            case Kind.VOID:
                session, seq, ack_below = unpack_header(payload)
                reply = self._sessions.void(session, seq, ack_below, run.elapsed_ns)
                outcomes.append((session, seq, reply))
            case Kind.CONFIGURATION:
                configuration = Configuration.decode(payload)
                self._raise_version(configuration.settings.version, run)
                self.configuration, self.configuration_index = configuration, run.first
            case Kind.VERSION:
                session, seq, version = unpack_version(payload)
                self._raise_version(version, run)
                outcomes.append((session, seq, replies.VALUE + self.version.to_bytes(8, "big")))
            case Kind.CLOCK:
                self._host.on_clock(run, self.cluster)
            case Kind.NOOP:
                pass
            case _:
                raise MalformedError(f"an entry of kind {kind.name.lower()}")
        self.applied = run.first

    def _raise_version(self, version: int, run: Run) -> None:
        """Bring `version` in force, unless a later one is. Raises MalformedError where this code is older."""
        if version <= self.version:
            return
        if version > self.newest_version:
            raise MalformedError(
                f"it brings version {version} of the machine in force, and this code has version "
                f"{self.newest_version}"
            )
        self._host.upgrade(version, run, self.cluster)
        self.version = version

    def next_deadline(self) -> int | None:
        """The log time, as `elapsed_ns`, at which the machine wants a clock entry; None for never.

        Raises whatever the machine raises, and TypeError if it answers anything else.
        """
        deadline: object = self._host.next_deadline()
        if deadline is None or type(deadline) is int:
            return deadline
        raise TypeError(
            f"next_deadline must return an int of nanoseconds or None, got {deadline!r:.80}"
        )

    # ── commands, results and reads ──────────────────────────────────────────────────────────────────

    def encode(self, command: Any) -> bytes:
        """The bytes of a command that follow its header. Raises LocalProtocolError or NotYetEnabled."""
        return self._host.encode(command)

    def name_of(self, payload: bytes) -> str:
        """What the command in an applied entry's `payload` calls, for people."""
        return self._host.name_of(payload)

    def result_of(self, command: object, reply: bytes, token: object = None) -> Any:
        """The value in `reply`, a fresh copy. A reply names its command, so `command` may be None.

        Raises Rejected as the command raised it, CommandFailed, SessionExpired(token), OutcomeUnknown(token)
        if the value was not kept, DidNotHappen if the number was closed.
        """
        del command
        match replies.decode_reply(reply):
            case replies.Value(data=data):
                return self._host.result(data)
            case replies.RejectedReply(plain=plain):
                raise self._host.rejection(plain)
            case replies.Failed(type=type_, index=index):
                raise CommandFailed(type_, index)
            case replies.Expired():
                raise SessionExpired(
                    token, "the group does not remember this session, or this number of it"
                )
            case replies.Void():
                raise DidNotHappen("its number was closed before it could be decided")
            case replies.Forgotten():
                raise OutcomeUnknown(
                    token, "it did, but its reply exceeded session_reply_bytes_max"
                )

    def stored_reply(self, session: int, seq: int) -> bytes | None:
        """What the session table holds, for waiters after a `restore`: None while the number is open."""
        return self._sessions.reply(session, seq)

    @overload
    def query(self, question: Query[Any, R]) -> R: ...
    @overload
    def query(self, question: Callable[[AnyMachine], R]) -> R: ...
    def query(self, question: Any) -> Any:
        """The answer to a query, copied; or what a function returns, which is lent the machine.

        Raises what the question raises; under `paranoid`, StateMachineFailed if it changed the state, and
        StateUnwritable if that can't be told.
        """
        if not self._paranoid:
            return self._host.ask(question)
        before = self.digest()
        answer = self._host.ask(question)
        if self.digest() != before:
            raise StateMachineFailed(
                f"a read changed the state of this replica: {question!s:.80}; change state only by commands"
            )
        return answer

    # ── snapshots ────────────────────────────────────────────────────────────────────────────────────

    def capture(self) -> Capture:
        """The state as it is now, quickly: dicts and lists are copied one level, bytes come later.

        Raises StateUnwritable already here where the machine is written at once.
        """
        own = self._host.digest()
        configuration = None if self.configuration is None else self.configuration.encode()
        header = [
            "raftkit",
            SNAPSHOT_FORMAT,
            self._host.kind,
            self.version,
            [self.applied, self.applied_term, self.time_ns, self.elapsed_ns],
            [self.configuration_index, configuration],
            [self.applied - self._cuts.index, self._cuts.size, self._cuts.elapsed_ns],
        ]
        return Capture(
            index=self.applied,
            term=self.applied_term,
            time_ns=self.time_ns,
            elapsed_ns=self.elapsed_ns,
            configuration=self.configuration,
            configuration_index=self.configuration_index,
            header=item(header) + END,
            sessions=self._sessions.capture(),
            machine=self._host.capture(self.applied),
            version=self.version,
            own_digest=own,
            comparable=self._host.alike or own is not None,
        )

    def snapshot(self) -> Iterator[bytes]:
        """The bytes of `capture`, at once."""
        return iter(self.capture())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Become the state in a snapshot, which storage has found whole; or stay as before.

        Raises UnknownCommand for one of a newer format or version, StateMachineFailed for one that this
        machine can't read.
        """
        restored = self.begin_restore(chunks)
        restored.read()
        self.adopt(restored)

    def begin_restore(self, chunks: Iterable[bytes]) -> Restored:
        """Read all of a snapshot but the machine's part, for which there is a fresh machine.

        Changes nothing here: `Restored.read` reads that part, `adopt` takes it over. Raises as `restore`.
        """
        hasher = sha256()
        reader = Reader(chunks, hasher.update)
        try:
            header = _Header.read(list(reader.items()))
            if header.version > self.newest_version:
                raise UnknownCommand(
                    header.index,
                    f"it is in a snapshot of version {header.version} of the machine, and this code has "
                    f"version {self.newest_version}",
                    [],
                )
            fresh = _host_of(self._factory(), header.version, paranoid=self._paranoid)
            if header.kind != fresh.kind:
                raise MalformedError(
                    f"it is of a machine of {header.kind}, this one is of {fresh.kind}"
                )
            sessions = Sessions.restored(reader.items())
        except MalformedError as error:
            raise StateMachineFailed(f"the snapshot can't be restored: {error}") from error
        return Restored(
            header=header,
            sessions=sessions,
            host=fresh,
            rest=reader,
            front=hasher.copy(),
            whole=hasher,
        )

    def adopt(self, restored: Restored) -> None:
        """Become what was read."""
        header = restored.header
        self.applied, self.applied_term = header.index, header.term
        self.time_ns, self.elapsed_ns = header.time_ns, header.elapsed_ns
        self.version = header.version
        self.configuration, self.configuration_index = (
            header.configuration,
            header.configuration_index,
        )
        self._sessions, self._host, self._cuts = restored.sessions, restored.host, header.cuts

    def digest(self) -> bytes:
        """32 bytes that are equal where states are: over the snapshot, or over what the machine's own digest
        stands for. Raises StateUnwritable.
        """
        hasher, capture = sha256(), self.capture()
        for chunk in capture if capture.own_digest is None else capture.front():
            hasher.update(chunk)
        hasher.update(capture.own_digest or b"")
        return hasher.digest()


_DEFAULTS = Settings()


def _host_of(machine: object, version: int, *, paranoid: bool) -> Host:
    match machine:
        case StateMachine():
            return TypedHost(machine, version, paranoid=paranoid)
        case BytesStateMachine():
            return BytesHost(machine)
        case _:
            raise ConfigError(
                f"the factory made {machine!r:.60}, which is neither a StateMachine nor a "
                "BytesStateMachine: give the class itself, or a function that makes one"
            )


@attrs.frozen(kw_only=True)
class _Header:
    """The first item of a snapshot."""

    kind: str
    version: int
    index: Index
    term: Term
    time_ns: int
    elapsed_ns: int
    configuration_index: Index
    configuration: Configuration | None
    cuts: Cuts

    @classmethod
    def read(cls, items: list[object]) -> _Header:
        match items:
            case [["raftkit", int() as form, *_]] if form > SNAPSHOT_FORMAT:  # pyright: ignore[reportUnknownVariableType]
                raise UnknownCommand(
                    0, f"a snapshot of format {form}, this code knows {SNAPSHOT_FORMAT}", []
                )
            case [["raftkit", int() as form, *_]] if form < SNAPSHOT_FORMAT:  # pyright: ignore[reportUnknownVariableType]
                raise MalformedError(
                    f"it is of format {form}, from before the first release, and this code reads "
                    f"{SNAPSHOT_FORMAT}: begin with empty directories"
                )
            case [
                [
                    "raftkit",
                    2,  # SNAPSHOT_FORMAT
                    str() as kind,
                    int() as version,
                    [int() as index, int() as term, int() as time_ns, int() as elapsed_ns],
                    [int() as at, bytes() | None as configuration],
                    [int() as entries, int() as size, int() as cut_ns],
                ]
            ] if version >= 1 and 0 <= entries <= index:
                return cls(
                    kind=kind,
                    version=version,
                    index=Index(index),
                    term=Term(term),
                    time_ns=time_ns,
                    elapsed_ns=elapsed_ns,
                    configuration_index=Index(at),
                    configuration=None
                    if configuration is None
                    else Configuration.decode(configuration),
                    cuts=Cuts(index=Index(index - entries), size=size, elapsed_ns=cut_ns),
                )
            case _:
                raise MalformedError(f"not the beginning of a snapshot: {items!r:.80}")


@attrs.frozen(kw_only=True)
class Restored:
    """What a snapshot holds, on its way to take the place of a replica's state."""

    header: _Header
    sessions: Sessions
    host: Host
    "With a fresh machine, that nobody else has."
    rest: Reader
    "The machine's part, not read yet."
    front: _Hasher
    "Of what stands before that."
    whole: _Hasher
    "Of all that was read."

    @property
    def beside(self) -> bool:
        """Whether `read` may run in a thread: of a typed machine it calls nothing, and only makes values."""
        return isinstance(self.host, TypedHost)

    def read(self) -> None:
        """Read the machine's part into the fresh machine. Raises StateMachineFailed."""
        try:
            self.host.restore(self.rest)
            self.rest.close()
        except MalformedError as error:
            raise StateMachineFailed(f"the snapshot can't be restored: {error}") from error

    def digest(self) -> bytes | None:
        """After `read`: what `Capture.digesting` would find; None if that could not be compared."""
        own = self.host.digest()
        if own is None:
            return self.whole.digest() if self.host.alike else None
        hasher = self.front.copy()
        hasher.update(own)
        return hasher.digest()


def _parts(run: Run) -> Iterator[tuple[Kind, Run]]:
    """`run` cut so that commands stay together and every other entry is alone."""
    if run.kinds is None:
        yield Kind.COMMAND, run
        return
    first = run.first
    while first <= run.last:
        kind, last = run.kind(first), first
        while (
            kind is Kind.COMMAND and last < run.last and run.kind(Index(last + 1)) is Kind.COMMAND
        ):
            last = Index(last + 1)
        yield kind, run.cut(first, last)
        first = Index(last + 1)
