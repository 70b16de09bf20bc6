"""What enters a core ⇄ plain values that CBOR can hold: the forms of which a recording is made.

Laws: a form is an array whose first position says which input it is; its number is never reused. Messages
and runs are in the forms that wire and disk use. What can't be is MalformedError, whoever wrote it.
"""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never, cast

import attrs

from raftkit.changes import ChangeMembership, change_form, read_change
from raftkit.config import Config
from raftkit.driver_messages import DriverMessage
from raftkit.encoding import MalformedError, array, octets, unsigned
from raftkit.errors import ConfigError, RemoteProtocolError
from raftkit.leadership import StepDown, TransferLeadership
from raftkit.membership import Configuration, node_id
from raftkit.messages import (
    Applied,
    Barred,
    Fetch,
    Fetched,
    Fit,
    Input,
    Message,
    PeerUnreachable,
    Persisted,
    PriorityHeard,
    Propose,
    Read,
    ReadSnapshot,
    Receive,
    SnapshotRead,
    SnapshotTaken,
    StorageStalled,
    Tick,
    Unfit,
)
from raftkit.model import Identity, Index, Kind, Term
from raftkit.snapshot import SeekSnapshot, SnapshotFound, SnapshotMeta
from raftkit.wire import Limits, decode_message, decode_run, encode_message, encode_run

__all__ = [
    "Form",
    "config_form",
    "input_form",
    "read_config",
    "read_identity",
    "read_input",
    "read_snapshot_meta",
    "snapshot_meta_form",
    "text",
]

Form: TypeAlias = list[object]
"An array of numbers, bytes, texts and other such arrays."

_LIMITS = Limits()


def input_form(it: Input) -> Form:
    """The form of one input."""
    match it:
        case Tick(count=count, wall_ns=wall_ns, monotonic_ns=monotonic_ns):
            return [1, count, wall_ns, monotonic_ns]
        case Receive(sender=sender, message=message):
            return [2, sender.id, sender.incarnation, encode_message(message)]
        case Propose(ticket=ticket, kinds=kinds, payloads=payloads, origin=origin):
            return [3, ticket, None if kinds is None else bytes(kinds), payloads, origin]
        case Read(ticket=ticket, lease=lease):
            return [4, ticket, *([1] if lease else [])]
        case Persisted(sequence=sequence):
            return [5, sequence]
        case Applied(index=index):
            return [6, index]
        case Fetched(fetch=fetch, runs=runs):
            asked = [fetch.first, fetch.last, fetch.bytes_max]
            return [7, asked, [encode_run(run) for run in runs]]
        case SnapshotRead(request=request, data=data):
            meta = snapshot_meta_form(request.snapshot)
            return [8, [request.target, meta, request.offset, request.bytes_max], data]
        case SnapshotTaken(snapshot=snapshot):
            return [9, snapshot_meta_form(snapshot)]
        case PeerUnreachable(peer=peer, succession=succession):
            return [10, peer, *([list(succession)] if succession else [])]
        case Barred(reason=reason):
            return [11, reason]
        case Unfit(reason=reason):
            return [12, reason]
        case TransferLeadership(ticket=ticket, target=target):
            return [13, ticket, target]
        case StepDown(ticket=ticket, hand_over=hand_over):
            return [14, ticket, int(hand_over)]
        case Fit():
            return [15]
        case ChangeMembership(ticket=ticket, changes=changes, based_on=based_on):
            return [16, ticket, [change_form(change) for change in changes], based_on]
        case StorageStalled(sequence=sequence):
            return [17, sequence]
        case SnapshotFound(request=request, holder=holder, data=data):
            sought = [snapshot_meta_form(request.snapshot), request.offset, request.leader]
            found = None if holder is None else [holder.id, holder.incarnation]
            return [18, sought, found, data]
        case PriorityHeard(peer=peer, priority=priority):
            return [19, peer, -priority]
        case _:
            assert_never(it)


def read_input(form: object) -> Input:
    """The input of which `form` is the form. Raises MalformedError."""
    number, *rest = array(form) or [None]
    match unsigned(number):
        case 1:
            return _tick(rest)
        case 2:
            return _receive(rest)
        case 3:
            return _propose(rest)
        case 4:
            return _read(rest)
        case 5:
            return Persisted(sequence=unsigned(_only(rest)))
        case 6:
            return Applied(index=Index(unsigned(_only(rest))))
        case 7:
            return _fetched(rest)
        case 8:
            return _snapshot_read(rest)
        case 9:
            return SnapshotTaken(snapshot=read_snapshot_meta(_only(rest)))
        case 10:
            return _peer_unreachable(rest)
        case 11:
            return Barred(reason=text(_only(rest)))
        case 12:
            return Unfit(reason=text(_only(rest)))
        case 13:
            ticket, target = array(rest, 2)
            chosen = None if target is None else node_id(target)
            return TransferLeadership(ticket=unsigned(ticket), target=chosen)
        case 14:
            ticket, hand_over = map(unsigned, array(rest, 2))
            return StepDown(ticket=ticket, hand_over=hand_over != 0)
        case 15:
            array(rest, 0)
            return Fit()
        case 16:
            return _change_membership(rest)
        case 17:
            return StorageStalled(sequence=unsigned(_only(rest)))
        case 18:
            return _snapshot_found(rest)
        case 19:
            peer, steps = array(rest, 2)
            return PriorityHeard(peer=node_id(peer), priority=-unsigned(steps))
        case unknown:
            raise MalformedError(f"an input of number {unknown}")


def _only(rest: Form) -> object:
    (value,) = array(rest, 1)
    return value


def _tick(rest: Form) -> Tick:
    count, wall_ns, monotonic_ns = map(unsigned, array(rest, 3))
    return Tick(count=count, wall_ns=wall_ns, monotonic_ns=monotonic_ns)


def _receive(rest: Form) -> Receive:
    sender, incarnation, message = array(rest, 3)
    return Receive(
        sender=Identity(id=node_id(sender), incarnation=unsigned(incarnation)),
        message=_message(octets(message)),
    )


def _message(data: bytes) -> Message:
    try:
        message = decode_message(data, limits=_LIMITS)
    except RemoteProtocolError as error:
        raise MalformedError(str(error)) from error
    if isinstance(message, DriverMessage):
        raise MalformedError(f"a {type(message).__name__} is never given to a core")
    return message


def _propose(rest: Form) -> Propose:
    ticket, kinds, payloads, origin = array(rest, 4)
    found = tuple(octets(it) for it in array(payloads))
    return Propose(
        ticket=unsigned(ticket),
        kinds=None if kinds is None else _kinds(octets(kinds, len(found))),
        payloads=found,
        origin=None if origin is None else node_id(origin),
    )


def _kinds(marks: bytes) -> tuple[Kind, ...]:
    if any(mark > max(Kind) for mark in marks):
        raise MalformedError(f"kinds that this raftkit does not know: {marks!r:.80}")
    return tuple(map(Kind, marks))


def _read(rest: Form) -> Read:
    ticket, *lease = rest or [None]
    if lease not in ([], [1]):
        raise MalformedError(f"a read that goes by {lease!r:.80}")
    return Read(ticket=unsigned(ticket), lease=bool(lease))


def _peer_unreachable(rest: Form) -> PeerUnreachable:
    peer, *succession = rest or [None]
    if len(succession) > 1:
        raise MalformedError(f"{len(rest)} positions where 1 or 2 belong")
    heard = array(succession[0]) if succession else []
    return PeerUnreachable(peer=node_id(peer), succession=tuple(node_id(it) for it in heard))


def _change_membership(rest: Form) -> ChangeMembership:
    ticket, changes, based_on = array(rest, 3)
    return ChangeMembership(
        ticket=unsigned(ticket),
        changes=tuple(read_change(it) for it in array(changes)),
        based_on=None if based_on is None else Index(unsigned(based_on)),
    )


def _fetched(rest: Form) -> Fetched:
    fetch, runs = array(rest, 2)
    first, last, bytes_max = array(fetch, 3)
    asked = Fetch(
        first=Index(unsigned(first)), last=Index(unsigned(last)), bytes_max=unsigned(bytes_max)
    )
    return Fetched(fetch=asked, runs=tuple(decode_run(octets(it)) for it in array(runs)))


def _snapshot_read(rest: Form) -> SnapshotRead:
    request, data = array(rest, 2)
    target, snapshot, offset, bytes_max = array(request, 4)
    asked = ReadSnapshot(
        target=node_id(target),
        snapshot=read_snapshot_meta(snapshot),
        offset=unsigned(offset),
        bytes_max=unsigned(bytes_max),
    )
    return SnapshotRead(request=asked, data=None if data is None else octets(data))


def _snapshot_found(rest: Form) -> SnapshotFound:
    request, holder, data = array(rest, 3)
    snapshot, offset, leader = array(request, 3)
    sought = SeekSnapshot(
        snapshot=read_snapshot_meta(snapshot), offset=unsigned(offset), leader=node_id(leader)
    )
    return SnapshotFound(
        request=sought,
        holder=None if holder is None else read_identity(holder),
        data=octets(data),
    )


# ── what inputs and beginnings are made of ───────────────────────────────────────────────────────────


def snapshot_meta_form(it: SnapshotMeta) -> Form:
    """The form of what describes a snapshot."""
    return [
        it.index,
        it.term,
        it.configuration.encode(),
        it.configuration_index,
        it.time_ns,
        it.elapsed_ns,
        it.size,
        it.checksum,
    ]


def read_snapshot_meta(form: object) -> SnapshotMeta:
    """What describes a snapshot. Raises MalformedError."""
    index, term, configuration, configuration_index, *numbers = array(form, 8)
    time_ns, elapsed_ns, size, checksum = map(unsigned, numbers)
    return SnapshotMeta(
        index=Index(unsigned(index)),
        term=Term(unsigned(term)),
        configuration=Configuration.decode(octets(configuration)),
        configuration_index=Index(unsigned(configuration_index)),
        time_ns=time_ns,
        elapsed_ns=elapsed_ns,
        size=size,
        checksum=checksum,
    )


def text(form: object) -> str:
    """A text. Raises MalformedError."""
    if type(form) is not str:
        raise MalformedError(f"not a text: {form!r:.80}")
    return form


def read_identity(form: object) -> Identity:
    """A name and an incarnation. Raises MalformedError."""
    name, incarnation = array(form, 2)
    return Identity(id=node_id(name), incarnation=unsigned(incarnation))


def config_form(config: Config) -> dict[str, object]:
    """Settings by their names, so that a recording outlives a setting that is added."""
    settings: dict[str, object] = attrs.asdict(config, recurse=False)
    settings["identity"] = [config.identity.id, config.identity.incarnation]
    return settings


def read_config(form: object) -> Config:
    """The settings of a core. Raises MalformedError."""
    if type(form) is not dict:
        raise MalformedError(f"not settings: {form!r:.80}")
    settings = cast("dict[str, Any]", form)
    unknown = settings.keys() - {it.name for it in attrs.fields(Config)}
    if unknown or "identity" not in settings:
        raise MalformedError(f"not the settings of a core: {sorted(settings)!r:.200}")
    apart = {"identity", "paranoid", "priority", "appointed_leader", "vote_timeout_ms"}
    numbers = {it: settings[it] for it in settings.keys() - apart}
    priority, appointed = settings.get("priority", 0), settings.get("appointed_leader")
    bounds = settings.get("vote_timeout_ms")
    if type(priority) is not int:
        raise MalformedError(f"not a priority: {priority!r:.80}")
    try:
        return Config(
            identity=read_identity(settings["identity"]),
            paranoid=settings.get("paranoid") is True,
            priority=priority,
            appointed_leader=None if appointed is None else node_id(appointed),
            vote_timeout_ms=None if bounds is None else _bounds(bounds),
            **{name: unsigned(number) for name, number in numbers.items()},
        )
    except ConfigError as error:
        raise MalformedError(str(error)) from error


def _bounds(form: object) -> tuple[int, int]:
    low, high = array(form, 2)
    return unsigned(low), unsigned(high)
