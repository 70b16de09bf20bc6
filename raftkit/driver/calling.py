"""What a command goes through for its caller: a session and a number, the leader, an answer (§6.3).

Laws: whatever is raised says what may be concluded. A command is retried in its session, and moves to
another one only when it certainly did not happen in the first.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import attrs
import outcome
import trio

from raftkit.driver.applying import Applying
from raftkit.driver.forwarding import PENDING_BYTES_MAX, Forwarding
from raftkit.driver.replica import Replica
from raftkit.driver.replies import Value, decode_reply
from raftkit.driver.sessions import HEADER_BYTES, VERSION_BYTES, pack_header
from raftkit.driver.tokens import Session, Token
from raftkit.driver.waiters import Call, Waiters, token_of
from raftkit.errors import (
    DidNotHappen,
    EntryTooLarge,
    NodeClosed,
    NoQuorum,
    NotYetEnabled,
    OutcomeUnknown,
    Overloaded,
    RaftError,
    RaftInternalError,
    SessionExpired,
)
from raftkit.model import Kind

__all__ = ["Calling"]

MANY_BYTES_MAX = 4 * 1024 * 1024
"Bytes of commands that one `execute_many` has under way, but at least one command."


@attrs.define(eq=False, kw_only=True)
class Calling:
    """The calls of a node's users."""

    replica: Replica[Any]
    applying: Applying
    waiters: Waiters
    forwarding: Forwarding
    wake: Callable[[], None]
    catch_up: Callable[[], Awaitable[None]]
    "Waits until all is applied here that was committed when it began."
    entry_bytes_max: Callable[[], int]
    nonce: int
    "The session of this start of the node: at most once, nothing registered."
    _numbers: Iterator[int] = attrs.field(init=False, factory=lambda: itertools.count(1))
    "Of that session."
    _own: Session | None = attrs.field(init=False, default=None)
    "For callers without a session of their own; registered at first use."
    _registering: trio.Lock = attrs.field(init=False, factory=trio.Lock)
    _closed: str | None = attrs.field(init=False, default=None)
    "Why no call is taken any more."

    def close(self, why: str) -> None:
        """End every call, and take no more."""
        self._closed = why
        self.waiters.fail_all(NodeClosed(why), why)

    async def execute(
        self, command: object, *, within: float, token: Token | None, session: Session | None
    ) -> Any:
        """The command's own result, decided in `session` (None: the node's own) or by `token`."""
        ends = trio.current_time() + within
        body = await self._prepare(command, token, ends)
        while True:
            if token is not None:
                call = _by_token(token, Kind.COMMAND, body)
            else:
                own = session or self._ready or await self._own_session(_left(ends))
                call = _numbered(own, body)
            installs = self.applying.installs
            reply = await self._decide(call, _left(ends))
            try:
                return self._result(command, call, reply)
            except SessionExpired:
                self._forget(call.session)
                # Had it been applied before the session went, this node would have seen it.
                if token or session or installs != self.applying.installs:
                    raise

    async def execute_many(self, commands: Iterable[object], *, within: float) -> list[Any]:
        """The results of `commands`, in the node's own session, sent without waiting for one another."""
        await trio.lowlevel.checkpoint()
        ends = trio.current_time() + within
        waiting = deque(
            [
                _Wanted(place, command, await self._prepare(command, None, ends))
                for place, command in enumerate(commands)
            ]
        )
        count, results = len(waiting), dict[int, _Result]()
        while waiting and not any(map(_is_undecided, results.values())):
            try:
                results |= await self._execute_some(waiting, ends)
            except DidNotHappen as error:
                results[waiting[0].place] = outcome.Error(error)
        return _all_of(results, count)

    async def _execute_some(self, waiting: deque[_Wanted], ends: float) -> dict[int, _Result]:
        """What became of the first of `waiting`; those that did not happen in an expired session go back."""
        own = await self._own_session(_left(ends))
        some = _take_some(waiting, own.room)
        calls = [_numbered(own, it.body) for it in some]
        installs = self.applying.installs
        within = _left(ends)
        for call in calls:
            self._open(call, within)
        results: dict[int, _Result] = {}
        again: list[_Wanted] = []
        for it, call, reply in zip(some, calls, await self.waiters.wait_all(calls), strict=True):
            try:
                results[it.place] = outcome.Value(self._result(it.command, call, reply.unwrap()))
            except SessionExpired as error:
                self._forget(own.id)
                if installs == self.applying.installs:  # see `execute`
                    again.append(it)
                else:
                    results[it.place] = outcome.Error(error)
            except RaftError as error:
                results[it.place] = outcome.Error(error)
        waiting.extendleft(reversed(again))
        return results

    async def execute_once(self, command: object, *, within: float) -> Any:
        """The command's result; sent at most once, without a session, never retried."""
        ends = trio.current_time() + within
        call = self._sessionless(Kind.COMMAND, await self._prepare(command, None, ends))
        return self._result(command, call, await self._decide(call, _left(ends)))

    async def outcome(self, token: Token, *, within: float) -> Any:
        """The stored result of a token's command; raises DidNotHappen once that is certain."""
        call = _by_token(token, Kind.VOID, b"")
        call.elsewhere = True  # whatever this process knows: only the group's answer is certain
        return self._result(None, call, await self._decide(call, within))

    async def session(self, *, within: float) -> Session:
        """Register a session. Raises NoQuorum if that can't be done in time."""
        call = self._sessionless(Kind.SESSION, b"")
        try:
            reply = decode_reply(await self._decide(call, within))
        except OutcomeUnknown as error:
            # A session that nobody knows is evicted some day; the caller's command was never sent.
            if self._closed is not None:
                raise NodeClosed(self._closed) from error
            raise NoQuorum(f"no session could be registered within {within:g} s") from error
        if not isinstance(reply, Value):
            raise RaftInternalError(f"a session was registered and answered by {reply}")
        return Session(int.from_bytes(reply.data, "big"))

    async def raise_version(self, version: int, *, within: float) -> int:
        """Have `version` of the machine brought in force; the version in force behind that entry.

        To do it twice does no harm. Raises NodeClosed, NoQuorum or OutcomeUnknown.
        """
        call = self._sessionless(Kind.VERSION, version.to_bytes(VERSION_BYTES, "big"))
        reply = decode_reply(await self._decide(call, within))
        if not isinstance(reply, Value):
            raise RaftInternalError(f"a version was raised and answered by {reply}")
        return int.from_bytes(reply.data, "big")

    @property
    def _ready(self) -> Session | None:
        """The node's own session, if it has a number to spare."""
        return None if self._own is None or self._own.full else self._own

    async def _own_session(self, within: float) -> Session:
        """The same, registered if need be."""
        with trio.move_on_after(within):
            async with self._registering:
                own = self._ready
                if own is None:
                    own = self._own = await self.session(within=within)
                return own
        raise NoQuorum(f"no session could be registered within {within:g} s")

    async def _decide(self, call: Call, within: float) -> bytes:
        """The encoded reply to `call`, once it is applied at this node."""
        self._open(call, within)
        return await self.waiters.wait(call)

    def _open(self, call: Call, within: float) -> None:
        """Begin what `call` wants; to wait for it must follow at once."""
        why = self._closed or self.applying.stopped
        if why is not None:
            if not self.waiters.is_definite(call):
                raise OutcomeUnknown(token_of(call), why)
            raise NodeClosed(why)
        self.waiters.add(call, within)
        self.forwarding.submit(call)
        self.wake()
        self._void_dropped(call.ledger)

    def _void_dropped(self, ledger: Session | None) -> None:
        """Close the numbers whose outcome nobody can ask for any more, by a void for each."""
        for number in ledger.take_dropped() if ledger is not None else ():
            assert ledger is not None
            if self.waiters.is_open(ledger.id, number):
                continue  # on its way; it becomes a void if it has to be sent again
            payload = pack_header(ledger.id, number, ledger.ack_below)
            void = Call(
                session=ledger.id, number=number, payload=payload, kind=Kind.VOID, ledger=ledger
            )
            self.waiters.add(void, math.inf)
            self.forwarding.submit(void)

    async def _prepare(self, command: object, token: Token | None, ends: float) -> bytes:
        """The command's bytes. Raises what is certain before anything is sent.

        Of a command that an earlier call may have sent under the same token, nothing is certain.
        """
        try:
            try:
                body = self.replica.encode(command)
            except NotYetEnabled:
                body = await self._encode_later(command, ends)
            size, limit = HEADER_BYTES + len(body), self.entry_bytes_max()
            if size > limit:
                raise EntryTooLarge(size, limit)
            if self.forwarding.pending_bytes > PENDING_BYTES_MAX:
                raise Overloaded(
                    f"{self.forwarding.pending_bytes} bytes of commands wait for a leader"
                )
        except DidNotHappen as error:
            if token is None or not _may_be_sent(token):
                raise
            raise OutcomeUnknown(token, str(error)) from error
        return body

    async def _encode_later(self, command: object, ends: float) -> bytes:
        """The command's bytes. NotYetEnabled is only said by a node that has caught up, if it can in time."""
        with trio.move_on_at(ends):
            await self.catch_up()
        return self.replica.encode(command)

    def _sessionless(self, kind: Kind, body: bytes) -> Call:
        """A call in the session of this start, of which the group keeps no table."""
        number = next(self._numbers)
        payload = pack_header(self.nonce, number, 0) + body
        once = kind is Kind.COMMAND  # to register twice does no harm, nor to raise a version
        return Call(session=self.nonce, number=number, payload=payload, kind=kind, once=once)

    def _result(self, command: object, call: Call, reply: bytes) -> Any:
        """The value in `reply`, or what it raises."""
        result_of: Callable[..., Any] = self.replica.result_of
        try:
            return result_of(command, reply)
        except OutcomeUnknown as error:
            error.token = token_of(call)
            raise

    def _forget(self, session: int) -> None:
        if self._own is not None and self._own.id == session:
            self._own = None


_Result = outcome.Value[Any] | outcome.Error
"What became of one command of `execute_many`."


@attrs.frozen
class _Wanted:
    """One command of `execute_many`."""

    place: int
    "Among them."
    command: object
    body: bytes
    "The command's bytes."


def _take_some(waiting: deque[_Wanted], count_max: int) -> list[_Wanted]:
    """The first of `waiting`, at least one, that may be under way together."""
    some = [waiting.popleft()]
    size = len(some[0].body)
    while waiting and len(some) < count_max and size + len(waiting[0].body) <= MANY_BYTES_MAX:
        some.append(waiting.popleft())
        size += len(some[-1].body)
    return some


def _is_undecided(result: _Result) -> bool:
    return isinstance(result, outcome.Error) and isinstance(
        result.error, DidNotHappen | OutcomeUnknown
    )


def _all_of(results: dict[int, _Result], count: int) -> list[Any]:
    """The values in order, or the one error that may be concluded from for all `count` commands."""
    for place in sorted(results):
        result = results[place]
        if isinstance(result, outcome.Value):
            continue
        where = f"the command at place {place} of {count}"
        if isinstance(result.error, DidNotHappen) and _some_may_have_happened(results):
            raise OutcomeUnknown(
                None, f"{where} did not, others were decided: {result.error}"
            ) from result.error
        result.error.add_note(where)
        raise result.error
    return [results[place].unwrap() for place in range(count)]


def _some_may_have_happened(results: dict[int, _Result]) -> bool:
    return any(
        isinstance(it, outcome.Value) or not isinstance(it.error, DidNotHappen)
        for it in results.values()
    )


def _left(ends: float) -> float:
    """Seconds until then. Asked anew after each wait, or a call would take as long as its parts together."""
    return ends - trio.current_time()


def _numbered(ledger: Session, body: bytes) -> Call:
    """A call with a new number."""
    number = ledger.take()
    payload = pack_header(ledger.id, number, ledger.ack_below) + body
    return Call(session=ledger.id, number=number, payload=payload, ledger=ledger)


def _by_token(token: Token, kind: Kind, body: bytes) -> Call:
    """A call with the number of `token`."""
    ledger = token.ledger
    # Who asks for a number again has not given up what lies above it, whatever was answered before.
    ack_below = min(ledger.ack_below, token.number) if ledger is not None else 0
    header = pack_header(token.session, token.number, ack_below)
    return Call(
        session=token.session,
        number=token.number,
        payload=header + body,
        kind=kind,
        ledger=ledger,
        elsewhere=ledger is None,
    )


def _may_be_sent(token: Token) -> bool:
    """Whether the command of `token` may be on its way since an earlier call, here or elsewhere."""
    return token.ledger is None or token.ledger.sendings(token.number) > 0
