"""The source of raftkit as syntax trees: read once, nothing imported."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "raftkit"


def modules(*patterns: str) -> list[Path]:
    """The files of raftkit that match any of `patterns` (relative to the package), sorted."""
    return sorted({path for pattern in patterns for path in PACKAGE.glob(pattern)})


def name_of(path: Path) -> str:
    """`raftkit/core/raft.py`: how a file is called in a finding, and as a test's id."""
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def dotted(node: ast.expr) -> str:
    """`random.Random` for the expression that reads so; "" for any other expression."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            before = dotted(value)
            return f"{before}.{attribute}" if before else ""
        case _:
            return ""


def at(path: Path, node: ast.stmt | ast.expr, what: str) -> str:
    """One finding, clickable."""
    return f"{name_of(path)}:{node.lineno}: {what}"
