"""Hypothesis strategies for the commands and queries of a machine, from its annotations.

Laws: whatever is drawn is something that `execute` accepts, and every kind of value that it accepts is drawn.
Small values are drawn as often as any, so that the commands of one log meet at the same keys. What is of
a later version than `version` keeps its default.
"""

from __future__ import annotations

import math
import types
import typing
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

import attrs

from raftkit.errors import LocalProtocolError
from raftkit.statemachine import Command, Query, StateMachine, schema_of
from raftkit.statemachine.annotations import hints_of, since_of
from raftkit.statemachine.declaration import Call, CommandMethod, Method, QueryMethod, methods_of
from raftkit.statemachine.values import INT_BITS_MAX
from raftkit.testing.with_hypothesis import hypothesis, st

__all__ = ["Drawing", "commands", "queries"]

M = TypeVar("M", bound=StateMachine)
_ITEMS_MAX = 5
"In a list or dict of a command."


def commands(
    machine: type[M], *, version: int = 1, int_bits_max: int = INT_BITS_MAX
) -> st.SearchStrategy[Command[M, Any]]:
    """Any command that a group accepts while `version` of the machine is in force.

    Fewer `int_bits_max` leave room for sums: a state with an int of more than 512 bits can't be written.
    A strategy in an annotation, ``Annotated[int, st.integers(0, 9)]``, is taken as it is.

    Raises ConfigError for a machine that can't be replicated, LocalProtocolError for one without commands.
    """
    return _calls(machine, CommandMethod, Drawing(version=version, int_bits_max=int_bits_max))


def queries(
    machine: type[M], *, version: int = 1, int_bits_max: int = INT_BITS_MAX
) -> st.SearchStrategy[Query[M, Any]]:
    """Any query of the machine. Options and errors as of `commands`."""
    return _calls(machine, QueryMethod, Drawing(version=version, int_bits_max=int_bits_max))


def _calls(machine: Any, kind: type[Method[..., Any]], drawing: Drawing) -> st.SearchStrategy[Any]:
    if not isinstance(machine, type) or not issubclass(machine, StateMachine):
        raise LocalProtocolError(
            f"calls are drawn for a class derived from StateMachine, got {machine!r:.80}: only whoever wrote "
            "a bytes machine knows its commands, so give a strategy"
        )
    schema_of(machine, drawing.version)  # it refuses in one line what has no codec
    methods = methods_of(machine).values()
    found = [it for it in methods if isinstance(it, kind) and it.since <= drawing.version]
    if not found:
        raise LocalProtocolError(
            f"{machine.__name__} declares nothing to call in version {drawing.version}"
        )
    return st.one_of([drawing.calls(machine, it) for it in found])


@attrs.frozen(kw_only=True)
class Drawing:
    """Values by their annotations."""

    version: int = 1
    "What is of a later one keeps its default."
    int_bits_max: int = INT_BITS_MAX
    "Of any int."

    def calls(
        self, machine: type[StateMachine], method: Method[..., Any]
    ) -> st.SearchStrategy[Call[Any, Any]]:
        """Any call of one method of `machine`."""
        hints = hints_of(method.function)
        drawn = {
            it.name: self.values(hints[it.name])
            for it in method.parameters
            if since_of(getattr(hints[it.name], "__metadata__", ())) <= self.version
        }
        return _named(drawn).map(lambda given: method.builder(machine)(**given))

    def values(self, annotation: Any) -> st.SearchStrategy[Any]:
        """Any value that `annotation`, which has a codec, allows and that has bytes."""
        arguments = typing.get_args(annotation)
        match typing.get_origin(annotation):
            case None:
                return self._plain(annotation)
            case origin if origin is Annotated:
                own: list[Any] = [it for it in arguments if isinstance(it, st.SearchStrategy)]
                return own[0] if own else self.values(arguments[0])
            case origin if origin is Literal:
                return st.sampled_from(arguments)
            case typing.Union | types.UnionType:
                return st.one_of([self.values(it) for it in arguments])
            case origin if origin is list:
                return st.lists(self.values(arguments[0]), max_size=_ITEMS_MAX)
            case origin if origin is dict:
                key, value = map(self.values, arguments)
                return st.dictionaries(key, value, max_size=_ITEMS_MAX)
            case _ if arguments[1:] == (Ellipsis,):
                return st.lists(self.values(arguments[0]), max_size=_ITEMS_MAX).map(tuple)
            case _:
                return st.tuples(*map(self.values, arguments))

    def _plain(self, annotation: Any) -> st.SearchStrategy[Any]:
        if annotation in _PRIMITIVES:
            return _PRIMITIVES[annotation]
        if annotation is int:
            return self._ints()
        if annotation is float:
            # Python lets an int pass for a float, and so does the codec.
            return (
                st.sampled_from([0.0, -0.0, 0.5, math.inf])
                | st.floats(allow_nan=False)
                | self._ints()
            )
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return st.sampled_from(annotation)
        if isinstance(annotation, type) and attrs.has(annotation):
            return self._records(annotation)
        # NewType and `type X = …` are names for another annotation.
        renamed = "__supertype__" if hasattr(annotation, "__supertype__") else "__value__"
        return self.values(getattr(annotation, renamed))

    def _ints(self) -> st.SearchStrategy[int]:
        highest = (1 << self.int_bits_max) - 1
        # On both sides of where the bytes of an int take another form.
        edges = [it + near for it in (-(1 << 64), 1 << 64) for near in (-1, 0, 1)]
        return (
            st.integers(-2, 9)
            | st.integers(max(-100, -highest), min(1000, highest))
            | st.sampled_from([*(it for it in edges if abs(it) <= highest), highest, -highest])
            | st.integers(-highest, highest)
        )

    def _records(self, kind: type[Any]) -> st.SearchStrategy[Any]:
        """Made by their constructor; what its validators refuse is not drawn."""
        hints = hints_of(kind)
        given = {
            it.alias: self.values(hints[it.name])
            for it in attrs.fields(kind)
            if it.init and since_of([dict(it.metadata)]) <= self.version
        }

        @st.composite
        def record(draw: st.DrawFn) -> Any:
            arguments = draw(_named(given))
            try:
                return kind(**arguments)
            except Exception:  # noqa: BLE001 - a validator may raise anything
                hypothesis.reject()

        return record()


def _named(drawn: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    # `fixed_dictionaries` draws the order too, in which Hypothesis then gets lost when it simplifies.
    return st.tuples(*drawn.values()).map(lambda found: dict(zip(drawn, found, strict=True)))


_PRIMITIVES: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    type(None): st.none(),
    bool: st.booleans(),
    # What `st.text()` is too, but that asks a codec about every character: a second or two, once a directory.
    str: st.sampled_from("abc") | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    bytes: st.sampled_from([b"", b"a", b"b"]) | st.binary(max_size=20),
}
