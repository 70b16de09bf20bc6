"""A copy of a machine in a second process, under another hash seed: what differs between processes shows.

Requests and answers are framed CBOR over pipes. The second process gets the factory by its name: it imports
the module that this one imported.

Laws: the twin applies what it is given and nothing else; what its machine prints goes to stderr. When this
process goes, the twin sees the end of its input and goes too.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, cast

import attrs

from raftkit import encoding
from raftkit.driver.envelope import END, Reader, frame
from raftkit.errors import LocalProtocolError, StateMachineFailed, StateUnwritable
from raftkit.testing.machines.copy import Answer, Copy, Entry, Factory

__all__ = ["Twin", "open_twin", "serve"]

_SERVE = (
    "import sys; sys.path[:] = {path!r}; from raftkit.testing.machines.twin import serve; serve()"
)


@attrs.frozen
class Twin:
    """This process's end."""

    process: subprocess.Popen[bytes]
    "The other one."
    answers: Iterator[object]
    "What it says."

    def renew(self) -> None:
        """Begin again with a fresh machine."""
        self.ask("renew")

    def apply(self, entry: Entry) -> Answer | str:
        """What came of the next entry there; words where a node would have halted."""
        match self.ask("apply", entry.elapsed_ns, entry.body, entry.version):
            case [bytes() as reply, bytes() as digest]:
                return Answer(reply=reply, digest=digest)
            case words:
                return str(words)

    def fields(self) -> list[tuple[str, str]]:
        """See `Copy.fields`."""
        pairs = cast("list[tuple[str, str]]", self.ask("fields"))
        return [(name, text) for name, text in pairs]

    def ask(self, *request: object) -> object:
        """What the other process answers. Raises LocalProtocolError if it has gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(frame(encoding.dumps(list(request))))
            self.process.stdin.flush()
            return next(self.answers)
        except (OSError, encoding.MalformedError):
            raise LocalProtocolError(
                f"the second process ended with status {self.process.wait()}; what it said is on stderr"
            ) from None


@contextmanager
def open_twin(factory: Factory) -> Generator[Twin]:
    """Start the second process. Raises LocalProtocolError if it can't find `factory` by a name."""
    origin = _origin_of(factory)
    process = subprocess.Popen(  # noqa: S603 - our own code, with this interpreter
        [sys.executable, "-c", _SERVE.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": another_hash_seed()},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    twin = Twin(process, Reader(_pieces(process.stdout)).items())
    try:
        found = twin.ask("find", *origin)
        if found != "found":
            raise LocalProtocolError(f"the second process can't make the machine: {found}")
        yield twin
    finally:
        with suppress(OSError):  # it may have gone already
            process.stdin.write(END)
            process.stdin.close()
        process.stdout.close()
        process.wait()


def another_hash_seed() -> str:
    """Any but ours. A random one of ours is one of 2³², so it is another."""
    return "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: os.read(stream.fileno(), 1 << 16), b"")


# ── a factory's name ─────────────────────────────────────────────────────────────────────────────────


def _origin_of(factory: Factory) -> tuple[str, str, str]:
    """Module, its file, and the name in it at which `factory` is found."""
    own = sys.modules.get(getattr(factory, "__module__", None) or "")
    name = getattr(factory, "__qualname__", "")
    if own is not None and _resolved(own, name) is factory:
        return own.__name__, _file_of(own), name
    # A lambda or a partial at module level has no name of its own, but somebody gave it one.
    for module in list(sys.modules.values()):
        for alias, value in list(getattr(module, "__dict__", {}).items()):
            if value is factory and _file_of(module):
                return module.__name__, _file_of(module), alias
    raise LocalProtocolError(
        f"{factory!r:.80} can't be made in a second process: give the factory, or the class, a name at the "
        "top level of a module"
    )


def _resolved(module: ModuleType, name: str) -> object:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _file_of(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return str(Path(file).resolve()) if file else ""


def _factory_from(name: str, file: str, dotted: str) -> Factory:
    return cast("Factory", _resolved(_module(name, file), dotted))


def _module(name: str, file: str) -> ModuleType:
    """The module as the other process has it: by its name, or from its file if the name leads elsewhere."""
    if name in sys.modules and name != "__main__":
        return sys.modules[name]
    if name != "__main__" and _found_at(name) == file:
        return importlib.import_module(name)
    # A program must not run its main part again.
    name = "__raft_twin__" if name == "__main__" else name
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _found_at(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        return None
    return str(Path(spec.origin).resolve()) if spec is not None and spec.origin else None


# ── the second process ───────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Answer requests from stdin on stdout until stdin ends. What the second process runs."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a machine that prints must not spoil the answers
    logging.getLogger("raftkit").disabled = True
    requests = Reader(_pieces(sys.stdin.buffer))
    copy, factory = cast("Copy", None), cast("Factory", None)
    for request in requests.items():
        answer: object = None
        match request:
            case ["find", str() as name, str() as file, str() as dotted]:
                try:
                    factory = _factory_from(name, file, dotted)
                    copy, answer = Copy(factory), "found"
                except Exception as error:  # noqa: BLE001 - their module may raise anything
                    answer = f"{type(error).__name__}: {error}"
            case ["renew"]:
                copy = Copy(factory)
            case ["apply", int() as elapsed_ns, bytes() | None as body, int() | None as version]:
                answer = _apply(copy, Entry(elapsed_ns=elapsed_ns, body=body, version=version))
            case ["fields"]:
                answer = [list(it) for it in copy.fields()]
            case _:
                raise AssertionError(request)
        answers.write(frame(encoding.dumps(answer)))
        answers.flush()


def _apply(copy: Copy, entry: Entry) -> list[bytes] | str:
    try:
        answer = copy.apply(entry)
    except (StateMachineFailed, StateUnwritable) as error:
        return str(error)
    return [answer.reply, answer.digest]
