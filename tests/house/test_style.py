"""The rules of style that a machine can check (ruff checks the rest)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.source import ROOT, at, dotted, modules, name_of, tree

MODULES = modules("**/*.py")
DOORS = [path for path in MODULES if path.name == "__init__.py"]
# Data that travels: each field of each class says what it is, its unit, when it is valid.
VOCABULARY = modules("model.py", "membership.py", "messages.py", "driver_messages.py", "config.py")

LINES_MAX = 700  # the largest file of h11, which people read for pleasure, has 659
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "tools"}
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!.{0,12}#\d+)")
WRITTEN = sorted(
    path
    for pattern in ("raftkit/**/*.py", "tests/**/*.py", "docs/**/*.md", "examples/**/*.py")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts and path != Path(__file__)
)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_has_a_name_that_says_what_it_holds(path: Path) -> None:
    assert not NAMELESS & {path.stem, path.parent.name}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "one sentence of purpose, its source, its laws"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_reads_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", DOORS, ids=name_of)
def test_door_holds_an_essay_imports_and_all_nothing_else(path: Path) -> None:
    findings = [
        at(path, node, "does not belong in a door") for node in tree(path).body if not _fits(node)
    ]

    assert findings == []


def _fits(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
            return True
        case ast.AnnAssign(target=ast.Name(id="__all__" | "__version__")):
            return True
        case _:
            return False


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_todo_names_an_issue(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()

    findings = [
        f"{name_of(path)}:{n}: {line.strip()}"
        for n, line in enumerate(lines, 1)
        if TODO.search(line)
    ]

    assert findings == []


@pytest.mark.parametrize("path", VOCABULARY, ids=name_of)
def test_field_says_what_it_is(path: Path) -> None:
    findings = [
        at(path, field, f"{node.name}.{ast.unparse(field.target)} has no line under it")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and _is_attrs(node)
        for field, after in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
        and not _is_text(after)
        and not _is_class_variable(field)
    ]

    assert findings == []


def _is_attrs(node: ast.ClassDef) -> bool:
    decorators = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return any(dotted(d) in {"attrs.frozen", "attrs.define", "attrs.mutable"} for d in decorators)


def _is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr)


def _is_class_variable(field: ast.AnnAssign) -> bool:
    return ast.unparse(field.annotation).startswith(("ClassVar", "typing.ClassVar"))
