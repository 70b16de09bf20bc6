"""Every pointer of docs/paper-map.md leads somewhere, and no rule is claimed without a test.

A row is `| section | rule | where | tests |`. Pointers are the code spans of its last two cells:
`raftkit.core.election.take_office` (a module, and a name in it) or `tests/paper/test_x.py::test_y`.
A rule that is not built yet has "–" in both.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, tree

MAP = ROOT / "docs" / "paper-map.md"
SPAN = re.compile(r"`([^`]+)`")
NOT_YET = "–"


def _rows() -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    for line in MAP.read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            section, rule, where, tests = (cell.strip() for cell in line.strip("|").split("|"))
            if section != "§":
                rows.append((section, rule, where, tests))
    return rows


ROWS = _rows()
POINTERS = sorted({span for row in ROWS for cell in row[2:] for span in SPAN.findall(cell)})


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether `names` (a class, then something in it, …) is defined or assigned in `body`."""
    if not names:
        return True
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name == names[0]:
                return len(names) == 1
            case ast.ClassDef(name=name, body=inner) if name == names[0]:
                return _defines(inner, names[1:])
            case ast.Assign(targets=[ast.Name(id=name)]) if name == names[0]:
                return len(names) == 1
            case ast.AnnAssign(target=ast.Name(id=name)) if name == names[0]:
                return len(names) == 1
            case _:
                pass
    return False


def resolves(pointer: str) -> bool:
    """Whether the file exists and holds the name, read from its syntax tree."""
    file, has_name, name = pointer.partition("::")
    if has_name or "/" in file:
        path = ROOT / file
        names = [part for part in name.split("[")[0].split("::") if part]
        return (
            path.is_dir()
            if not path.suffix
            else path.is_file() and _defines(tree(path).body, names)
        )
    first, *parts = pointer.split(".")
    if first != PACKAGE.name:
        return False
    folder = PACKAGE
    while parts and (folder / parts[0]).is_dir():
        folder = folder / parts.pop(0)
    if parts and (folder / f"{parts[0]}.py").is_file():
        return _defines(tree(folder / f"{parts[0]}.py").body, parts[1:])
    door = folder / "__init__.py"
    return door.is_file() and _defines(tree(door).body, parts)


def test_every_pointer_leads_somewhere() -> None:
    assert [pointer for pointer in POINTERS if not resolves(pointer)] == []


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}: {row[1]}" for row in ROWS])
def test_rule_has_a_place_and_a_test_or_neither(row: tuple[str, str, str, str]) -> None:
    _, _, where, tests = row

    if NOT_YET in (where, tests):
        assert where == tests == NOT_YET
    else:
        assert SPAN.search(where)
        assert SPAN.search(tests)


def test_resolver_sees_what_is_there_and_what_is_not() -> None:
    here = Path(__file__).relative_to(ROOT)

    assert resolves("raftkit.errors.RaftError")
    assert resolves(f"{here}::resolves")
    assert not resolves("raftkit.errors.NoSuchError")
    assert not resolves("raftkit.no_such_module")
    assert not resolves("trio.run")
    assert not resolves(f"{here}::test_that_was_renamed")
    assert not resolves("tests/house/test_that_moved.py::test_it")
