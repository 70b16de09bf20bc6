"""`open_node` and what it yields: your machine's state, replicated over a group of processes.

Laws: a setting is checked before anything is started. An error says what may be concluded from it. The
scope of `open_node` is the node's life: it ends with the body, or ends the body when the node must not
go on.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, cast, overload

import attrs
import trio

from raftkit.changes import Change, read_change
from raftkit.driver import (
    Consistency,
    EventStream,
    LocalAnswer,
    MemberLinks,
    Orders,
    Questions,
    Recorder,
    RecordingUnreadable,
    Replica,
    Server,
    Session,
    Statistics,
    Token,
    Wanted,
    explain,
    make_plan,
    open_local_socket,
    open_recorder,
    open_server,
    refuse_unknown,
    refuse_unlike,
    statistics,
    status,
)
from raftkit.encoding import MalformedError, array
from raftkit.errors import ConfigError, LocalProtocolError, NoQuorum
from raftkit.model import Index, NodeId
from raftkit.snapshot import SnapshotMeta
from raftkit.statemachine import BytesStateMachine, Command, Query, StateMachine
from raftkit.storage import MemoryStorage, Storage, open_storage
from raftkit.transports import LossyTransport, TcpTransport

__all__ = ["NODE_SESSION", "Node", "NodeSession", "open_node"]

M = TypeVar("M", bound=StateMachine | BytesStateMachine)
S = TypeVar("S", bound=StateMachine)
B = TypeVar("B", bound=BytesStateMachine)
R = TypeVar("R")


class NodeSession(Enum):
    """Type of `NODE_SESSION`."""

    NODE_SESSION = "the session that the node registers for itself at first use"


NODE_SESSION: Final = NodeSession.NODE_SESSION
"For `Node.execute`: exactly once, in the node's own session."


class Node(Generic[M]):
    """One member of a group. Made by `open_node`; usable by any task of this trio program."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.status}>"

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    @overload
    async def execute(
        self: Node[S],
        command: Command[S, R],
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
        token: Token | None = None,
        session: Session | Literal[NodeSession.NODE_SESSION] | None = NODE_SESSION,
    ) -> R: ...
    @overload
    async def execute(
        self: Node[B],
        command: bytes,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
        token: Token | None = None,
        session: Session | Literal[NodeSession.NODE_SESSION] | None = NODE_SESSION,
    ) -> bytes: ...
    async def execute(
        self,
        command: Any,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109 - it decides which error is true, so it is ours
        token: Token | None = None,
        session: Session | Literal[NodeSession.NODE_SESSION] | None = NODE_SESSION,
    ) -> Any:
        """Have `command` decided by the group and return its result, once this node has applied it.

        Applied exactly once, across changes of leader, in the node's session, in `session`, or as the
        command that `token` names. `session=None` is at most once, and never retried. `timeout` is in
        seconds.

        Raises Rejected or CommandFailed if the machine decided so; NoQuorum, Overloaded, NotYetEnabled,
        EntryTooLarge or NodeClosed if it did not happen, or DidNotHappen itself where the number of `token`
        was closed, or a new leader replaced the entry of a command without a session; OutcomeUnknown, with
        a token, if it may have happened. A cancelled call may have happened: make a token beforehand to
        find out.
        """
        calling = self._server.calling
        if session is None:
            if token is not None:
                raise LocalProtocolError("a token is of a session: leave out session=None")
            return await calling.execute_once(command, within=timeout)
        chosen = None if session is NODE_SESSION else session
        return await calling.execute(command, within=timeout, token=token, session=chosen)

    @overload
    async def execute_many(
        self: Node[S],
        commands: Iterable[Command[S, R]],
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> list[R]: ...
    @overload
    async def execute_many(
        self: Node[B],
        commands: Iterable[bytes],
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> list[bytes]: ...
    async def execute_many(
        self,
        commands: Iterable[Any],
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> list[Any]:
        """`execute` for each of `commands`, in the node's session, without waiting between them.

        Returns their results in order. They are proposed in this order, and applied in it unless the
        leader changes meanwhile; they are no transaction: commands of others may come between, and a
        command that is rejected or fails does not stop those behind it. Nothing is sent if one of them
        can't be. `timeout` seconds are for all of them together.

        Raises, when no more can be learnt, what `execute` would for the first, by place, that has no
        result; a note names its place. NoQuorum and all else that says "it did not happen" is said only
        if none of them did: where others were decided, or may have been, it is OutcomeUnknown, without a
        token. Whoever must know about each uses `execute` with tokens.
        """
        return await self._server.calling.execute_many(commands, within=timeout)

    async def session(self, *, timeout: float = 30.0) -> Session:  # noqa: ASYNC109
        """Register a new session, whose tokens any node of the group can serve.

        Raises NoQuorum if that can't be done in `timeout` seconds.
        """
        return await self._server.calling.session(within=timeout)

    async def outcome(self, token: Token, *, timeout: float = 30.0) -> Any:  # noqa: ASYNC109
        """What became of the command that `token` names: its result, as plain data.

        Raises Rejected or CommandFailed if the machine decided so; DidNotHappen if it did not happen and
        never will, which this call makes certain; OutcomeUnknown or SessionExpired if that can't be
        told, or not in `timeout` seconds.
        """
        return await self._server.calling.outcome(token, within=timeout)

    # ── reads ────────────────────────────────────────────────────────────────────────────────────

    @overload
    async def read(
        self: Node[S],
        question: Query[S, R],
        *,
        consistency: Consistency = "linearizable",
        staleness_max: float | None = None,
        after: int = 0,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> R: ...
    @overload
    async def read(
        self,
        question: Callable[[M], R],
        *,
        consistency: Consistency = "linearizable",
        staleness_max: float | None = None,
        after: int = 0,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> R: ...
    async def read(
        self,
        question: Any,
        *,
        consistency: Consistency = "linearizable",
        staleness_max: float | None = None,
        after: int = 0,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> Any:
        """The answer of this node's copy of the machine to a query, or to a function that is lent it.

        "linearizable" sees every command whose result was given, anywhere, before this call; it needs a
        majority. "lease" sees as much, and at the leader it mostly asks nobody: it relies on clocks whose
        rates differ by less than a tenth, so the group must have been founded with `leases=True`. "local"
        sees what this node has applied, however old: `read_local` says how old.

        With `staleness_max`, every command is seen whose result was given so many seconds before this call:
        a majority is asked only if this node can't tell that it has seen that much. With `after`, every
        entry up to that index is seen, so that a local read sees what its caller wrote elsewhere: right
        behind `execute`, `applied_index` of its node is such an index.

        Raises NoQuorum if `timeout` seconds do not suffice, Diverged while this node's state is not what a
        majority has, and what the question raises.
        """
        server = self._server
        wanted = Wanted(consistency=consistency, staleness_max=staleness_max, after=after)
        wanted.check(server)
        if wanted.holds(server):
            await trio.lowlevel.checkpoint()
            return server.ask(question)
        with trio.move_on_after(timeout):
            await wanted.wait(server)
            return server.ask(question)
        if after > self.applied_index:
            why = f"index {after} was not applied here, which is at {self.applied_index},"
        else:
            why = "the read was not confirmed"
        raise NoQuorum(f"{why} within {timeout:g} s: {self.explain()}")

    @overload
    async def read_local(self: Node[S], question: Query[S, R]) -> LocalAnswer[R]: ...
    @overload
    async def read_local(self, question: Callable[[M], R]) -> LocalAnswer[R]: ...
    async def read_local(self, question: Any) -> Any:
        """What `read(…, consistency="local")` answers, and how old it may be. Never waits for anybody.

        Raises Diverged as `read` does, and what the question raises.
        """
        await trio.lowlevel.checkpoint()
        server = self._server
        # No await from here on: value, index and age are of one moment.
        value = server.ask(question)
        return LocalAnswer(value=value, index=server.applying.applied, staleness=server.staleness)

    @property
    def applied_index(self) -> Index:
        """The last entry in this node's copy of the state: a `read` elsewhere `after` it sees as much."""
        return self._server.applying.applied

    # ── the node itself ──────────────────────────────────────────────────────────────────────────

    @property
    def id(self) -> NodeId:
        """Its name."""
        return self._server.plan.id

    @property
    def members(self) -> Mapping[NodeId, str]:
        """The group's members and their addresses, by the newest configuration known here."""
        raft = self._server.raft
        if raft is None:
            return dict(self._server.plan.members)
        return {member.id: member.address for member in raft.configuration.members}

    @property
    def status(self) -> str:
        """unborn, learner, follower, pre-candidate, candidate, leader, removed or closed.

        Or in trouble: barred, stopped applying, divergent.
        """
        return status(self._server)

    @property
    def leader(self) -> NodeId | None:
        """The leader of this node's term, as far as known here."""
        return self._server.leader

    def statistics(self) -> Statistics:
        """The node in numbers, now."""
        return statistics(self._server)

    def explain(self) -> str:
        """The node in words: why there is no leader, why a commit is stuck, who lags."""
        return explain(self._server)

    def links(self) -> tuple[MemberLinks, ...]:
        """Who hears whom: a row for each member, as it says itself; this node's own is of now.

        What members say is up to 5 s old where nothing changes, 1 s otherwise. Empty while unborn.
        """
        return self._server.presences.rows()

    def events(self) -> EventStream:
        """What happens at this node from now on. Bounded: `dropped` counts what you were too slow for."""
        return self._server.events.subscribe()

    async def wait_leader(self) -> NodeId:
        """Wait until a leader is known here. Raises NodeClosed if the node ends before that."""
        return await self._server.wait_leader()

    async def wait_applied(self, index: int) -> None:
        """Wait until this node has applied the entry at `index`. Raises Diverged, or NodeClosed likewise."""
        await self._server.applying.wait_applied(Index(index))

    async def upgrade(self, *, timeout: float = 30.0) -> int:  # noqa: ASYNC109
        """Bring the newest version of the machine in force that the code of all voters has.

        A leader does so by itself after `upgrade_hold`. Returns the version in force at this node. There is
        no way back: from then on, a node of older code stops applying.

        Raises NotYetEnabled, and says who holds it back, if somebody's code has a newer version and it can't
        come in force; NoQuorum or OutcomeUnknown if that was not decided in `timeout` seconds, and then to
        call it again does no harm; NodeClosed.
        """
        return await self._server.upgrading.upgrade(within=timeout)

    # ── leadership ───────────────────────────────────────────────────────────────────────────────

    async def transfer_leadership(
        self,
        to: NodeId | None = None,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> NodeId:
        """Have member `to` lead in the place of whoever leads, or anybody who is ready. Returns who does.

        Any node can be asked: the leader is told. Meanwhile commands wait, at every node, and none fails of
        it: a few milliseconds where `to` is as far as the leader, at most an election timeout until it is
        given up. Use it before planned work.

        Raises NoQuorum if no leader could be asked within `timeout` seconds. TransferFailed if `to` can't
        lead or did not take over in time; the leader leads on, unless `leader` of the error says otherwise,
        and may yet be replaced if `to` heard of it late. OutcomeUnknown if that is not settled in that
        time, or before this node ends, or the link to the leader broke before it answered; NodeClosed if
        the leader was not asked.
        """
        return await self._server.referring.transfer(to, within=timeout)

    async def step_down(
        self,
        *,
        hand_over: bool = True,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> NodeId:
        """Make this node, which leads, lead no more; it stays a member. Returns who leads next.

        It hands over as `transfer_leadership()` does, and after an election timeout it stops leading even
        if nobody took over. `hand_over=False` stops at once: commands wait until the others have missed
        this node for an election timeout. It campaigns later than they do, but if nobody else can win, it
        leads again.

        Raises NotLeader at a node that does not lead, TransferFailed where there is nobody to hand over
        to, OutcomeUnknown if nobody is known to lead within `timeout` seconds or before this node ends, and
        NodeClosed if it had ended before.
        """
        return await self._server.leading.step_down(hand_over=hand_over, within=timeout)

    def leadership(self) -> AbstractAsyncContextManager[int]:
        """Wait until this node leads, then run the body for as long as it does.

        ::

            async with node.leadership() as term:
                await do_what_one_node_should_do(fence=term)

        The body begins when this node has applied everything that earlier leaders decided, and is
        cancelled when it learns that it leads no more; then LeadershipLost is raised, unless the body
        ended or raised by itself. NodeClosed at the end of the node.

        A leader that is cut off or paused learns late that it was replaced, so two bodies may run at the
        same time. `term` grows with each leadership: whatever the body touches outside must refuse a
        lower term than it has seen. Commands need no such care, they are decided by the group; give
        `term` to them where one of a leader that was replaced must not count.
        """
        return self._server.leading.tenure()

    # ── membership ───────────────────────────────────────────────────────────────────────────────

    async def change_membership(
        self,
        *changes: Change,
        based_on: int | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> Index:
        """Have the group changed, by all of `changes` together or not at all. Any node can be asked.

        ::

            await node.change_membership(AddLearner(id="d", address="10.0.0.4:7001", promote=True))
            await node.change_membership(Remove(id="b"))

        `AddLearner` admits a node that runs and waits, see `join` of `open_node`, and is awaited if it is
        not here yet; so it takes a member back that has lost its directory. With `promote` it becomes a
        voter by itself, once it has caught up. `based_on` is the index of the configuration that the caller
        looked at, `configuration_index` of `statistics`: where another is in force, nothing is changed.

        Returns the index of the new configuration, which is committed then; a node that is removed, the
        leader too, leaves by itself. Raises, where nothing was changed, ChangeRefused, which says why not
        and what to do, NoQuorum if no leader could be asked within `timeout` seconds, or NodeClosed. Raises
        OutcomeUnknown where the leader was asked, and it was not decided in that time, or while it led, or
        the link to it broke before it answered: `members` of the next leader say it.
        """
        index = None if based_on is None else Index(based_on)
        return await self._server.referring.change(changes, based_on=index, within=timeout)

    async def snapshot(self) -> SnapshotMeta:
        """Write this node's state to a durable file now, so that the log before it can go.

        Raises NoQuorum while nothing is applied, Diverged as `read` does, StateUnwritable if the machine
        holds what can't be written, NodeClosed at the end of the node, and StorageError, after which the
        node's scope ends too.
        """
        return await self._server.snapshot()


@asynccontextmanager
async def open_node(
    factory: Callable[[], M],
    *,
    id: NodeId,  # noqa: A002 - the field's name
    members: Mapping[NodeId, str],
    data_dir: str | os.PathLike[str] | Storage | None = None,
    listen: str | None = None,
    insecure: bool = False,
    transport: LossyTransport | None = None,
    election_timeout: tuple[float, float] = (0.25, 0.5),
    heartbeat_interval: float = 0.05,
    vote_timeout: tuple[float, float] | None = None,
    retry_interval: float = 0.1,
    leases: bool = False,
    entry_bytes_max: int = 512 * 1024,
    sessions_max: int = 4096,
    session_idle: float = 3600.0,
    snapshot_entries: int = 100_000,
    snapshot_bytes: int = 64 * 1024 * 1024,
    snapshot_elapsed: float = 0.0,
    upgrade_hold: float = 10.0,
    snapshot_bytes_per_second: int = 0,
    priority: int = 0,
    appointed_leader: NodeId | None = None,
    storage_stall_timeout: float | None = None,
    found: bool = False,
    join: bool = False,
    paranoid: bool = False,
    record: str | os.PathLike[str] | None = None,
    **unknown: object,
) -> AsyncGenerator[Node[M]]:
    """Run node `id` of the group that `members` founds, for as long as the body runs.

    `factory` makes a machine at index 0: a class, a partial, a lambda. `members` gives the address of
    every founder; after founding, the log decides who belongs to the group. `data_dir` holds the node's
    log and identity, and a socket at which `raftkit status` asks it. For tests: None keeps them in memory,
    and an open `Storage` is used, and closed, in the loop. `found=True` lets a list of one found its group;
    a longer list founds when all are there. `join=True` is for a node that comes later: it founds nothing,
    `members` says where it knocks, and where it is itself; it takes part once `Node.change_membership` of
    any member has admitted it.

    Nodes talk over TCP at the addresses of `members`, each "host:port" or "[IPv6 host]:port"; `listen` is
    where this one listens if that is another place. Nothing is encrypted yet, so addresses beyond this
    machine are refused unless `insecure` says that everyone on that network is trusted. `transport`
    replaces TCP by another one.

    The group's settings, agreed at founding: `election_timeout` in seconds, a server draws anew between
    the two; `leases` allows reads by lease, which rest on the lower of them and on clocks (`docs/reads.md`);
    `entry_bytes_max`, the largest command; at most `sessions_max` sessions, each kept for `session_idle`
    seconds without use; every node writes a snapshot behind the same entries of the log,
    after `snapshot_entries` entries, `snapshot_bytes` of their payload, or `snapshot_elapsed` seconds of
    the leaders' clocks since the last, whichever is first, where 0 is no limit. This node's own:
    `heartbeat_interval` in seconds, at most half of the lower election timeout; `vote_timeout`, between which
    two numbers of seconds it draws how long a round of votes may last before it is repeated, enough for a
    round trip and two writes, where None is as `election_timeout`; `retry_interval`, after so many seconds a
    follower that has not acknowledged what it was sent is asked for it, in vain after twice as many, at last
    after eight times as many; `upgrade_hold`, for so many
    seconds the code of all voters must have a newer version of the machine before this node, if it leads,
    brings it in force, where `math.inf` is never, see `Node.upgrade`; `snapshot_bytes_per_second`, which it
    sends of snapshots to all members together when it leads, where 0 is as fast as they are taken;
    `priority`, from -10 to 0, where each step below 0 lets the others campaign earlier by as much as
    election timeouts differ; `appointed_leader`, best the same at every node, the only one that campaigns by
    itself: a group of two, say, then waits for it, unless it hands over; `storage_stall_timeout`, how many
    seconds a write may take before this node begins no campaign and, as a leader, makes room if a quorum
    of the others has on its disks what waits for this one, where `math.inf` is for ever, and None the
    larger of 1 s and twice the upper election timeout; `paranoid` checks the core's invariants after every
    step, that reads change nothing, and that commands leave a state that can be written. `record` names a
    file in which everything is recorded that enters the core, all commands included, up to 64 MiB over all
    lives of the node; `raftkit replay` plays it again.

    Raises ConfigError for settings that can't work, before anything is started; LogCorrupt, WrongCluster
    or StorageError if the directory can't be used; and the same, or StateMachineFailed, out of the scope
    when the node must not go on, with what the body raised as the cause.
    """
    if not trio.lowlevel.in_trio_run():
        raise LocalProtocolError("raftkit needs trio: call open_node inside trio.run(…)")
    refuse_unknown(
        unknown, [it for it in inspect.signature(open_node).parameters if it != "unknown"]
    )
    plan = make_plan(
        id=id,
        members=members,
        election_timeout=election_timeout,
        heartbeat_interval=heartbeat_interval,
        vote_timeout=vote_timeout,
        retry_interval=retry_interval,
        leases=leases,
        entry_bytes_max=entry_bytes_max,
        sessions_max=sessions_max,
        session_idle=session_idle,
        snapshot_entries=snapshot_entries,
        snapshot_bytes=snapshot_bytes,
        snapshot_elapsed=snapshot_elapsed,
        upgrade_hold=upgrade_hold,
        snapshot_bytes_per_second=snapshot_bytes_per_second,
        priority=priority,
        appointed_leader=appointed_leader,
        storage_stall_timeout=storage_stall_timeout,
        found=found,
        join=join,
        paranoid=paranoid,
        threads=isinstance(data_dir, str | os.PathLike),
    )
    chosen = _transport(transport, listen=listen, insecure=insecure)
    replica = Replica(factory, paranoid=plan.paranoid)
    async with _recording(record) as recorder:
        storage = await _storage(data_dir, id)
        async with open_server(plan, replica, storage, chosen, recorder) as server:
            if not isinstance(data_dir, str | os.PathLike):
                yield Node(server)
                return
            node = Node[M](server)
            questions: Questions = {
                "status": lambda: attrs.asdict(statistics(server)),
                "links": lambda: {
                    "id": node.id,
                    "links": [attrs.asdict(it) for it in node.links()],
                },
            }
            async with open_local_socket(data_dir, questions, _orders(node)):
                yield node


def _orders(node: Node[Any]) -> Orders:
    """What may be asked for at the node's own socket."""
    return {
        "upgrade": lambda _: node.upgrade(),
        "transfer-leadership": node.transfer_leadership,
        "change-membership": lambda forms: node.change_membership(*_changes(forms)),
        "step-down": lambda how: node.step_down(hand_over=how != "without transfer"),
    }


def _changes(forms: str | None) -> list[Change]:
    """What the array of `change_form` that is this JSON says. Raises LocalProtocolError."""
    try:
        return [read_change(it) for it in array(json.loads(forms or "[]"))]
    except (ValueError, RecursionError, MalformedError) as error:
        raise LocalProtocolError(f"not a list of changes: {error}") from error


async def _storage(data_dir: str | os.PathLike[str] | Storage | None, own: NodeId) -> Storage:
    """The storage that `data_dir` says. Raises what opening a directory raises, and ConfigError."""
    match data_dir:
        case None:
            return MemoryStorage(own)
        case str() | os.PathLike():
            return await trio.to_thread.run_sync(open_storage, data_dir, own)
        case _:
            refuse_unlike("data_dir", data_dir, "recovered")
            return data_dir


@asynccontextmanager
async def _recording(path: object) -> AsyncGenerator[Recorder | None]:
    """A recorder that goes on with what the file holds, if one is wanted. Raises ConfigError."""
    if path is None:
        yield None
        return
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"record must be the path of a file, got {path!r:.80}")
    try:
        recorder = await trio.to_thread.run_sync(
            open_recorder, Path(cast("str | os.PathLike[str]", path))
        )
    except OSError as error:
        raise ConfigError(f"record {path}: {error.strerror or error}") from error
    except RecordingUnreadable as error:
        raise ConfigError(f"record: {error}: give the path of a new file") from error
    try:
        yield recorder
    finally:
        recorder.close()


def _transport(
    given: LossyTransport | None, *, listen: str | None, insecure: bool
) -> LossyTransport:
    """TCP with these settings, or what was given in its place. Raises ConfigError."""
    if given is None:
        return TcpTransport(listen=listen, insecure=insecure)
    refuse_unlike("transport", given, "open_endpoint")
    if listen is not None or insecure:
        raise ConfigError(
            "listen and insecure are settings of TCP: give them to the transport, or leave out transport"
        )
    return given
