"""The settings of a node, checked: seconds become milliseconds, and what can't work is refused.

Laws: every refusal is one line that names the setting, the offending value and what is allowed. Nothing
is started here.
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping
from typing import cast

import attrs

from raftkit.config import PRIORITY_MIN, check_bounds, check_settings
from raftkit.driver.loop import Clock
from raftkit.driver.storing import InLoop, InThreads, StorageCalls
from raftkit.encoding import MalformedError
from raftkit.errors import ConfigError
from raftkit.membership import MEMBERS_MAX, Settings, node_id
from raftkit.model import NodeId

__all__ = ["Plan", "make_plan", "refuse_unknown", "refuse_unlike"]

TICK_MS = 10
"The core's unit of time: fine enough for any sensible timeout, coarse enough to sleep."


@attrs.frozen(kw_only=True)
class Plan:
    """What a node was opened with, checked, in the units of those who use it."""

    id: NodeId
    "Its name."
    members: Mapping[NodeId, str]
    "Addresses of the founders, this node's included."
    settings: Settings
    "What the group is founded with; later the log decides."
    heartbeat_ms: int
    "See `Config`."
    vote_timeout_ms: tuple[int, int] | None = None
    "See `Config`."
    retry_ms: int = 100
    "See `Config`."
    tick_ms: int
    "See `Config`."
    paranoid: bool
    "See `Config`; also watches callables given to `read`."
    upgrade_hold: float
    "Seconds, see `Upgrading`; inf: never."
    alone: bool
    "Whether a list of one may found."
    joins: bool = False
    "Whether it waits to be admitted to a group; `members` are then where it knocks, and itself."
    calls: StorageCalls
    "How the storage is called: in threads if it may block."
    clock: Clock
    "Where stamps come from."
    rng: random.Random
    "All chance of this node."
    priority: int = 0
    "See `Config`."
    appointed_leader: NodeId | None = None
    "See `Config`."
    storage_stall_timeout: float | None = None
    "Seconds, see `Stalling`; inf: never."
    limits: Mapping[str, int] = attrs.field(factory=dict[str, int])
    "Fields of `Config` that are not its defaults: tiny ones make a simulated world meet more."


def make_plan(
    *,
    id: object,  # noqa: A002 - the setting's name
    members: object,
    election_timeout: object,
    heartbeat_interval: object,
    vote_timeout: object = None,
    retry_interval: object = 0.1,
    leases: object,
    entry_bytes_max: object,
    sessions_max: object,
    session_idle: object,
    snapshot_entries: object,
    snapshot_bytes: object,
    snapshot_elapsed: object,
    upgrade_hold: object,
    priority: object = 0,
    appointed_leader: object = None,
    storage_stall_timeout: object = None,
    found: object,
    join: object = False,
    paranoid: object,
    threads: bool,
    snapshot_bytes_per_second: object = 0,
) -> Plan:
    """The settings of `open_node`, whatever was passed there. Raises ConfigError."""
    own = _node_id(id)
    plan = Plan(
        id=own,
        members=_members(members, own),
        settings=Settings(
            election_timeout_ms=_bounds_ms("election_timeout", election_timeout),
            leases=_flag("leases", leases),
            entry_bytes_max=_count("entry_bytes_max", entry_bytes_max),
            sessions_max=_count("sessions_max", sessions_max),
            session_idle_ms=_ms("session_idle", session_idle),
            snapshot_entries=_count("snapshot_entries", snapshot_entries, lowest=0),
            snapshot_bytes=_count("snapshot_bytes", snapshot_bytes, lowest=0),
            snapshot_elapsed_ms=_ms("snapshot_elapsed", snapshot_elapsed, or_zero=True),
        ),
        heartbeat_ms=_ms("heartbeat_interval", heartbeat_interval),
        vote_timeout_ms=None if vote_timeout is None else _vote_timeout_ms(vote_timeout),
        retry_ms=_ms("retry_interval", retry_interval),
        tick_ms=TICK_MS,
        priority=_priority(priority),
        appointed_leader=_appointed(appointed_leader, members),
        storage_stall_timeout=_stall_timeout(storage_stall_timeout),
        paranoid=_flag("paranoid", paranoid),
        upgrade_hold=_seconds_or_never("upgrade_hold", upgrade_hold),
        alone=_flag("found", found),
        joins=_flag("join", join),
        calls=InThreads() if threads else InLoop(),
        clock=Clock(),
        rng=random.SystemRandom(),
        limits={
            "snapshot_bytes_per_second": _count(
                "snapshot_bytes_per_second", snapshot_bytes_per_second, lowest=0
            )
        },
    )
    if plan.joins and plan.alone:
        raise ConfigError("found and join contradict each other: a node that joins founds nothing")
    check_settings(plan.settings, heartbeat_ms=plan.heartbeat_ms, voters=len(plan.members))
    return plan


def refuse_unknown(unknown: Mapping[str, object], known: list[str]) -> None:
    """Raises ConfigError for the first unknown setting, and says which one may be meant."""
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise ConfigError(f"unknown setting {name}{hint}")


def refuse_unlike(name: str, value: object, method: str) -> None:
    """Raises ConfigError for an object that lacks what one of its kind has."""
    if not hasattr(value, method):
        raise ConfigError(f"{name} must be an object with `{method}`, got {value!r:.80}")


def _node_id(value: object) -> NodeId:
    try:
        return node_id(value)
    except MalformedError as error:
        raise ConfigError(f"id must be 1 to 64 printable characters, got {value!r:.80}") from error


def _members(value: object, own: NodeId) -> dict[NodeId, str]:
    """The founders' addresses by name."""
    if not isinstance(value, Mapping):
        raise ConfigError(f'members must be {{"a": "address", …}}, got {value!r:.80}')
    listed = cast("Mapping[object, object]", value)
    members = {_node_id(it): _address(it, address) for it, address in listed.items()}
    if own not in members:
        raise ConfigError(
            f"id {own!r} is not in members, which are {', '.join(members) or 'empty'}"
        )
    if len(members) > MEMBERS_MAX:
        raise ConfigError(f"{len(members)} members, at most {MEMBERS_MAX} are possible")
    places: dict[str, NodeId] = {}
    for name, address in members.items():
        if address in places:
            raise ConfigError(
                f"members {places[address]} and {name} have the same address {address!r}"
            )
        places[address] = name
    return members


def _address(member: object, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"members: the address of {member!r:.80} must be text, got {value!r:.80}")
    return value


def _ms(name: str, seconds: object, *, or_zero: bool = False) -> int:
    """Seconds as whole milliseconds; with `or_zero` there may be none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ConfigError(f"{name} must be a number of seconds, got {seconds!r:.80}")
    if not (0.001 <= seconds < math.inf or (or_zero and seconds == 0)):
        raise ConfigError(
            f"{name} must be {'0 or ' if or_zero else ''}at least 0.001 seconds and finite, got {seconds!r}"
        )
    return round(seconds * 1000)


def _seconds_or_never(name: str, seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise ConfigError(
            f"{name} must be a number of seconds, 0 or more, or inf for never, got {seconds!r:.80}"
        )
    return float(seconds)


def _stall_timeout(value: object) -> float | None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
    ):
        raise ConfigError(
            "storage_stall_timeout must be a number of seconds above 0, inf for never, or None for the "
            f"larger of 1 s and twice the upper election_timeout, got {value!r:.80}"
        )
    return None if value is None else float(value)


def _bounds_ms(name: str, bounds: object) -> tuple[int, int]:
    match bounds:
        case (float() | int() as low, float() | int() as high):
            return _ms(name, low), _ms(name, high)
        case _:
            raise ConfigError(
                f"{name} must be two numbers of seconds (low, high), got {bounds!r:.80}"
            )


def _vote_timeout_ms(bounds: object) -> tuple[int, int]:
    found = _bounds_ms("vote_timeout", bounds)
    check_bounds("vote_timeout", found)
    return found


def _count(name: str, value: object, *, lowest: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"{name} must be a whole number, at least {lowest}, got {value!r:.80}")
    return value


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not PRIORITY_MIN <= value <= 0:
        raise ConfigError(
            f"priority must be a whole number from {PRIORITY_MIN} to 0, got {value!r:.80}: "
            "0 campaigns first, each step below waits longer"
        )
    return value


def _appointed(value: object, members: object) -> NodeId | None:
    """A founder's name, as the group is founded; nothing checks it against later members."""
    if value is None:
        return None
    try:
        name = node_id(value)
    except MalformedError as error:
        raise ConfigError(
            f"appointed_leader must be a member's name or None, got {value!r:.80}"
        ) from error
    if isinstance(members, Mapping) and name not in members:
        raise ConfigError(
            f"appointed_leader {name!r} is not in members: nobody else would ever campaign"
        )
    return name


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, got {value!r:.80}")
    return value
