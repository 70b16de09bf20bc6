"""How a machine is declared: plain Python state, methods that change it, methods that look at it.

Laws: names and annotations are checked when the class is made (what decides needs no other module), types
when the machine is opened (`schema.py`). On the class, a method builds a value; on a free object it is a
plain call; on an object that a node owns it runs only inside `apply` or a read.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import CellType, MethodType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

import attrs

from raftkit.errors import ConfigError, LocalProtocolError, Rejected
from raftkit.statemachine.annotations import since_of
from raftkit.statemachine.context import Context, Unasked
from raftkit.statemachine.upgrades import UpgradeMethod, check_upgrades

__all__ = [
    "Call",
    "Command",
    "CommandMethod",
    "Method",
    "Ownership",
    "Query",
    "QueryMethod",
    "StateMachine",
    "check_decorated",
    "command",
    "methods_of",
    "query",
]

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="StateMachine")
M_contra = TypeVar("M_contra", bound="StateMachine", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Ownership(Enum):
    """What an object that a node owns is doing while no command is applied to it."""

    AT_REST = "at rest"
    BEING_READ = "being read"


class StateMachine:
    """Derive from it, decorate with ``@attrs.define``, and declare fields, commands and queries.

    The fields are the replicated state: only they are in snapshots, and only commands may change them.
    """

    # A slot, not an attrs field: not in ==, repr or snapshot. Unset: a free object.
    __slots__ = ("__raft_context__",)
    __raft_context__: Context | Unasked | Ownership

    snapshot_mode: ClassVar[Literal["beside", "pause"]] = "beside"
    """"beside": fields are immutable, or dicts and lists of immutable values, copied one level and written
    while applying goes on. "pause": anything that has a codec, and applying waits while it is written."""

    def __new__(cls, *_: object, **__: object) -> Self:
        """Refuses a class without ``@attrs.define``, whose fields would be nobody's."""
        check_decorated(cls)
        return super().__new__(cls)

    def __init_subclass__(cls) -> None:
        """Called by Python, before attrs drops whatever is named like a field of a base."""
        bases = [vars(base).get("__attrs_attrs__", ()) for base in cls.__mro__[1:]]
        inherited = {field.name for fields in bases for field in fields}
        for name, it in vars(cls).items():
            if isinstance(it, Method | UpgradeMethod) and name in inherited:
                raise _both(cls, name)

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        """Called by attrs once the class is complete."""
        check_class(cls)

    def next_deadline(self) -> int | None:
        """When time alone should change the state next, as `ctx.elapsed_ns` counts it; None: never.

        Override it together with `on_clock`. It looks at the fields, often, and changes nothing. The leader
        has a clock entry appended when that time has come; a deadline that passed gets one only once.
        """
        return None

    def on_clock(self) -> None:
        """Do what is due by `self.ctx.elapsed_ns`, such as ending leases. Called on every node alike.

        Applied like a command, with `self.ctx` set, at every clock entry. There may be more of those than
        deadlines, and each may be late. An exception is logged, and what was changed stays changed.
        """

    @property
    def ctx(self) -> Context:
        """What the command being applied may know: index, stamps, chance."""
        held: Context | Unasked | Ownership | None = getattr(self, "__raft_context__", None)
        match held:
            case Context():
                return held
            case functools.partial():
                self.__raft_context__ = context = held()
                return context
            case _:
                raise LocalProtocolError(
                    "self.ctx is there only while a command is applied; in a test: "
                    "with raftkit.testing.applying(machine): …"
                )


# ── what calls on the class build ────────────────────────────────────────────────────────────────────


@attrs.frozen
class Call(Generic[M_contra, R_co]):
    """A method of a machine and its arguments: a value. Never waits, never fails."""

    machine: type[StateMachine]
    "The class on which it was built."
    name: str
    "The method's."
    arguments: tuple[object, ...] = attrs.field(hash=False)
    "All of them in declared order: defaults were filled in when the value was built, not at apply."

    def __str__(self) -> str:
        parameters = methods_of(self.machine)[self.name].parameters
        shown = (
            f"{it.name}={value!r}" for it, value in zip(parameters, self.arguments, strict=True)
        )
        return f"{self.machine.__name__}.{self.name}({', '.join(shown)})"


@attrs.frozen(str=False)
class Command(Call[M_contra, R_co]):
    """What ``Counter.add(amount=5)`` is: give it to `node.execute`."""


@attrs.frozen(str=False)
class Query(Call[M_contra, R_co]):
    """What ``Counter.value()`` is: give it to `node.read`."""


# ── descriptors ──────────────────────────────────────────────────────────────────────────────────────


class Method(Generic[P, R]):
    """What a declared method has become in its class."""

    call: type[Call[Any, Any]]
    "What it builds on the class."

    def __init__(self, function: Callable[Concatenate[Any, P], R], *, since: int = 1) -> None:
        signature = inspect.signature(function)
        self.function = function
        self.name = function.__name__
        self.since = since
        self.parameters = tuple(signature.parameters.values())[1:]
        self.signature = signature.replace(parameters=self.parameters)
        self.__doc__ = function.__doc__
        self._builders: dict[type[StateMachine], Callable[..., Call[Any, Any]]] = {}
        self._check(function.__qualname__, signature)

    def _check(self, where: str, signature: inspect.Signature) -> None:
        flags = self.function.__code__.co_flags
        if flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
            raise ConfigError(f"{where} must be a plain function: no async, no yield")
        if not signature.parameters:
            raise ConfigError(f"{where} needs a first parameter: self")
        if signature.return_annotation is signature.empty:
            raise ConfigError(f"{where} must say what it returns, such as `-> int` or `-> None`")
        for it in self.parameters:
            if it.kind not in (it.POSITIONAL_OR_KEYWORD, it.KEYWORD_ONLY):
                raise ConfigError(
                    f"{where}: `{it}`: every parameter needs a name of its own: no *, no /"
                )
            if it.annotation is it.empty:
                raise ConfigError(
                    f"{where}: {it.name} needs an annotation, such as `{it.name}: int`"
                )
            check_default(where, it.name, it.default)
        if type(self.since) is not int or self.since < 1:
            raise ConfigError(f"{where}: since={self.since!r} must be a version, from 1 on")

    @property
    def __closure__(self) -> tuple[CellType, ...] | None:
        # attrs rebuilds a class to give it slots, and looks here to mend zero-argument super().
        return self.function.__closure__

    def builder(self, owner: type[StateMachine]) -> Callable[..., Call[Any, Any]]:
        """What takes the method's arguments and makes its value. Raises ConfigError for half a class."""
        if owner not in self._builders:
            check_decorated(owner)
            self._builders[owner] = self._make_builder(owner)
        return self._builders[owner]

    def _make_builder(self, owner: type[StateMachine]) -> Callable[..., Call[Any, Any]]:
        # Generated, as attrs does it: `Signature.bind` would take 4 µs of every call.
        space: dict[str, Any] = {"__call": self.call, "__owner": owner, "__name": self.name}
        head: list[str] = []
        for it in self.parameters:
            if it.kind is it.KEYWORD_ONLY and "*" not in head:
                head.append("*")
            space[f"__default_{it.name}"] = it.default
            head.append(it.name if it.default is it.empty else f"{it.name}=__default_{it.name}")
        values = "".join(f"{it.name}, " for it in self.parameters)
        source = f"def build({', '.join(head)}): return __call(__owner, __name, ({values}))"
        exec(source, space)  # noqa: S102 - made of parameters' names, which are identifiers
        build: Callable[..., Call[Any, Any]] = space["build"]
        functools.update_wrapper(build, self.function)
        # help(), Sphinx and editors show it without self; __wrapped__ would show it with.
        del build.__dict__["__wrapped__"]
        build.__dict__["__signature__"] = self.signature
        return build


class CommandMethod(Method[P, R]):
    """Changes the state; see `command`."""

    call = Command  # bare: an alias would try to write itself into each value

    def __init__(
        self,
        function: Callable[Concatenate[Any, P], R],
        *,
        since: int = 1,
        rejects: Iterable[type[Rejected]] = (),
    ) -> None:
        super().__init__(function, since=since)
        self.rejects = tuple(rejects)
        names = [it.__name__ for it in self.rejects]
        for it in self.rejects:
            if Rejected not in it.__mro__ or "__attrs_attrs__" not in vars(it):
                raise ConfigError(
                    f"{function.__qualname__}: rejects {it.__name__}, which must be an "
                    "@attrs.frozen subclass of Rejected"
                )
        if len({*names, "Rejected"}) != len(names) + 1:
            raise ConfigError(f"{function.__qualname__}: rejects two classes of one name: {names}")

    @overload
    def __get__(self, machine: None, owner: type[M]) -> Callable[P, Command[M, R]]: ...
    @overload
    def __get__(self, machine: StateMachine, owner: type[M]) -> Callable[P, R]: ...
    def __get__(self, machine: StateMachine | None, owner: type[M]) -> Any:
        if machine is None:
            return self.builder(owner)
        if isinstance(getattr(machine, "__raft_context__", None), Ownership):
            return functools.partial(_refuse_command, self, owner)
        return MethodType(self.function, machine)


class QueryMethod(Method[P, R]):
    """Looks at the state; see `query`."""

    call = Query

    @overload
    def __get__(self, machine: None, owner: type[M]) -> Callable[P, Query[M, R]]: ...
    @overload
    def __get__(self, machine: StateMachine, owner: type[M]) -> Callable[P, R]: ...
    def __get__(self, machine: StateMachine | None, owner: type[M]) -> Any:
        if machine is None:
            return self.builder(owner)
        if getattr(machine, "__raft_context__", None) is Ownership.AT_REST:
            return functools.partial(_refuse_query, self, owner)
        return MethodType(self.function, machine)


def _written(
    method: Method[..., Any], owner: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    arguments = [f"{it!r:.40}" for it in args] + [
        f"{name}={it!r:.40}" for name, it in kwargs.items()
    ]
    return f"{owner.__name__}.{method.name}({', '.join(arguments)})"


def _refuse_command(method: Method[..., Any], owner: type, *args: Any, **kwargs: Any) -> NoReturn:
    raise LocalProtocolError(
        "a node owns this machine, and the call would change one replica only; write: "
        f"await node.execute({_written(method, owner, args, kwargs)})"
    )


def _refuse_query(method: Method[..., Any], owner: type, *args: Any, **kwargs: Any) -> NoReturn:
    raise LocalProtocolError(
        "a node owns this machine, and it may lag behind the group; write: "
        f"await node.read({_written(method, owner, args, kwargs)})"
    )


# ── decorators ───────────────────────────────────────────────────────────────────────────────────────


@overload
def command(function: Callable[Concatenate[Any, P], R], /) -> CommandMethod[P, R]: ...
@overload
def command(
    *, since: int = 1, rejects: Iterable[type[Rejected]] = ()
) -> Callable[[Callable[Concatenate[Any, P], R]], CommandMethod[P, R]]: ...
def command(function: Any = None, /, **options: Any) -> Any:
    """Declare a method that changes the state, deterministically, from arguments, fields and `self.ctx`.

    `since` is the version of the machine in which it is new; `rejects` lists attrs subclasses of
    `Rejected` that reach the caller typed. Raises ConfigError for what can't be a command.
    """
    return (
        functools.partial(CommandMethod, **options) if function is None else CommandMethod(function)
    )


def query(function: Callable[Concatenate[Any, P], R], /) -> QueryMethod[P, R]:
    """Declare a method that looks at the state and changes nothing.

    Raises ConfigError for what can't be a query.
    """
    return QueryMethod(function)


# ── refusals when a class is made ────────────────────────────────────────────────────────────────────


def methods_of(machine: type[StateMachine]) -> dict[str, Method[..., Any]]:
    """Commands and queries of `machine` and its bases, by name."""
    found: dict[str, Method[..., Any]] = {}
    for base in reversed(machine.__mro__):
        found |= {name: it for name, it in vars(base).items() if isinstance(it, Method)}
    return dict(sorted(found.items()))


def check_decorated(machine: type[StateMachine]) -> None:
    """Raises ConfigError unless attrs made `machine` itself, not only a base of it."""
    if dataclasses.is_dataclass(machine):
        raise ConfigError(
            f"{machine.__name__} is a @dataclass: decorate it with @attrs.define instead"
        )
    if machine is not StateMachine and "__attrs_attrs__" not in vars(machine):
        raise ConfigError(
            f"{machine.__name__} needs its own @attrs.define, or its fields are nobody's"
        )


def check_default(where: str, name: str, default: object) -> None:
    """Raises ConfigError for a default that its users would share."""
    if type(default).__hash__ is None:
        raise ConfigError(
            f"{where}: the default of {name} is a {type(default).__name__}, which all would share: "
            f"write attrs.field(factory={type(default).__name__}) for a field, a tuple for a parameter"
        )


_BY_TIME = ("next_deadline", "on_clock")
"Methods that a node calls by itself."


def _both(machine: type, name: str) -> ConfigError:
    return ConfigError(
        f"{machine.__name__}.{name} is both a field and a command, query or upgrade: rename one"
    )


def check_class(machine: type[StateMachine]) -> None:
    """Everything about a class that can be said before types are resolved. Raises ConfigError."""
    name = machine.__name__
    methods = methods_of(machine)
    if attrs.inspect(machine).is_frozen:
        raise ConfigError(
            f"{name} is frozen: decorate it with @attrs.define, so that commands can change it"
        )
    if machine.__dictoffset__:
        raise ConfigError(
            f"{name} has a __dict__, whose content no snapshot holds: leave slots on, "
            "and give every base without fields `__slots__ = ()`"
        )
    if machine.snapshot_mode not in {"beside", "pause"}:
        raise ConfigError(
            f'{name}.snapshot_mode must be "beside" or "pause", got {machine.snapshot_mode!r}'
        )
    for field in attrs.fields(cast("type[attrs.AttrsInstance]", machine)):
        check_default(name, field.name, field.default)
        if field.name == "ctx":
            raise ConfigError(
                f"{name} has a field named ctx, which is what commands know: rename it"
            )
        if field.name in _BY_TIME:
            raise ConfigError(
                f"{name} has a field named {field.name}, which is what time calls: rename it"
            )
        # A method below its field replaced the field's default; one in another class hides the field.
        if field.name in methods or isinstance(field.default, Method | UpgradeMethod):
            raise _both(machine, field.name)
        if since_of([dict(field.metadata)]) > 1 and field.default is attrs.NOTHING:
            raise ConfigError(
                f"{name}.{field.name} begins in a later version, so it needs a default"
            )
    check_upgrades(machine)
    for key in _BY_TIME:
        if inspect.iscoroutinefunction(inspect.getattr_static(machine, key)):
            raise ConfigError(f"{name}.{key} must be a plain function: no async")
    for key, method in methods.items():
        if key in _BY_TIME:
            raise ConfigError(
                f"{name}.{key} is called by time, not by callers: declare it without a decorator"
            )
        if method.name != key:
            raise ConfigError(f"{name}.{key} is {method.name} under another name: declare it once")
        if inspect.getattr_static(machine, key) is not method:
            raise ConfigError(
                f"{name}.{key} hides a command or query: decorate it with @command or @query"
            )
