"""From annotations to codecs: once a machine is opened, for one version in force.

Laws: an attrs class is its fields by position, those of later versions behind, in the order of their
versions; so an older value is a prefix, and what is unknown is never dropped. A class must be frozen
and may not contain itself: depth is known before a value is.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, Flag
from typing import Annotated, Any, Literal, cast

import attrs

from raftkit import encoding
from raftkit.errors import ConfigError, NotYetEnabled
from raftkit.statemachine import values
from raftkit.statemachine.values import Codec, Refused, exactly, shown

__all__ = [
    "DEPTH_MAX",
    "Field",
    "codec_of",
    "fields_of",
    "hints_of",
    "prefixes",
    "since",
    "since_of",
]

DEPTH_MAX = encoding.DEPTH_MAX - 2
"Nesting of one value: commands and snapshots wrap values in lists of their own."

_SINCE = "raftkit.since"


def since(version: int) -> dict[str, int]:
    """Mark a parameter or a field as new in `version` of the machine.

    ``note: Annotated[str, since(2)] = ""``, or ``attrs.field(default="", metadata=since(2))``.
    Raises ConfigError below 2: everything unmarked is of version 1.
    """
    if type(version) is not int or version < 2:
        raise ConfigError(f"since({version!r}): a version from 2 on; what is not marked is of 1")
    return {_SINCE: version}


def since_of(metadata: Iterable[Any]) -> int:
    """The version that `since` put among `metadata`; 1 if it didn't."""
    marks = (cast("dict[Any, int]", it) for it in metadata if isinstance(it, dict))
    return max((it.get(_SINCE, 1) for it in marks), default=1)


def hints_of(owner: Any) -> dict[str, Any]:
    """Annotations of a class or function, names resolved. Raises Refused where a name is unknown."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise Refused(
            f"an annotation of {owner.__qualname__} can't be resolved: {error}; define or import what it "
            "names at module level, not under TYPE_CHECKING: types are looked up when a machine is opened"
        ) from error


def codec_of(annotation: Any, version: int, *, inside: tuple[type, ...] = ()) -> Codec:
    """The codec of `annotation` while `version` is in force. Raises Refused for what has none."""
    codec = _codec(annotation, version, inside)
    if codec.depth > DEPTH_MAX:
        raise Refused(f"nested {codec.depth} deep, the limit is {DEPTH_MAX}")
    return codec


def _codec(annotation: Any, version: int, inside: tuple[type, ...]) -> Codec:
    def of(it: Any) -> Codec:
        return codec_of(it, version, inside=inside)

    if isinstance(annotation, type | None) and annotation in values.PRIMITIVES:
        return values.PRIMITIVES[annotation]
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case origin if origin is Annotated:
            return of(arguments[0])
        case origin if origin is Literal:
            return values.literal_codec(arguments)
        case typing.Union | types.UnionType:
            return values.union_codec([of(it) for it in arguments])
        case origin if origin is list:
            return values.list_codec(of(arguments[0]))
        case origin if origin is dict:
            return values.dict_codec(of(arguments[0]), of(arguments[1]))
        case origin if origin is tuple and arguments[1:] == (Ellipsis,):
            return values.row_codec(of(arguments[0]))
        case origin if origin is tuple:
            return values.tuple_codec([of(it) for it in arguments])
        case _:
            pass
    if (
        isinstance(annotation, type)
        and issubclass(annotation, Enum)
        and not issubclass(annotation, Flag)
    ):
        return values.enum_codec(annotation)
    if isinstance(annotation, type) and attrs.has(annotation):
        return _record_codec(annotation, version, inside)
    # NewType and `type X = …` are names for another annotation.
    for renamed in ("__supertype__", "__value__"):
        if hasattr(annotation, renamed):
            return of(getattr(annotation, renamed))
    raise Refused(_no_codec(annotation))


def _no_codec(annotation: Any) -> str:
    kind = typing.get_origin(annotation) or annotation
    name = getattr(annotation, "__name__", str(annotation))
    if kind in (set, frozenset):
        return f"a {name} has another order in every process: use dict[…, None] or tuple[…, ...]"
    if kind in (list, dict):
        return f"{name} of what? Write {'list[str]' if kind is list else 'dict[str, int]'}"
    return (
        f"{name} has no codec: use None, bool, int, float, str, bytes, list, tuple, dict, unions, "
        "Literal, Enum, or an @attrs.frozen class of such"
    )


# ── attrs classes and parameters ─────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Field:
    """A field of an attrs class, or a parameter of a command."""

    name: str
    "Its name in Python."
    codec: Codec
    "Of its annotation."
    since: int = 1
    "It is written from this version on."
    default: Callable[[], object] | None = None
    "Makes the value where it was not written. None only where it always is."

    @property
    def versions(self) -> frozenset[int]:
        """The versions that it names."""
        return self.codec.versions | {self.since}

    def encode(self, value: object) -> Any:
        """`value` for CBOR. Raises Refused with this field's name."""
        try:
            return self.codec.encode(value)
        except Refused as refused:
            raise refused.at(f".{self.name}") from None

    def decode(self, plain: object) -> Any:
        """The way back. Raises Refused with this field's name."""
        try:
            return self.codec.decode(plain)
        except Refused as refused:
            raise refused.at(f".{self.name}") from None

    def leave_out(self, value: object, version: int) -> None:
        """Assent to not writing `value`, because it is the default. Raises NotYetEnabled otherwise."""
        assert self.default is not None
        if value is (default := self.default()):
            return
        # By bytes: -0.0 equals 0.0, and 0 equals False.
        if encoding.dumps(self.encode(value)) != encoding.dumps(self.encode(default)):
            raise NotYetEnabled(
                f"{self.name} = {shown(value)} needs version {self.since} of the machine, and version "
                f"{version} is in force until every voter runs the new code"
            )


def prefixes(fields: Sequence[Field]) -> frozenset[int]:
    """How many of `fields`, in order, any version writes."""
    return frozenset(
        sum(it.since <= version for it in fields) for version in {1, *(f.since for f in fields)}
    )


def _default_of(attribute: attrs.Attribute[Any]) -> Callable[[], object] | None:
    """What makes the default of an attrs field. Raises Refused for one that looks at the object."""
    default: Any = attribute.default
    if default is attrs.NOTHING:
        return None
    # To type checkers Factory is a function.
    if isinstance(default, cast("type[Any]", attrs.Factory)):
        if default.takes_self:
            raise Refused(
                f"{attribute.name}: a default made from the object itself has no meaning here"
            )
        return cast("Callable[[], object]", default.factory)
    return lambda: default


def fields_of(kind: type[Any], version: int, inside: tuple[type, ...] = ()) -> list[Field]:
    """The fields of an attrs class, in order, with codecs. Raises Refused with the name of the field."""
    hints = hints_of(kind)
    fields: list[Field] = []
    for attribute in attrs.fields(kind):
        name, begins = attribute.name, since_of([dict(attribute.metadata)])
        if name not in hints:
            raise Refused(f"{name} needs an annotation")
        try:
            codec = codec_of(hints[name], version, inside=inside)
        except Refused as refused:
            raise refused.at(f".{name}") from None
        default = _default_of(attribute) if begins > 1 else None
        if begins > 1 and default is None:
            raise Refused(f"{name} begins in version {begins}, so it needs a default")
        fields.append(Field(name=name, codec=codec, since=begins, default=default))
    return sorted(fields, key=lambda it: it.since)


def _record_codec(kind: type[Any], version: int, inside: tuple[type, ...]) -> Codec:
    if not attrs.inspect(kind).is_frozen:
        raise Refused(f"{kind.__name__} must be @attrs.frozen: a value never changes")
    if kind in inside:
        raise Refused(f"{kind.__name__} contains itself: nesting must have a bound")
    fields = fields_of(kind, version, (*inside, kind))
    written = [it for it in fields if it.since <= version]
    later = fields[len(written) :]
    lengths = prefixes(fields)

    def encode(value: object) -> list[object]:
        exactly(kind, value, kind.__name__)
        for it in later:
            it.leave_out(getattr(value, it.name), version)
        return [it.encode(getattr(value, it.name)) for it in written]

    def decode(plain: Any) -> object:
        items: list[Any] = exactly(list, plain, kind.__name__)
        if len(items) not in lengths:
            raise Refused(f"expected {kind.__name__} of {len(fields)} fields, got {len(items)}")
        # Neither converters nor validators: the value comes back as it went in.
        made = object.__new__(kind)
        for it, item in zip(fields, items, strict=False):
            object.__setattr__(made, it.name, it.decode(item))
        for it in fields[len(items) :]:
            assert it.default is not None
            object.__setattr__(made, it.name, it.default())
        return made

    return Codec(
        name=kind.__name__,
        schema=f"{kind.__name__}({', '.join(f'{it.name}: {it.codec.schema}' for it in written)})",
        encode=encode,
        decode=decode,
        types=(kind,),
        immutable=all(it.codec.immutable for it in fields),
        depth=1 + max((it.codec.depth for it in fields), default=0),
        parts=tuple(it.codec for it in fields),
        since=frozenset({1, *(it.since for it in fields)}),
    )
