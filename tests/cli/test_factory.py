"""A machine by its name: what is found, and the one line for whatever is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raftkit.cli.factory import CannotLoad, load_factory

COUNTER = """
from __future__ import annotations
import attrs
from raftkit import BytesStateMachine, StateMachine, command
from beside import AMOUNT

@attrs.define
class Counter(StateMachine):
    total: int = 0

    @command
    def add(self, amount: int = AMOUNT) -> int:
        self.total += amount
        return self.total

class Echo(BytesStateMachine):
    def __init__(self, size: int = 3) -> None: ...
    def apply(self, batch): return batch.commands
    def snapshot(self): return []
    def restore(self, chunks): ...

def from_ten(): return Counter(total=10)
def needs(total): return Counter(total=total)
def raises(): raise ValueError("not\\ntoday")
def leaves(): raise SystemExit(3)
def nothing(): return None
LIMIT = 7
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a package, a file in a folder, and what the file imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "json.py").write_text(COUNTER)
    (tmp_path / "files" / "beside.py").write_text("AMOUNT = 1")
    (tmp_path / "factory_shop").mkdir()
    (tmp_path / "factory_shop" / "__init__.py").write_text("")
    (tmp_path / "factory_shop" / "machines.py").write_text(
        COUNTER.replace("from beside import AMOUNT", "AMOUNT = 1")
    )
    return tmp_path


def refusal(name: str) -> str:
    """The one line in which loading `name` ends."""
    with pytest.raises(CannotLoad) as caught:
        load_factory(name)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("where", ["factory_shop.machines", "files/json.py", "./files/json.py"])
def test_class_and_function_are_found_in_modules_and_files(where: str) -> None:
    counter = load_factory(f"{where}:Counter")()
    ten = load_factory(f"{where}:from_ten")()

    assert (type(counter).__name__, counter.total) == ("Counter", 0)  # type: ignore[union-attr]
    assert ten.total == 10  # type: ignore[union-attr]
    assert type(load_factory(f"{where}:Echo")()).__name__ == "Echo"
    assert load_factory(f"{where}:Counter")() is not counter


def test_file_that_is_called_like_a_module_does_not_replace_it() -> None:
    load_factory("files/json.py:Counter")

    import json

    assert json.dumps([]) == "[]"
    assert sys.modules["json"] is json


def test_absolute_path_is_found_from_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    assert type(load_factory(f"{here}/files/json.py:Counter")()).__name__ == "Counter"


@pytest.mark.parametrize(
    "name, said",
    [
        ("Counter", "'Counter' names no machine: write MODULE:NAME or FILE.py:NAME"),
        ("files/json.py:", "write MODULE:NAME or FILE.py:NAME"),
        (":Counter", "write MODULE:NAME or FILE.py:NAME"),
        ("files/none.py:Counter", "there is no Python file files/none.py"),
        ("files/:Counter", "there is no Python file files"),
        ("factory_none:Counter", "there is no module 'factory_none' here"),
        ("factory_shop.none:Counter", "there is no module 'factory_shop.none' here"),
        ("files/json.py:Countr", "has no 'Countr'; did you mean Counter?"),
        ("files/json.py:xyz", "has no 'xyz'; its machines: Counter, Echo"),
        ("factory_shop:xyz", "factory_shop has no 'xyz', and no machine"),
        ("files/json.py:LIMIT", "files/json.py:LIMIT is of type int: name a machine's class"),
        ("files/json.py:needs", "files/json.py:needs needs arguments (total)"),
        ("files/json.py:raises", "files/json.py:raises() failed with ValueError: not today (at "),
        ("files/json.py:leaves", "files/json.py:leaves() failed with SystemExit: 3 (at "),
        ("files/json.py:nothing", "nothing() is of type NoneType, no machine: derive its class"),
    ],
)
def test_what_leads_to_no_machine_is_said_in_one_line(name: str, said: str) -> None:
    assert said in refusal(name)


@pytest.mark.parametrize(
    "source, said",
    [
        ("1 / 0", "failed with ZeroDivisionError: division by zero (at "),
        ("def (", "failed with SyntaxError: invalid syntax"),
        ("import factory_none", "failed with ModuleNotFoundError: No module named 'factory_none'"),
        ("raise SystemExit('usage: …')", "failed with SystemExit: usage: …"),
    ],
)
@pytest.mark.parametrize("where", ["factory_bad", "factory_bad.py"])
def test_module_that_fails_when_it_is_imported_is_named_with_the_line(
    here: Path, source: str, said: str, where: str
) -> None:
    (here / "factory_bad.py").write_text(f"\n\n{source}\n")

    words = refusal(f"{where}:Counter")
    assert words.startswith(f"{where} failed")
    assert said in words
    if "(at " in words:
        assert "factory_bad.py:3)" in words
