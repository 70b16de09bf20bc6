"""One log entry as people and programs see it.

Law: what an entry's payload says is shown as far as it can be read, and its first bytes otherwise: whoever
looks at a log must not be stopped by one entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import attrs

from raftkit import StateMachine
from raftkit.cli.factory import Factory
from raftkit.driver.sessions import (
    HEADER_BYTES,
    NONCE_BIT,
    VERSION_BYTES,
    unpack_header,
    unpack_version,
)
from raftkit.encoding import MalformedError
from raftkit.membership import Configuration, Role
from raftkit.model import Entry, Kind
from raftkit.statemachine import Schema, schema_of
from raftkit.storage.segments import PlacedRun

__all__ = ["HEADING", "Row", "Words", "hexadecimal", "rows_of", "words_of"]

Words = Callable[[bytes], dict[str, Any]]
"What a command's body says, as fields of a JSON object, of which the first is for people."
_HEX_BYTES = 16


@attrs.frozen(kw_only=True)
class Row:
    """What there is to say about one entry."""

    entry: Entry
    "The entry."
    file: str
    "Its segment's name."
    offset: int
    "Where in the file the record that holds it begins."
    session: int | None
    "The session that it belongs to, or registers; None where there is none."
    number: int | None
    "Its number in that session."
    content: dict[str, Any]
    "What the payload says, by name; the first is for people. Empty where it says nothing."

    def as_columns(self) -> str:
        """Aligned columns, as `HEADING` names them."""
        entry = self.entry
        session = "-" if self.session is None else str(self.session)
        if self.number is not None:
            session += f"/{self.number}"
        said = next(iter(self.content.values()), "")
        return (
            f"{entry.index:>10} {entry.term:>6} {entry.kind.name.lower():<13} {_iso(entry.time_ns)} "
            f"{session:>12} {len(entry.payload):>8}  {said}"
        ).rstrip()

    def as_json(self) -> str:
        """One line."""
        entry = self.entry
        return json.dumps(
            {
                "index": entry.index,
                "term": entry.term,
                "kind": entry.kind.name.lower(),
                "time": _iso(entry.time_ns),
                "session": self.session,
                "number": self.number,
                "size": len(entry.payload),
                "file": self.file,
                "offset": self.offset,
                **self.content,
            }
        )


HEADING = f"{'index':>10} {'term':>6} {'kind':<13} {'time (UTC)':<27} {'session':>12} {'bytes':>8}  content"


def rows_of(placed: PlacedRun, words: Words) -> Iterator[Row]:
    """The entries of one run; `words` reads the bodies of commands."""
    for entry in placed.run:
        session, number = _session(entry)
        yield Row(
            entry=entry,
            file=PurePath(placed.path).name,
            offset=placed.offset,
            session=session,
            number=number,
            content=_content(entry, words),
        )


def words_of(factory: Factory) -> Words:
    """Reads commands of the machine that `factory` makes, as they were written: `add(amount=5)`.

    Raises ConfigError for a machine that can't be replicated.
    """
    machine = factory()
    if not isinstance(machine, StateMachine):
        return lambda body: {"command": repr(body)}
    schema = schema_of(type(machine), 1)  # which version writes matters, all are read
    return lambda body: _typed(schema, body)


def hexadecimal(data: bytes) -> dict[str, Any]:
    """The first bytes of `data`."""
    return {"hex": data[:_HEX_BYTES].hex() + "…" * (len(data) > _HEX_BYTES)} if data else {}


def _typed(schema: Schema, body: bytes) -> dict[str, Any]:
    try:
        method, arguments = schema.decode(body)
    except MalformedError as error:
        return {**hexadecimal(body), "unknown": str(error)}
    names = {place: it.name for it, place in zip(method.parameters, method.places, strict=True)}
    written = (f"{names[place]}={it!r}" for place, it in enumerate(arguments))
    return {"command": f"{method.name}({', '.join(written)})"}


def _session(entry: Entry) -> tuple[int | None, int | None]:
    """Session and number. What a node asks at most once, under a nonce of its own, is in no session."""
    match entry.kind:
        case Kind.SESSION:
            return entry.index, None
        case Kind.COMMAND | Kind.VOID if len(entry.payload) >= HEADER_BYTES:
            session, number, _ = unpack_header(entry.payload)
            return (session, number) if session < NONCE_BIT else (None, None)
        case _:
            return None, None


def _content(entry: Entry, words: Words) -> dict[str, Any]:
    match entry.kind:
        case Kind.COMMAND if len(entry.payload) >= HEADER_BYTES:
            return words(entry.payload[HEADER_BYTES:])
        case Kind.SESSION | Kind.VOID if len(entry.payload) == HEADER_BYTES:
            return {}
        case Kind.CONFIGURATION:
            return _configuration(entry.payload)
        case Kind.VERSION if len(entry.payload) == HEADER_BYTES + VERSION_BYTES:
            return {"content": f"version {unpack_version(entry.payload)[2]}"}
        case _:
            return hexadecimal(entry.payload)


def _configuration(payload: bytes) -> dict[str, Any]:
    try:
        found = Configuration.decode(payload)
    except MalformedError:
        return hexadecimal(payload)
    said = [
        f"{it.id}={it.address}" + f" ({it.role.name.lower()})" * (it.role is not Role.VOTER)
        for it in found.members
    ]
    if found.outgoing:
        said.append(f"joint with the voters {', '.join(found.outgoing)}")
    members = [
        {"id": it.id, "address": it.address, "role": it.role.name.lower()} for it in found.members
    ]
    return {"content": ", ".join(said), "members": members, "outgoing": list(found.outgoing)}


def _iso(time_ns: int) -> str:
    """In UTC, to the microsecond, always of the same length."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
