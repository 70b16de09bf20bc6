"""A `BytesStateMachine` on one replica: new commands in batches, everything else through it.

Law: any exception out of the machine is StateMachineFailed and ends the node: nobody but the machine knows
what of the batch was done. Only `snapshot` may fail without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from raftkit.driver.envelope import END, Reader, frame
from raftkit.driver.hosts import Host, Outcome, is_nodes_trouble
from raftkit.driver.replies import VALUE
from raftkit.driver.sessions import HEADER_BYTES, NONCE_BIT, PENDING, Sessions, unpack_header
from raftkit.encoding import MalformedError
from raftkit.errors import (
    LocalProtocolError,
    RaftInternalError,
    Rejected,
    StateMachineFailed,
    StateUnwritable,
)
from raftkit.model import Index, Run
from raftkit.statemachine import Batch, BytesStateMachine

__all__ = ["BytesHost"]

T = TypeVar("T")
_Fresh = tuple[int, int, int, int]
"Place in the run, session, seq, and the floor that `Sessions.admit` gave."


class BytesHost(Host):
    """Holds a `BytesStateMachine`."""

    kind = "bytes"
    alike = False  # nothing is known of how it writes
    newest = 1

    def __init__(self, machine: BytesStateMachine) -> None:
        self.machine = machine
        self._names_deadlines = type(machine).next_deadline is not BytesStateMachine.next_deadline

    def apply(
        self,
        run: Run,
        sessions: Sessions,
        bytes_max: int,
        cluster: bytes,  # noqa: ARG002 - it seeds `ctx.rng`, and there is no ctx here
    ) -> Iterator[Outcome]:
        """See `Host`. The machine gets what is new in one batch, cut only where an older reply is due."""
        fresh: list[_Fresh] = []
        for place, payload in enumerate(run.payloads):
            try:
                session, seq, ack_below = unpack_header(payload)
            except MalformedError:
                yield from self._apply_fresh(run, fresh, sessions, bytes_max)
                raise
            floor: int | bytes = 0
            if session < NONCE_BIT:
                floor = sessions.admit(session, seq, ack_below, run.elapsed_ns)
            if isinstance(floor, int):
                fresh.append((place, session, seq, floor))
                continue
            yield from self._apply_fresh(run, fresh, sessions, bytes_max)
            fresh = []
            stored = sessions.reply(session, seq) if floor == PENDING else floor
            assert stored, "what was pending has just been recorded"
            yield session, seq, stored
        yield from self._apply_fresh(run, fresh, sessions, bytes_max)

    def _apply_fresh(
        self, run: Run, fresh: list[_Fresh], sessions: Sessions, bytes_max: int
    ) -> Iterator[Outcome]:
        if not fresh:
            return
        results = self._apply_batch(run, [place for place, *_ in fresh])
        for (_, session, seq, floor), result in zip(fresh, results, strict=True):
            reply = VALUE + result
            if session < NONCE_BIT:
                sessions.record(session, seq, floor, reply, bytes_max)
            yield session, seq, reply

    def _apply_batch(self, run: Run, places: list[int]) -> list[bytes]:
        """The machine's results for the commands at `places` of `run`."""
        batch = Batch(
            term=run.term,
            time_ns=run.time_ns,
            elapsed_ns=run.elapsed_ns,
            indexes=[run.first + place for place in places],
            commands=[run.payloads[place][HEADER_BYTES:] for place in places],
        )
        results: list[bytes] = self._guarded("apply", lambda: list(self.machine.apply(batch)))
        if len(results) != len(places) or not all(type(it) is bytes for it in results):
            raise StateMachineFailed(
                f"{type(self.machine).__name__}.apply must return {len(places)} results of type bytes, "
                f"got {results!r:.80}"
            )
        return results

    def on_clock(self, run: Run, cluster: bytes) -> None:  # noqa: ARG002 - see `apply`
        """See `Host`. The machine gets a batch without commands, if it ever names a deadline."""
        if self._names_deadlines:
            self._apply_batch(run, [])

    def upgrade(self, version: int, run: Run, cluster: bytes) -> None:  # noqa: ARG002
        """Never called: a bytes machine has one version, and changes what its bytes mean by itself."""
        raise RaftInternalError(f"a bytes machine is to become version {version}")

    def next_deadline(self) -> int | None:
        """See `Host`."""
        deadline_ns: int | None = self.machine.next_deadline()
        return deadline_ns

    def encode(self, command: Any) -> bytes:
        """See `Host`. Raises LocalProtocolError for anything but bytes."""
        if type(command) is not bytes:
            raise LocalProtocolError(f"this machine's commands are bytes, got {command!r:.60}")
        return command

    def name_of(self, payload: bytes) -> str:  # noqa: ARG002 - only the machine knows
        """See `Host`."""
        return f"{type(self.machine).__name__}.apply"

    def ask(self, question: Any) -> Any:
        """See `Host`."""
        if not callable(question):
            raise LocalProtocolError(
                f"read takes a function of the machine here, got {question!r:.60}"
            )
        return question(self.machine)

    def result(self, data: bytes) -> Any:
        """See `Host`."""
        return data

    def rejection(self, plain: tuple[Any, ...]) -> Rejected:
        """See `Host`. No machine that speaks bytes rejects."""
        raise RaftInternalError(f"a bytes machine rejected a command: {plain!r:.80}")

    def capture(self, index: Index) -> Callable[[], Iterator[bytes]]:
        """See `Host`."""
        with self._writing(index):
            chunks = self.machine.snapshot()

        def write() -> Iterator[bytes]:
            with self._writing(index):
                yield from (frame(bytes(it)) for it in chunks if it)
            yield END

        return write

    def restore(self, reader: Reader) -> None:
        """See `Host`."""
        frames = reader.frames()
        try:
            self.machine.restore(frames)
        except MalformedError:
            raise  # the snapshot's fault
        except (Exception, SystemExit) as error:
            raise self._failed("restore", error) from error
        if any(frames):
            raise MalformedError(f"{type(self.machine).__name__}.restore left a part of it unread")

    def digest(self) -> bytes | None:
        """See `Host`."""
        digest: bytes | None = self._guarded("digest", self.machine.digest)
        return digest

    def _guarded(self, method: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except (Exception, SystemExit) as error:
            raise self._failed(method, error) from error

    @contextmanager
    def _writing(self, index: Index) -> Generator[None]:
        """What the machine raises while it looks at its state says that this one can't be written."""
        try:
            yield
        except (Exception, SystemExit) as error:
            if is_nodes_trouble(error):
                raise self._failed("snapshot", error) from error
            name = type(self.machine).__name__
            why = f"raised {type(error).__name__}: {error}"
            raise StateUnwritable(index, f"{name}.snapshot", why) from error

    def _failed(self, method: str, error: BaseException) -> StateMachineFailed:
        return StateMachineFailed(
            f"{type(self.machine).__name__}.{method} raised {type(error).__name__}: {error}; "
            "its state is of no use now: mend the cause and start the node again"
        )
