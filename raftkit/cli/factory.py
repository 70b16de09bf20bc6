"""A machine by its name on the command line: `package.module:Counter` or `path/to/file.py:Counter`.

Laws: whatever is wrong with the name, or with the code behind it, is said in one line, by one exception. What
comes back has made a machine once, so whoever opens a node with it is not surprised.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

from raftkit import BytesStateMachine, StateMachine

__all__ = ["CannotLoad", "Factory", "load_factory"]

Factory = Callable[[], StateMachine | BytesStateMachine]
"What `open_node` takes: makes a machine at index 0."


class CannotLoad(Exception):
    """A name that leads to no machine. Says why, and what to write instead, in one line."""


def load_factory(name: str) -> Factory:
    """What `name` names: a machine's class, or any callable that makes one without arguments.

    Imports the module, with the current directory importable (and that of a file), and calls the factory
    once to see that it makes a machine. Raises CannotLoad.
    """
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise CannotLoad(f"{name!r} names no machine: write MODULE:NAME or FILE.py:NAME")
    is_file = where.endswith(".py") or os.sep in where
    module = _file(Path(where)) if is_file else _module(where)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        raise CannotLoad(f"{where} has no {attribute!r}{_meant(module, attribute)}") from None
    _check(name, found)
    return cast("Factory", found)


def _module(name: str) -> ModuleType:
    """The module `name`, imported."""
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CannotLoad(
                f"there is no module {error.name!r} here or among those installed; for a file, write "
                "its path: FILE.py:NAME"
            ) from error
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _file(path: Path) -> ModuleType:
    """The module in the file `path`, run anew."""
    if path.suffix != ".py" or not path.is_file():
        raise CannotLoad(f"there is no Python file {path}")
    _make_importable(path.absolute().parent)
    _make_importable(Path.cwd())
    # A name that no import statement can say: a file called json.py must not become everybody's json.
    name = str(path.absolute()).replace(".", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(str(path), error) from error
    return module


def _make_importable(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _meant(module: ModuleType, attribute: str) -> str:
    """What else was probably meant, as the end of a sentence."""
    names = [name for name in vars(module) if not name.startswith("_")]
    close = difflib.get_close_matches(attribute, names)
    machines = [name for name in names if _is_machine(vars(module)[name])]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; its machines: {', '.join(machines)}" if machines else ", and no machine"


def _is_machine(it: object) -> bool:
    """Whether it is a class of machines that somebody wrote."""
    bases = (StateMachine, BytesStateMachine)
    return isinstance(it, type) and issubclass(it, bases) and it not in bases


def _check(name: str, found: object) -> None:
    """Make a machine of it once. Raises CannotLoad."""
    if not callable(found):
        raise CannotLoad(
            f"{name} is of type {type(found).__name__}: name a machine's class, or a function that makes one"
        )
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (
        TypeError,
        ValueError,
    ):  # built in, and silent about what it takes: calling it will tell
        parameters = []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [it.name for it in parameters if it.default is it.empty and it.kind not in optional]
    if required:
        raise CannotLoad(
            f"{name} needs arguments ({', '.join(required)}): give them defaults, or name a function "
            "without arguments that makes the machine"
        )
    try:
        machine = found()
    except (Exception, SystemExit) as error:
        raise _failed(f"{name}()", error) from error
    if not isinstance(machine, (StateMachine, BytesStateMachine)):
        raise CannotLoad(
            f"{name}() is of type {type(machine).__name__}, no machine: derive its class from "
            "raftkit.StateMachine or raftkit.BytesStateMachine"
        )


def _failed(what: str, error: BaseException) -> CannotLoad:
    """`error` in one line, with the line of the user's code that raised it."""
    frames = [it for it in traceback.extract_tb(error.__traceback__) if it.filename != __file__]
    frames = [it for it in frames if not it.filename.startswith("<frozen importlib")]
    # A syntax error's own words name the line; no frame is where it is.
    at = ""
    if frames and not isinstance(error, SyntaxError):
        at = f" (at {frames[-1].filename}:{frames[-1].lineno})"
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return CannotLoad(f"{what} failed with {words}{at}")
