"""What a machine does when a version comes in force: `@upgrade`, for whatever `since` can't say.

Laws: an upgrade runs once, on every node alike, at the entry that brings its version in force. It may change
any field, and knows no more than a command does. A machine begins as version 1, whatever its code has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import CellType, MethodType
from typing import Any, overload

from raftkit.errors import ConfigError, LocalProtocolError
from raftkit.statemachine.context import Context

__all__ = ["UpgradeMethod", "check_upgrades", "upgrade", "upgrades_of"]


class UpgradeMethod:
    """What a method under `upgrade` has become in its class."""

    def __init__(self, function: Callable[[Any], None], *, to: int) -> None:
        self.function = function
        self.name = function.__name__
        self.to = to
        self.__doc__ = function.__doc__
        where, flags = function.__qualname__, function.__code__.co_flags
        if flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
            raise ConfigError(f"{where} must be a plain function: no async, no yield")
        if len(inspect.signature(function).parameters) != 1:
            raise ConfigError(f"{where} takes self, and nothing else: nobody is there to call it")
        if type(to) is not int or to < 2:
            raise ConfigError(
                f"{where}: to={to!r} must be a version, from 2 on: a machine begins as version 1"
            )

    @property
    def __closure__(self) -> tuple[CellType, ...] | None:
        # attrs rebuilds a class to give it slots, and looks here to mend zero-argument super().
        return self.function.__closure__

    @overload
    def __get__(self, machine: None, owner: type) -> UpgradeMethod: ...
    @overload
    def __get__(self, machine: object, owner: type) -> Callable[[], None]: ...
    def __get__(self, machine: object | None, owner: type) -> Any:
        if machine is None:
            return self
        held = getattr(machine, "__raft_context__", None)
        if held is not None and not isinstance(held, Context | partial):
            raise LocalProtocolError(
                f"a node owns this machine, and {owner.__name__}.{self.name} runs by itself when version "
                f"{self.to} comes in force; to have that now, write: await node.upgrade()"
            )
        return MethodType(self.function, machine)


def upgrade(*, to: int) -> Callable[[Callable[[Any], None]], UpgradeMethod]:
    """Declare the method that makes a state of version `to` of one of the version before.

    ``@upgrade(to=2)``, over a method without parameters. It runs on every node when `to` comes in force,
    with `self.ctx`, before any command of that version. What it raises ends each node that comes to it:
    nothing is lost, and mended code goes on from there. Raises ConfigError for what can't be an upgrade.
    """
    return lambda function: UpgradeMethod(function, to=to)


def upgrades_of(machine: type) -> dict[int, UpgradeMethod]:
    """The upgrades of `machine` and its bases, by the version that they lead to."""
    named: dict[str, UpgradeMethod] = {}
    for base in reversed(machine.__mro__):
        named |= {name: it for name, it in vars(base).items() if isinstance(it, UpgradeMethod)}
    return {it.to: it for it in named.values()}


def check_upgrades(machine: type) -> None:
    """Raises ConfigError for two upgrades to one version, and for one that a subclass hides."""
    found: dict[int, str] = {}
    for key in dir(machine):
        it = inspect.getattr_static(machine, key)
        if not isinstance(it, UpgradeMethod):
            continue
        other = found.setdefault(it.to, key)
        if other != key:
            raise ConfigError(
                f"{machine.__name__} has two upgrades to version {it.to}, {other} and {key}: make them one"
            )
    for to, it in upgrades_of(machine).items():
        if to not in found:
            raise ConfigError(
                f"{machine.__name__}.{it.name} hides an upgrade: decorate it with @upgrade(to={to})"
            )
