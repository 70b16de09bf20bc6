"""A Hypothesis state machine to subclass: your machine in a group that really elects, replicates and crashes.

    class CounterCluster(ClusterRules):
        factory = Counter

    TestCounter = CounterCluster.TestCase

The group is that of the scenarios (docs/scenarios.md): real cores, and a network, disks and clocks that do
what they are told. Its servers feed a replica of your machine each. What fails is told as the scenario that
led to it. Of the ghosts' laws each step keeps all; beyond those, machines that applied the same entries are
the same, answers are those of a model that executes the commands in the order of the log, and a command that
was answered stands before one that is executed later.

Laws: Hypothesis chooses everything, so a failure is found again, made shorter, and printed. Nothing is due by
time alone: `GroupRules` is for machines with deadlines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from raftkit.config import Config
from raftkit.core import Raft
from raftkit.driver.replica import Outcome, Replica
from raftkit.driver.sessions import NONCE_BIT, pack_header
from raftkit.membership import Settings
from raftkit.messages import Effects, Propose
from raftkit.model import Identity, Index, Kind, NodeId, Run
from raftkit.statemachine import Command
from raftkit.testing.machines.story import DefectFound
from raftkit.testing.modelled_rules import ModelledRules, Moment, outcome_of
from raftkit.testing.scenario.commands import act
from raftkit.testing.scenario.group import Group
from raftkit.testing.scenario.play import Play
from raftkit.testing.scenario.server import Server
from raftkit.testing.with_hypothesis import hypothesis, st, stateful

__all__ = ["ClusterRules"]

_NAMES = "abc"
_CALM_TICKS = 400
"Enough to elect a leader and to let everybody catch up, once nothing is wrong any more."
_ANY = st.sampled_from(_NAMES)


class ClusterRules(ModelledRules):
    """Set `factory`; override `model`, `commands` or `agree`; add rules and invariants of your own.

    A rule acts by `do(line)`, with any command of a scenario about the servers a, b and c, and by `ask`,
    which takes the place of `propose`.
    """

    paranoid: ClassVar[bool] = True
    "See `raftkit.open_node`."

    def __init__(self) -> None:
        super().__init__()
        settings = Settings(version=Replica(self.make()).newest_version)
        local = Config(identity=Identity(id="", incarnation=0), compaction_tail_entries=0)
        self.group = Group(_NAMES, logs={}, settings=settings, local=local)
        self.play = Play(founded=self.group)
        self.story = [f"nodes {' '.join(_NAMES)}"]
        "The scenario so far, with what came of it."
        self.replicas: dict[NodeId, Replica[Any]] = {}
        self.expected: dict[Index, tuple[str, Any]] = {}
        "What the model answered, by the index of the command."
        self.broken = False
        self._entered: dict[bytes, tuple[Command[Any, Any], Index]] = {}
        self._answered = Index(0)
        self._modelled = Index(0)
        self._digests: dict[Index, bytes] = {}
        self._snapshots: dict[Index, bytes] = {}
        self._cores: dict[NodeId, Raft | None] = dict.fromkeys(_NAMES)
        self._boot()
        for name, server in self.group.servers.items():
            server.watch = partial(self._performed, name)
        self.do("elect a b c")
        self.do("run 6")

    def do(self, line: str) -> None:
        """Act as a line of a scenario says. Raises InvariantViolated, or DefectFound, or AssertionError."""
        self._tell(line, lambda: act(self.play, f"quietly {line}"))

    def _tell(self, line: str, action: Callable[[], None]) -> None:
        self.story.append(line)
        try:
            action()
            self._boot()
        except BaseException:
            self.broken = True
            raise
        finally:
            self.story += [f"    {it}" for it in self.play.take_lines()]

    def ask(self, name: NodeId, command: Command[Any, Any]) -> None:
        """A server, which runs, is asked to execute a command; only a leader does."""
        server = self.group.servers[name]
        self.play.tickets += 1
        ticket = self.play.tickets
        payload = pack_header(NONCE_BIT, ticket, 0) + self.replicas[name].encode(command)
        self._entered[payload] = command, self._answered
        propose = Propose(ticket=ticket, payloads=(payload,))
        self._tell(f"# {name} is asked to execute {command!s:.80}", lambda: server.take(propose))

    # ── rules: callers ──

    @stateful.rule(newest=st.booleans(), data=st.data())
    def execute(self, newest: bool, data: st.DataObject) -> None:
        """A leader, or who still takes itself for one, is asked to execute some commands."""
        leaders = [
            it for it in self.group.alive if it.running.role == "leader" and self._enabled(it)
        ]
        if not leaders:
            return
        server = (max if newest else min)(leaders, key=lambda it: it.running.term)
        for command in data.draw(st.lists(type(self).commands(), min_size=1, max_size=4)):
            self.ask(server.id, command)

    @stateful.rule(name=_ANY)
    def read(self, name: NodeId) -> None:
        """A server is asked to read; what it is told must be no older than what was decided by then."""
        if self._runs(name):
            self.do(f"read {name}")

    # ── rules: time and the network ──

    @stateful.rule(ticks=st.sampled_from([60, 10]))
    def run(self, ticks: int) -> None:
        """Time passes everywhere, and all that is sent arrives at once."""
        self.do(f"run {ticks}")

    @stateful.rule(name=_ANY, ticks=st.sampled_from([5, 30, 60]))
    def tick(self, name: NodeId, ticks: int) -> None:
        """Time passes at one server."""
        if self._runs(name):
            self.do(f"tick {name} {ticks}")

    @stateful.rule(
        what=st.sampled_from(["deliver", "drop", "duplicate"]),
        name=_ANY,
        count=st.integers(1, 4),
    )
    def letters(self, what: str, name: NodeId, count: int) -> None:
        """Some messages to a server arrive, are lost, or will come twice."""
        if found := self.group.network.find(self.play.path(f"*->{name}"), count):
            self.do(f"{what} *->{name} {len(found)}")

    @stateful.rule(name=_ANY)
    def cut(self, name: NodeId) -> None:
        """A server is cut off."""
        self.do(f"cut {name}|{','.join(it for it in _NAMES if it != name)}")

    @stateful.rule()
    def heal(self) -> None:
        """All links are mended."""
        self.do("heal")

    # ── rules: processes and disks ──

    @stateful.rule(name=_ANY, kept=st.integers(0, 3))
    def crash(self, name: NodeId, kept: int) -> None:
        """A server crashes; of the writes that are not durable yet some are kept."""
        if self._runs(name):
            self.do(f"crash {name} kept={min(kept, len(self.group.servers[name].disk.queue))}")

    @stateful.rule(name=_ANY)
    def restart(self, name: NodeId) -> None:
        """A server that is down comes back with what is on its disk."""
        if not self._runs(name):
            self.do(f"restart {name}")

    @stateful.rule(name=_ANY, held=st.booleans())
    def disk(self, name: NodeId, held: bool) -> None:
        """A server's writes wait from now on, or are done."""
        if self._runs(name):
            self.do(f"{'hold' if held else 'free'}-disk {name}")

    @stateful.rule(name=_ANY)
    def snapshot(self, name: NodeId) -> None:
        """A server's machine is written, and its log is cut behind that."""
        newest = self.group.servers[name].disk.snapshot
        replica = self.replicas[name]
        if self._runs(name) and replica.applied > (0 if newest is None else newest.index):
            self._snapshots[replica.applied] = b"".join(replica.snapshot())
            self.do(f"snapshot {name}")

    @stateful.invariant()
    def newest_machines_and_model_agree(self) -> None:
        """Who has applied all that the model has is as the model says."""
        for name, replica in self.replicas.items():
            if self._runs(name) and replica.applied == self._modelled > 0:
                self.agree(replica.machine, self.free)

    def teardown(self) -> None:
        """Nothing is wrong any more: all come to the same. What led to a failure is told."""
        try:
            if not self.broken:
                self._calm()
        finally:
            hypothesis.note("".join(f"{line}\n" for line in self.story))

    # ── how ──

    def _calm(self) -> None:
        self.do("heal")
        for name in _NAMES:
            self.restart(name)
            self.do(f"free-disk {name}")
        self.do(f"run {_CALM_TICKS}")
        self.newest_machines_and_model_agree()
        behind = [name for name in _NAMES if self.replicas[name].applied != self._modelled]
        if behind or not self._modelled:
            raise DefectFound("Cluster", f"{behind} did not catch up with {self._modelled}")

    def _enabled(self, server: Server) -> bool:
        """Whether it has applied which version is in force."""
        replica = self.replicas[server.id]
        return replica.version == replica.newest_version

    def _runs(self, name: NodeId) -> bool:
        return self.group.servers[name].raft is not None

    def _boot(self) -> None:
        """A server that has started again has a machine from its disk."""
        for name, server in self.group.servers.items():
            if server.raft is not None and server.raft is not self._cores[name]:
                self._cores[name] = server.raft
                self.replicas[name] = self._booted(server)

    def _booted(self, server: Server) -> Replica[Any]:
        """The machine as the disk gives it back."""
        snapshot = server.disk.snapshot
        replica: Replica[Any] = Replica(self.make(), paranoid=self.paranoid)
        if snapshot is not None:
            replica.restore([self._snapshots[snapshot.index]])
        return replica

    def _performed(self, name: NodeId, effects: Effects) -> None:
        """A core hands over a snapshot, and entries."""
        self._boot()
        if effects.install is not None:
            self.replicas[name] = self._booted(self.group.servers[name])
        for run in effects.apply:
            for index in range(run.first, run.last + 1):
                self._apply(name, run.cut(Index(index), Index(index)))

    def _apply(self, name: NodeId, run: Run) -> None:
        replica, index = self.replicas[name], run.first
        if index > self._modelled:
            self._model(run)
        outcomes = replica.apply([run])
        digest = replica.digest()
        if self._digests.setdefault(index, digest) != digest:
            raise DefectFound(
                "Cluster",
                f"{name} has another state at index {index} than the first to apply it: "
                f"{replica.machine!r:.300}",
            )
        if run.kinds is None or run.kinds[0] is Kind.COMMAND:
            self._answer(name, run, outcomes)

    def _answer(self, name: NodeId, run: Run, outcomes: list[Outcome]) -> None:
        """What this server would tell the caller is what the model answered."""
        command, _ = self._entered[run.payloads[0]]
        _, _, reply = outcomes[-1]
        answer = outcome_of(lambda: self.replicas[name].result_of(command, reply))
        if answer != (expected := self.expected[run.first]):
            raise DefectFound(
                "Cluster", f"at {name} {command!s:.200} gave {answer}, and the model {expected}"
            )
        self._answered = max(self._answered, run.first)

    def _model(self, run: Run) -> None:
        """The next entry of the log, which all will apply, at the model."""
        self._modelled = run.first
        moment = Moment(
            index=run.first, term=run.term, time_ns=run.time_ns, elapsed_ns=run.elapsed_ns
        )
        if run.first == 1:
            self.upgrade(moment)  # the founding configuration says which version
        if run.kinds is None or run.kinds[0] is Kind.COMMAND:
            command, answered = self._entered[run.payloads[0]]
            assert run.first > answered, (
                f"{command} stands before {answered}, answered before it came"
            )
            self.expected[run.first] = self.call(command, moment)
