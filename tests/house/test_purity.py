"""The core, the wire and the vocabulary see no clock, no chance, no I/O and no order of a set.

import-linter guards the same floor from outside; this test also sees what an import contract can't:
which part of `random` is used, what is called, and what is iterated. Each rule is tried on bad code
first, so that a rule which catches nothing is noticed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house.source import at, dotted, modules, name_of, tree

PURE = modules(
    "core/**/*.py",
    "wire/**/*.py",
    "model.py",
    "messages.py",
    "snapshot.py",
    "driver_messages.py",
    "membership.py",
    "config.py",
    "encoding.py",
)

# What these modules may import. Nothing here reads a clock, a file, a socket or a global generator.
ALLOWED = {
    "__future__",
    "abc",
    "attrs",
    "bisect",
    "cattrs",
    "cbor2",
    "collections",
    "contextlib",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "io",
    "ipaddress",
    "itertools",
    "math",
    "operator",
    "raftkit",
    "random",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "zlib",
}

# `io` is in-memory buffers only; `hash` and `id` differ from process to process.
FORBIDDEN_CALLS = {"__import__", "eval", "exec", "hash", "id", "input", "io.open", "open", "print"}

# Functions whose result does not depend on the order of what they are given (when they are not
# given a `key`, with which the first of equals would win).
ORDERLESS = {"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"}

# Functions in whose result the order of what they are given shows.
ORDERED = {"dict", "enumerate", "iter", "list", "next", "tuple", "zip"}

SET_TYPES = {"set", "frozenset", "AbstractSet", "MutableSet", "Set", "KeysView"}
SET_METHODS = {"difference", "intersection", "symmetric_difference", "union"}

Tree = ast.Module


# ---------------------------------------------------------------- the rules


def foreign_imports(module: Tree) -> Iterator[tuple[ast.stmt, str]]:
    """Every import of something that is not on the list."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.level == 0 else []
        else:
            continue
        for name in names:
            if name.partition(".")[0] not in ALLOWED:
                yield node, f"imports {name}"


def uses_of_chance(module: Tree) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """`random` may be named as `random.Random`, the type, and in no other way."""
    for node in ast.walk(module):
        match node:
            case ast.ImportFrom(module="random"):
                yield node, "write `import random`, and use only random.Random, as a type"
            case ast.Import(names=names) if any(a.name == "random" and a.asname for a in names):
                yield node, "import random under its own name"
            case ast.Attribute(value=ast.Name(id="random"), attr=attribute) if (
                attribute != "Random"
            ):
                yield node, f"random.{attribute}: chance comes as an argument"
            case ast.Call(func=function) if dotted(function) == "random.Random":
                yield node, "makes a generator: chance comes as an argument"
            case _:
                pass


def forbidden_calls(module: Tree) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and dotted(node.func) in FORBIDDEN_CALLS:
            yield node, f"calls {dotted(node.func)}()"


def annotated_as_sets(modules_read: list[Tree]) -> set[str]:
    """Names of fields, arguments and variables annotated as sets, and never as anything else."""
    sets: set[str] = set()
    others: set[str] = set()
    for module in modules_read:
        for node in ast.walk(module):
            match node:
                case ast.arg(arg=name, annotation=ast.expr() as annotation):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                    pass
                case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=annotation):
                    pass
                case ast.FunctionDef(name=name, returns=ast.expr() as annotation):
                    pass  # a property, or a call: both read as `name`
                case _:
                    continue
            outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
            is_set = dotted(outer).rpartition(".")[2] in SET_TYPES
            (sets if is_set else others).add(name)
    return sets - others


def is_set(node: ast.expr, names: set[str]) -> bool:
    """Whether this expression is a set, as far as can be seen without running it."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Attribute(attr=method)) if method in SET_METHODS:
            return True
        case ast.Call(func=function):
            return dotted(function).rpartition(".")[2] in {"set", "frozenset"} | names
        case ast.BinOp(
            left=left, op=ast.BitOr() | ast.BitAnd() | ast.BitXor() | ast.Sub(), right=right
        ):
            return is_set(left, names) or is_set(right, names)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
        case _:
            return False


def iterations_of_sets(module: Tree, names: set[str]) -> Iterator[tuple[ast.expr, str]]:
    """Every place where the order of a set, which differs between processes, could be seen."""
    harmless: set[ast.expr] = set()
    for node in ast.walk(module):  # parents come before their children
        sources: list[ast.expr] = []
        match node:
            case ast.Call(func=function, args=arguments, keywords=keywords) if dotted(function):
                called = dotted(function)
                if called in ORDERLESS and not (called in {"max", "min"} and keywords):
                    harmless.update(arguments)
                elif called in ORDERED or called.endswith((".extend", ".join")):
                    sources = arguments
            case ast.Call(func=ast.Attribute(attr="join"), args=arguments):  # ", ".join
                sources = arguments
            case ast.SetComp():
                pass
            case ast.For(iter=source):
                sources = [source]
            case (
                ast.ListComp(generators=gs)
                | ast.GeneratorExp(generators=gs)
                | ast.DictComp(generators=gs)
            ):
                if node not in harmless:
                    sources = [generator.iter for generator in gs]
            case ast.Starred(value=source):
                sources = [source]
            case _:
                pass
        for source in sources:
            if is_set(source, names):
                yield source, f"the order of a set shows: sorted({ast.unparse(source)})"


# ---------------------------------------------------------------- the rules, on raftkit


@cache
def set_names() -> set[str]:
    return annotated_as_sets([tree(path) for path in PURE])


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_module_is_pure(path: Path) -> None:
    module = tree(path)

    findings = [
        at(path, node, what)
        for rule in (
            foreign_imports(module),
            uses_of_chance(module),
            forbidden_calls(module),
            iterations_of_sets(module, set_names()),
        )
        for node, what in rule
    ]

    assert findings == []


# ---------------------------------------------------------------- the rules, on bad code


def _found(code: str) -> int:
    module = ast.parse(code)
    names = annotated_as_sets([module])
    return sum(
        1
        for rule in (
            foreign_imports(module),
            uses_of_chance(module),
            forbidden_calls(module),
            iterations_of_sets(module, names),
        )
        for _ in rule
    )


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio",
        "import datetime",
        "import logging",
        "import os",
        "import secrets",
        "import socket",
        "import threading",
        "import time",
        "import trio",
        "import uuid",
        "from os import path",
        "import collections, time",
        "def f():\n    import time",
        "from random import Random",
        "import random as chance",
        "x = random.random()",
        "rng = random.Random(1)",
        "random.seed(1)",
        "key = hash(name)",
        "key = id(name)",
        "print(1)",
        "open('x')",
        "for x in {1, 2}: pass",
        "for x in set(xs): pass",
        "for x in {y for y in ys}: pass",
        "for x in set(xs) - seen: pass",
        "for x in (xs | frozenset(ys)): pass",
        "ys = [x for x in frozenset(xs)]",
        "ys = {x: 1 for x in set(xs)}",
        "ys = list(set(xs))",
        "ys = tuple(xs.union(ys))",
        "ys = (*set(xs), 1)",
        "y = next(iter({1, 2}))",
        "y = min((x for x in {1, 2}), key=f)",
        "def f(voters: frozenset[str]):\n    for v in voters: pass",
        "class C:\n    voters: set[str]\ndef f(c):\n    return tuple(c.voters)",
        "def voters(c) -> frozenset[str]: ...\nfor v in voters(c): pass",
        "text = ', '.join({'a', 'b'})",
    ],
)
def test_impure_code_is_found(code: str) -> None:
    assert _found(code) >= 1


@pytest.mark.parametrize(
    "code",
    [
        "import random\ndef f(rng: random.Random) -> int: return rng.randrange(3)",
        "for x in sorted({2, 1}): pass",
        "ys = sorted(x for x in set(xs))",
        "ok = all(x > 0 for x in {1, 2})",
        "ys = {x + 1 for x in set(xs)}",
        "n = len(set(xs)) + sum({1, 2})",
        "ys = [x for x in xs if x in {1, 2}]",
        "def f(voters: frozenset[str]):\n    for v in sorted(voters): pass",
        "def f(id: str):\n    return id",
        "for x in a - b: pass",
    ],
)
def test_pure_code_is_left_alone(code: str) -> None:
    assert _found(code) == 0
