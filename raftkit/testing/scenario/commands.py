"""The commands of a scenario: how each is written, and what it does to the group.

Laws: everything that may be written stands in `COMMANDS`. What is not understood raises LocalProtocolError
and says how it is written; what must not happen raises InvariantViolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from raftkit.config import Config, check_settings
from raftkit.errors import LocalProtocolError
from raftkit.leadership import StepDown, TransferLeadership
from raftkit.membership import Settings
from raftkit.messages import (
    Barred,
    Message,
    PeerUnreachable,
    Propose,
    Read,
    StorageStalled,
    Unfit,
)
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.testing.scenario.changes import asked, group_words
from raftkit.testing.scenario.group import Group
from raftkit.testing.scenario.network import Letter, Path
from raftkit.testing.scenario.play import NotUnderstoodError, Play, number, take
from raftkit.testing.scenario.server import Server
from raftkit.testing.scenario.words import (
    KINDS,
    disk_words,
    log_words,
    state_words,
    status_words,
    terms,
)
from raftkit.testing.world.shadows import fail

__all__ = ["COMMANDS", "Command", "act", "final_claims"]


def act(play: Play, line: str) -> None:
    """Do what one line says. Raises LocalProtocolError or InvariantViolated."""
    words = line.split()
    quiet = words[0] == "quietly"
    if quiet and len(words) > 1:
        words.pop(0)
    command = COMMANDS.get(words[0])
    if command is None:
        raise LocalProtocolError(f"unknown command {words[0]!r}; there are: {', '.join(COMMANDS)}")
    if play.founded is not None:
        play.founded.quiet = quiet
    try:
        command.act(play, words[1:])
    except NotUnderstoodError as misuse:
        raise LocalProtocolError(f"{misuse}; it is written: {command.usage}") from None


# ── the group and time ───────────────────────────────────────────────────────────────────────────────

_LOCAL = {field.name for field in attrs.fields(Config)} - {
    "identity",
    "appointed_leader",
    "priority",
    "paranoid",
    "vote_timeout_ms",
}


def _nodes(play: Play, arguments: list[str]) -> None:
    if play.founded is not None:
        raise LocalProtocolError("there is a group already: nodes is written once")
    logs: dict[NodeId, Sequence[int]] = {}
    learners: list[NodeId] = []
    local: dict[str, Any] = {"compaction_tail_entries": 0}
    replicated = Settings()
    for word in take(arguments, 1, 99):
        key, equals, value = word.partition("=")
        if not equals:
            name, _, log = word.partition(":")
            if name in logs:
                raise LocalProtocolError(f"{name} is named twice")
            logs[name] = _terms(log) if log else (1,)
        elif key == "learners":
            learners = value.split(",")
        elif key in _LOCAL:
            local[key] = number(value)
        elif key == "replication_factor":
            replicated = attrs.evolve(replicated, replication_factor=number(value))
        elif key == "leases":
            replicated = attrs.evolve(replicated, leases=number(value) > 0)
        else:
            raise LocalProtocolError(
                f"there is no setting {key!r}; there are: learners, leases, replication_factor, "
                f"{', '.join(sorted(_LOCAL))}"
            )
    voters = [name for name in logs if name not in learners]
    config = Config(identity=Identity(id="", incarnation=0), **local)
    check_settings(replicated, heartbeat_ms=config.heartbeat_ms, voters=len(voters))
    play.founded = Group(
        voters,
        learners=learners,
        logs=logs,
        settings=replicated,
        local=config,
        batching=play.batching,
    )


def _terms(word: str) -> list[int]:
    """`1.2.2` or, for long ones, `1.2x60`."""
    terms: list[int] = []
    for part in word.split("."):
        term, _, count = part.partition("x")
        terms += [number(term)] * (number(count) if count else 1)
    return terms


def _timeout(play: Play, arguments: list[str]) -> None:
    names, ticks = take(arguments, 2)
    for server in play.alive(names):
        server.patience.ticks = number(ticks)
        server.running.state.restart_election_timer()


def _tick(play: Play, arguments: list[str]) -> None:
    names, *count = take(arguments, 1, 2)
    ticks = number(count[0]) if count else 1
    play.group.pass_time(play.alive(names), ticks, deliver=False)


def _run(play: Play, arguments: list[str]) -> None:
    (ticks,) = take(arguments, 1)
    play.group.pass_time(play.group.alive, number(ticks), deliver=True)


def _campaign(play: Play, arguments: list[str]) -> None:
    (name,) = take(arguments, 1)
    play.group.campaign(play.server(name).id)


def _elect(play: Play, arguments: list[str]) -> None:
    name, *voters = take(arguments, 1, 99)
    play.group.elect(play.server(name).id, [play.server(voter).id for voter in voters])


def _stabilise(play: Play, arguments: list[str]) -> None:
    group = play.group
    group.stabilise([play.server(name).id for name in arguments] or group.servers)


# ── callers ──────────────────────────────────────────────────────────────────────────────────────────


def _propose(play: Play, arguments: list[str]) -> None:
    name, *commands = take(arguments, 2, 99)
    server = play.one(name)
    payloads: list[bytes] = []
    for word in commands:
        command, _, size = word.partition("=")
        if command in play.proposed:
            raise LocalProtocolError(
                f"{command} was proposed before: give each command a name of its own"
            )
        play.proposed.add(command)
        payloads.append(command.encode().ljust(number(size) if size else 0, b"."))
    play.tickets += 1
    server.take(Propose(ticket=play.tickets, payloads=tuple(payloads)))


def _read(play: Play, arguments: list[str]) -> None:
    name, *how = take(arguments, 1, 2)
    if how not in ([], ["lease"]):
        raise NotUnderstoodError("a read goes by the lease or by nothing")
    server = play.one(name)
    play.tickets += 1
    server.say(f"is asked to read #{play.tickets}", news=True)
    server.take(Read(ticket=play.tickets, lease=bool(how)))


def _transfer(play: Play, arguments: list[str]) -> None:
    name, *target = take(arguments, 1, 2)
    server = play.one(name)
    play.tickets += 1
    # Whoever it names need not be of the group: that is for the core to see.
    server.take(TransferLeadership(ticket=play.tickets, target=target[0] if target else None))


def _step_down(play: Play, arguments: list[str]) -> None:
    name, *how = take(arguments, 1, 2)
    if how not in ([], ["at-once"]):
        raise NotUnderstoodError(f"{how[0]!r} is not understood")
    server = play.one(name)
    play.tickets += 1
    server.take(StepDown(ticket=play.tickets, hand_over=not how))


def _change(play: Play, arguments: list[str]) -> None:
    name, *words = take(arguments, 2, 99)
    server = play.one(name)
    request = asked(play.group, server, play.tickets + 1, words)
    play.tickets += 1
    server.say(f"is asked for change #{play.tickets}", news=True)
    server.take(request)


# ── the network ──────────────────────────────────────────────────────────────────────────────────────


def _deliver(play: Play, arguments: list[str]) -> None:
    together = arguments[-1:] == ["together"]
    path, count = play.letters(arguments[:-1] if together else arguments)
    letters = _found(play.group, path, count)
    if not together:
        play.group.deliver(letters)
    elif len(path.targets) == 1:
        play.group.arrive(*letters)
    else:
        raise NotUnderstoodError("what arrives together arrives at one node")


def _found(group: Group, path: Path, count: int | None) -> list[Letter]:
    letters = group.network.find(path, count)
    if not letters or len(letters) < (count or 0):
        raise LocalProtocolError(
            f"{len(letters)} such messages are on their way: see show messages"
        )
    return letters


def _forge(play: Play, arguments: list[str]) -> None:
    path, kind, *given = take(arguments, 2, 9)
    sender, _, name = path.partition("->")
    kinds = [it for it in KINDS if it != "chunk"]
    if kind not in kinds:
        raise LocalProtocolError(f"no messages {kind!r} are forged, but: {', '.join(kinds)}")
    server = play.one(name)
    node, _, incarnation = sender.partition("@")
    identity = Identity(id=node, incarnation=number(incarnation or "1"))
    message = _forged(KINDS[kind], server.running.term, given)
    play.group.ghosts.forged(server.shadow, identity, message)
    play.group.arrive(Letter(identity, server.id, message))


def _forged(kind: type[Message], term: Term, given: list[str]) -> Message:
    """Of the server's own term and without entries; its numbers are 0 unless they are given."""
    names = [field.name for field in attrs.fields(kind)]
    values: dict[str, Any] = {**dict.fromkeys(names, 0), "term": term}
    for word in given:
        name, _, value = word.partition("=")
        if name not in names or name == "runs":
            raise LocalProtocolError(f"there is no field {name!r}; there are: {', '.join(names)}")
        values[name] = number(value)
    for name in {"granted", "installed", "transfer"} & values.keys():
        values[name] = bool(values[name])
    if "runs" in values:
        values["runs"] = ()
    return kind(**values)


def _drop(play: Play, arguments: list[str]) -> None:
    for letter in _found(play.group, *play.letters(arguments)):
        play.group.network.take((letter,))
        play.group.tell(f"{letter} (lost)")


def _duplicate(play: Play, arguments: list[str]) -> None:
    for letter in _found(play.group, *play.letters(arguments)):
        play.group.network.letters.append(attrs.evolve(letter))
        play.group.tell(f"{letter} (twice)")


def _hold(play: Play, arguments: list[str]) -> None:
    path, *kind = take(arguments, 1, 2)
    for letter in play.group.network.hold(play.path(path, *kind)):
        play.group.tell(f"{letter} (held)")


def _pass(play: Play, arguments: list[str]) -> None:
    path, *kind = take(arguments, 1, 2)
    play.group.network.let_pass(play.path(path, *kind))


def _release(play: Play, arguments: list[str]) -> None:
    path, count = play.letters(arguments)
    released = play.group.network.release(path, count)
    if not released:
        raise LocalProtocolError("no such messages are held: see show messages")
    for letter in released:
        play.group.tell(f"{letter} (released)")


def _resend(play: Play, arguments: list[str]) -> None:
    path, entries = take(arguments, 2)
    name, _, target = path.partition("->")
    first, _, last = entries.partition("..")
    play.group.resend(
        play.server(name).id,
        play.server(target).id,
        Index(number(first)),
        Index(number(last)),
    )


def _cut(play: Play, arguments: list[str]) -> None:
    for word in take(arguments, 1, 99):
        play.group.network.cut |= play.links(word)


def _heal(play: Play, arguments: list[str]) -> None:
    network = play.group.network
    for word in arguments:
        network.cut -= play.links(word)
    if not arguments:
        network.cut.clear()


def _unreachable(play: Play, arguments: list[str]) -> None:
    name, peer, *heard = take(arguments, 2, 3)
    succession = tuple(it.id for word in heard for it in play.servers(word))
    play.one(name).take(PeerUnreachable(peer=play.server(peer).id, succession=succession))


# ── disks, machines, processes ───────────────────────────────────────────────────────────────────────


def _hold_disk(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.servers(names):
        server.disk_held = True


def _free_disk(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.servers(names):
        server.sync()
        server.disk_held = False
        server.sync()


def _sync(play: Play, arguments: list[str]) -> None:
    names, *count = take(arguments, 1, 2)
    for server in play.alive(names):
        if not server.disk.queue:
            raise LocalProtocolError(f"no write of {server.id} waits")
        server.sync(number(count[0]) if count else None)


def _stall(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.alive(names):
        if not server.disk.queue:
            raise LocalProtocolError(f"no write of {server.id} waits: hold its disk first")
        server.take(StorageStalled(sequence=server.disk.queue[0].sequence))


def _slow_apply(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.servers(names):
        server.machine_held = True


def _apply(play: Play, arguments: list[str]) -> None:
    names, *index = take(arguments, 1, 2)
    for server in play.alive(names):
        server.apply(Index(number(index[0])) if index else None)


def _crash(play: Play, arguments: list[str]) -> None:
    names, *more = take(arguments, 1, 3)
    numbers = {"kept": 0, "parts": 0}
    for word in more:
        key, _, value = word.partition("=")
        if key not in numbers:
            raise NotUnderstoodError(f"{word!r} is not understood")
        numbers[key] = number(value)
    for server in play.alive(names):
        server.crash(kept=numbers["kept"], parts=numbers["parts"])


def _wipe(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.servers(names):
        server.wipe()


def _restart(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.servers(names):
        if names == "*" and server.raft is not None:
            continue
        server.start()
        if server.raft is not None:
            server.say(f"starts: {state_words(server.raft, server.shadow.issued)}")


def _pause(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.alive(names):
        server.paused = True


def _resume(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.alive(names):
        server.resume()


def _bar(play: Play, arguments: list[str]) -> None:
    name, *reason = take(arguments, 2, 99)
    server = play.one(name)
    server.take(Barred(reason=" ".join(reason)))


def _unfit(play: Play, arguments: list[str]) -> None:
    name, *reason = take(arguments, 2, 99)
    server = play.one(name)
    server.take(Unfit(reason=" ".join(reason)))


def _snapshot(play: Play, arguments: list[str]) -> None:
    (names,) = take(arguments, 1)
    for server in play.alive(names):
        server.snapshot()


def _share(play: Play, arguments: list[str]) -> None:
    names, *wrong = take(arguments, 1, 2)
    if wrong not in ([], ["wrong"]):
        raise NotUnderstoodError("what is shared is right or wrong")
    play.group.sharing |= dict.fromkeys(play.names(names), not wrong)
    for server in play.group.servers.values() if wrong else ():
        server.ghosts.misled(server.shadow)


# ── looks ────────────────────────────────────────────────────────────────────────────────────────────


def _show(play: Play, arguments: list[str]) -> None:
    what, *names = take(arguments, 1, 2)
    group = play.group
    if what == "messages":
        path = play.path(names[0] if names else "*")
        network = group.network
        lines = [str(letter) for letter in network.letters if letter in path]
        lines += [f"{letter} (held)" for letter in network.held if letter in path]
        for line in lines or ["no messages"]:
            group.tell(line)
        return
    if what not in _LOOKS:
        raise NotUnderstoodError(f"{what!r} can't be shown")
    for server in play.servers(names[0] if names else "*"):
        lines = _LOOKS[what](server) if server.raft is not None or what == "disk" else ["is down"]
        for line in lines:
            server.say(line)
            play.claims.append(f"{server.id} {line}")


def final_claims(play: Play) -> list[str]:
    """What has become of each server: its state, its log and its disk."""
    return [
        f"{server.id} {line}"
        for server in play.group.servers.values()
        for what, look in _LOOKS.items()
        if what != "status" and (server.raft is not None or what == "disk")
        for line in look(server)
    ]


_LOOKS: dict[str, Callable[[Server], list[str]]] = {
    "group": lambda server: [
        f"group at {server.running.configuration_index}: {group_words(server.running.configuration)}"
    ],
    "log": lambda server: [f"log: {log_words(server.shadow.issued)}"],
    "state": lambda server: [state_words(server.running, server.shadow.issued)],
    "status": lambda server: status_words(server.running),
    "disk": lambda server: [f"disk: {line}" for line in disk_words(server.disk)],
}


def _expect(play: Play, arguments: list[str]) -> None:
    names, fact, value = take(arguments, 3)
    if fact not in _FACTS:
        raise LocalProtocolError(f"there is no fact {fact!r}; there are: {', '.join(_FACTS)}")
    for server in play.servers(names):
        actual = _FACTS[fact](server)
        if actual != value:
            fail("expected", f"{server.id} {fact} {value}, but it is {actual}")


_FACTS: dict[str, Callable[[Server], str]] = {
    "group": lambda server: group_words(server.running.configuration),
    "role": lambda server: server.running.role,
    "leader": lambda server: server.running.leader or "-",
    "term": lambda server: str(server.running.term),
    "vote": lambda server: _or_none(server.running.state.voted_for),
    "log": lambda server: terms(server.shadow.issued),
    "commit": lambda server: str(server.running.commit_index),
    "applied": lambda server: str(server.running.state.applied_index),
    "durable": lambda server: str(server.running.durable_index),
    "verified": lambda server: str(server.running.state.verified_index),
    "disk": lambda server: terms(server.disk.log),
}


def _or_none(vote: Identity | None) -> str:
    return "-" if vote is None else vote.id


# ── the table ────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class Command:
    """One of the words that a line begins with."""

    usage: str
    "How it is written."
    act: Callable[[Play, list[str]], None]
    "What it does."


COMMANDS = {
    command.usage.split()[0]: command
    for command in (
        Command("nodes NAME[:1.1.2] … [learners=NAME,…] [SETTING=NUMBER …]", _nodes),
        Command("timeout NODES TICKS", _timeout),
        Command("tick NODES [COUNT]", _tick),
        Command("run TICKS", _run),
        Command("campaign NODE", _campaign),
        Command("elect NODE VOTER …", _elect),
        Command("stabilise [NODE …]", _stabilise),
        Command("propose NODE NAME[=BYTES] …", _propose),
        Command("change NODE CHANGE=NODE,… … [factor=NUMBER] [based=INDEX]", _change),
        Command("read NODE [lease]", _read),
        Command("transfer NODE [TARGET]", _transfer),
        Command("step-down NODE [at-once]", _step_down),
        Command("deliver PATH [KIND] [COUNT] [together]", _deliver),
        Command("forge SENDER[@INCARNATION]->NODE KIND [FIELD=NUMBER …]", _forge),
        Command("drop PATH [KIND] [COUNT]", _drop),
        Command("duplicate PATH [KIND] [COUNT]", _duplicate),
        Command("hold PATH [KIND]", _hold),
        Command("pass PATH [KIND]", _pass),
        Command("release PATH [KIND] [COUNT]", _release),
        Command("resend NODE->NODE FIRST..LAST", _resend),
        Command("cut LINK …", _cut),
        Command("heal [LINK …]", _heal),
        Command("unreachable NODE PEER [NODES]", _unreachable),
        Command("hold-disk NODES", _hold_disk),
        Command("free-disk NODES", _free_disk),
        Command("sync NODES [COUNT]", _sync),
        Command("stall NODES", _stall),
        Command("slow-apply NODES", _slow_apply),
        Command("apply NODES [INDEX]", _apply),
        Command("crash NODES [kept=WRITES] [parts=NUMBER]", _crash),
        Command("wipe NODES", _wipe),
        Command("restart NODES", _restart),
        Command("pause NODES", _pause),
        Command("resume NODES", _resume),
        Command("bar NODE REASON …", _bar),
        Command("unfit NODE REASON …", _unfit),
        Command("snapshot NODES", _snapshot),
        Command("share NODES [wrong]", _share),
        Command("show log/state/status/group/disk [NODES]", _show),
        Command("expect NODES FACT VALUE", _expect),
    )
}
"By their first words."
