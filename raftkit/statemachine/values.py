"""Values as CBOR has them, and back: exact, checked both ways, the same bytes on every node.

Laws: a value comes back as it went in, type and all (`True` is no int, and nothing is coerced). What
`encode` takes, `decode` returns: size of ints, NaN and surrogates are refused where the value is made.
`docs/command-format.md` has the bytes, and why this is not cattrs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from types import NoneType
from typing import Any

import attrs

__all__ = [
    "INT_BITS_MAX",
    "PRIMITIVES",
    "Codec",
    "Refused",
    "dict_codec",
    "enum_codec",
    "exactly",
    "list_codec",
    "literal_codec",
    "row_codec",
    "shown",
    "tuple_codec",
    "union_codec",
]

INT_BITS_MAX = 512
"Ints beyond this many bits are refused."

_U64 = 1 << 64
_BIG_BYTES_MAX = INT_BITS_MAX // 8 + 1


class Refused(Exception):
    """This value has no place here. Internal: whoever knows what the value is for turns it into words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""

    def at(self, step: str) -> Refused:
        """The same, seen from one level further out."""
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.')}: {self.why}" if self.path else self.why


Coder = Callable[[Any], Any]
"A value to what CBOR has, or back. Any: closures check what they are given. Raises Refused."


@attrs.frozen(kw_only=True)
class Codec:
    """How the values of one annotation are written and read."""

    name: str
    "Short; tells the members of a union apart."
    schema: str
    "The annotation and what is inside, in words: codecs of one schema write the same bytes."
    encode: Coder
    "Value → None, bool, int, float, str, bytes, or a list of such."
    decode: Coder
    "The way back, and a fresh object unless it is immutable."
    types: tuple[type, ...]
    "Exact types of the values."
    plain: str = ""
    """A Python expression, with `{0}` for a value, true only of values that CBOR holds as they are: `encode`
    and `decode` return those as they are given. "" where there is none."""
    immutable: bool = True
    "Whether no command can change a value in place."
    depth: int = 0
    "Lists inside lists."
    parts: tuple[Codec, ...] = ()
    "Codecs of what is inside. Of a list: its element; of a dict: key and value."
    since: frozenset[int] = frozenset({1})
    "The versions that begin a field of it, parts aside."

    @property
    def versions(self) -> frozenset[int]:
        """The versions that begin a field anywhere inside."""
        return self.since.union(*(it.versions for it in self.parts))


def shown(value: object) -> str:
    """`value` for a message: type and beginning."""
    # Python refuses to print very long ints.
    if isinstance(value, int) and value.bit_length() > INT_BITS_MAX:
        return f"int of {value.bit_length()} bits"
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"


def exactly(kind: type, value: object, name: str) -> Any:
    """`value`, if it is a `kind` and no subclass. Raises Refused, which says that `name` was expected."""
    if type(value) is not kind:
        raise Refused(f"expected {name}, got {shown(value)}")
    return value


# ── primitives: what CBOR has ────────────────────────────────────────────────────────────────────────


def _as_is(kind: type, name: str, plain: str) -> Codec:
    def check(value: object) -> object:
        return exactly(kind, value, name)

    return Codec(name=name, schema=name, encode=check, decode=check, types=(kind,), plain=plain)


def _encode_int(value: object) -> object:
    if type(value) is not int:
        raise Refused(f"expected int, got {shown(value)}")
    return value if -_U64 <= value < _U64 else _big(value)


def _big(value: int) -> bytes:
    # CBOR has a tag for these, and a tag is the one thing that our decoder never follows.
    if value.bit_length() > INT_BITS_MAX:
        raise Refused(f"expected int of at most {INT_BITS_MAX} bits, got {shown(value)}")
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _decode_int(value: object) -> object:
    if type(value) is int:
        return value
    if type(value) is bytes and len(value) <= _BIG_BYTES_MAX:
        number = int.from_bytes(value, "big", signed=True)
        # One number, one way to write it: or equal states could have different digests.
        if not -_U64 <= number < _U64 and _big(number) == value:
            return number
    raise Refused(f"expected int, got {shown(value)}")


def _encode_float(value: object) -> object:
    if type(value) is not float:
        # Where Python asks for a float it takes an int; it stays one, or arithmetic would differ
        # between a replica that computed a value and one that read it from a snapshot.
        if type(value) is int:
            return _encode_int(value)
        raise Refused(f"expected float, got {shown(value)}")
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        raise Refused("expected a number, got NaN, which equals nothing")
    return value


def _decode_float(value: object) -> object:
    return _encode_float(value) if type(value) is float else _decode_int(value)


def _check_str(value: object) -> object:
    if type(value) is not str:
        raise Refused(f"expected str, got {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused(f"expected text, got a lone surrogate in {value!r:.60}") from None
    return value


PRIMITIVES: dict[Any, Codec] = {
    None: _as_is(NoneType, "None", "{0} is None"),
    NoneType: _as_is(NoneType, "None", "{0} is None"),
    bool: _as_is(bool, "bool", "type({0}) is bool"),
    int: Codec(
        name="int",
        schema="int",
        encode=_encode_int,
        decode=_decode_int,
        types=(int,),
        plain=f"type({{0}}) is int and {-_U64} <= {{0}} < {_U64}",
    ),
    float: Codec(
        name="float",
        schema="float",
        encode=_encode_float,
        decode=_decode_float,
        types=(float, int),
        plain="type({0}) is float and {0} == {0}",
    ),
    str: Codec(
        name="str",
        schema="str",
        encode=_check_str,
        decode=_check_str,
        types=(str,),
        plain="type({0}) is str and {0}.isascii()",
    ),
    bytes: _as_is(bytes, "bytes", "type({0}) is bytes"),
}
"By annotation. (Python's own typing writes NoneType as None, and takes an int for a float.)"


# ── containers: arrays ───────────────────────────────────────────────────────────────────────────────


def _each(code: Coder, items: Sequence[Any]) -> list[Any]:
    coded: list[Any] = []
    for place, item in enumerate(items):
        try:
            coded.append(code(item))
        except Refused as refused:
            raise refused.at(f"[{place}]") from None
    return coded


def list_codec(item: Codec) -> Codec:
    """`list[item]`: an array."""
    return Codec(
        name="list",
        schema=(schema := f"list[{item.schema}]"),
        encode=lambda value: _each(item.encode, exactly(list, value, schema)),
        decode=lambda value: _each(item.decode, exactly(list, value, schema)),
        types=(list,),
        immutable=False,
        depth=1 + item.depth,
        parts=(item,),
    )


def row_codec(item: Codec) -> Codec:
    """`tuple[item, ...]`: an array."""
    return Codec(
        name="tuple",
        schema=(schema := f"tuple[{item.schema}, ...]"),
        encode=lambda value: _each(item.encode, exactly(tuple, value, schema)),
        decode=lambda value: tuple(_each(item.decode, exactly(list, value, schema))),
        types=(tuple,),
        immutable=item.immutable,
        depth=1 + item.depth,
        parts=(item,),
    )


def tuple_codec(items: Sequence[Codec]) -> Codec:
    """`tuple[a, b, c]`: an array of that length."""
    schema = f"tuple[{', '.join(it.schema for it in items)}]"

    def code(coders: Sequence[Coder], value: Sequence[Any]) -> list[Any]:
        if len(value) != len(coders):
            raise Refused(f"expected {schema}, got {len(value)} items")
        return _each(lambda pair: pair[0](pair[1]), list(zip(coders, value, strict=True)))

    encoders, decoders = [it.encode for it in items], [it.decode for it in items]
    return Codec(
        name="tuple",
        schema=schema,
        encode=lambda value: code(encoders, exactly(tuple, value, schema)),
        decode=lambda value: tuple(code(decoders, exactly(list, value, schema))),
        types=(tuple,),
        immutable=all(it.immutable for it in items),
        depth=1 + max((it.depth for it in items), default=0),
        parts=tuple(items),
    )


def dict_codec(key: Codec, value: Codec) -> Codec:
    """`dict[key, value]`: an array of key, value, key, value … in the order of insertion.

    No CBOR map: its keys would be of few types, and its order is nothing that CBOR promises.
    """
    schema = f"dict[{key.schema}, {value.schema}]"
    if not key.immutable:
        raise Refused(f"a key must be immutable: {key.schema}")

    def pairs(code_key: Coder, code_value: Coder, items: Any) -> list[Any]:
        flat: list[Any] = []
        for name, item in items:
            try:
                flat.append(code_key(name))
                flat.append(code_value(item))
            except Refused as refused:
                raise refused.at(f"[{name!r:.40}]") from None
        return flat

    def decode(plain: object) -> dict[Any, Any]:
        flat = exactly(list, plain, schema)
        if len(flat) % 2:
            raise Refused(f"expected {schema}, got a key without a value")
        read = pairs(key.decode, value.decode, zip(flat[::2], flat[1::2], strict=True))
        found = dict(zip(read[::2], read[1::2], strict=True))
        if len(found) != len(read) // 2:
            raise Refused(f"expected {schema}, got a key twice")
        return found

    return Codec(
        name="dict",
        schema=schema,
        encode=lambda plain: pairs(key.encode, value.encode, exactly(dict, plain, schema).items()),
        decode=decode,
        types=(dict,),
        immutable=False,
        depth=1 + max(key.depth, value.depth),
        parts=(key, value),
    )


# ── choices ──────────────────────────────────────────────────────────────────────────────────────────


def union_codec(members: Sequence[Codec]) -> Codec:
    """`a | b`: an array of the member's name and the value. `a | None`: null, or as `a` alone."""
    if any(float in it.types for it in members):
        members = [it for it in members if it.types != (int,)]  # a float's codec takes ints as well
    rest = [it for it in members if it.types != (NoneType,)]
    schema = " | ".join(it.schema for it in members)
    named = {it.name: it for it in rest}
    by_type = {kind: it for it in members for kind in it.types}
    if len(named) != len(rest) or len(by_type) != sum(len(it.types) for it in members):
        raise Refused(f"{schema}: its members can't be told apart by their types")
    nullable, alone = len(rest) != len(members), len(rest) == 1

    def encode(value: object) -> object:
        member = by_type.get(type(value))
        if member is None:
            raise Refused(f"expected {schema}, got {shown(value)}")
        if value is None and nullable:
            return None
        plain = member.encode(value)
        return plain if alone else [member.name, plain]

    def decode(value: Any) -> object:
        if value is None and nullable:
            return None
        if alone:
            return rest[0].decode(value)
        match value:
            case [str() as name, plain] if name in named:
                return named[name].decode(plain)
            case _:
                raise Refused(f"expected {schema}, got {shown(value)}")

    return Codec(
        name="union",
        schema=schema,
        encode=encode,
        decode=decode,
        types=tuple(by_type),
        plain=_plain_union(rest, nullable=nullable),
        immutable=all(it.immutable for it in members),
        depth=max(it.depth for it in members) + (not alone),
        parts=tuple(members),
    )


def _plain_union(rest: Sequence[Codec], *, nullable: bool) -> str:
    plain = rest[0].plain if len(rest) == 1 else ""  # of several, each is written with its name
    return f"({{0}} is None or {plain})" if plain and nullable else plain


def enum_codec(kind: type[Enum]) -> Codec:
    """An enumeration: the member's name, so that values may change."""

    def encode(value: object) -> object:
        if type(value) is not kind:
            raise Refused(f"expected {kind.__name__}, got {shown(value)}")
        return value.name

    def decode(value: object) -> object:
        if type(value) is not str or value not in kind.__members__:
            raise Refused(f"expected a name in {kind.__name__}, got {shown(value)}")
        return kind[value]

    return Codec(
        name=kind.__name__, schema=kind.__name__, encode=encode, decode=decode, types=(kind,)
    )


def literal_codec(values: Sequence[object]) -> Codec:
    """`Literal["a", "b"]`: the value itself."""
    allowed: set[tuple[type, object]] = set()
    for value in values:
        if type(value) not in {NoneType, bool, int, str, bytes}:
            raise Refused(
                f"Literal of {shown(value)} has no codec: only str, int, bool, bytes, None"
            )
        PRIMITIVES[type(value)].encode(value)
        allowed.add((type(value), value))

    def encode(value: object) -> object:
        if type(value) not in PRIMITIVES or (type(value), value) not in allowed:
            raise Refused(f"expected one of {', '.join(map(repr, values))}, got {shown(value)}")
        return value if type(value) is not int else _encode_int(value)

    def decode(value: object) -> object:
        # A long int travels as bytes, as it does anywhere.
        if type(value) is bytes and (bytes, value) not in allowed:
            value = _decode_int(value)
        encode(value)
        return value

    return Codec(
        name="Literal",
        schema="Literal",
        encode=encode,
        decode=decode,
        types=tuple({kind: None for kind, _ in sorted(allowed, key=repr)}),
    )
