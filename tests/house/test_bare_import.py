"""The bare package works: trio, attrs, cattrs and cbor2 are enough for all but the extras.

A venv without the extras would need the network. Instead a child process refuses to import what
only the extras and the developers bring.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.source import PACKAGE, ROOT, modules

# Modules that need an extra; each says so in one line when it is missing.
NEEDS_CLI = ("raftkit.__main__", "raftkit.cli")
NEEDS_TESTING = tuple(
    f"raftkit.testing.{name}"
    for name in (
        "cluster_rules",
        "machine_conformance",
        "machines.determinism",
        "machines.exploring",
        "machines.golden",
        "machines.rejections",
        "machines.snapshots",
        "machines.strategies",
        "modelled_rules",
        "plugin",
        "rules",
        "strategies",
        "with_hypothesis",
    )
)

REFUSE = """
import sys

class Refuse:
    absent = {"cryptography", "cyclopts", "rich", "yaml"}
    absent |= {"hypothesis", "pytest", "_pytest", "pytest_trio", "sphinx"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Refuse())
"""


def _bare(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", REFUSE + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _module_name(parts: tuple[str, ...]) -> str:
    return ".".join(parts).removesuffix(".__init__")


NAMES = [
    _module_name(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in modules("**/*.py")
]
BARE = [name for name in NAMES if not name.startswith((*NEEDS_CLI, *NEEDS_TESTING))]


def test_every_module_without_an_extra_imports_in_a_bare_environment() -> None:
    # One child for all: the first that fails ends it, and its name is the last one printed.
    done = _bare(
        f"import importlib\nfor name in {BARE!r}:\n    print(name, flush=True)\n"
        "    importlib.import_module(name)\n"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == BARE


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("from raftkit.__main__ import main\nmain()", id="console script"),
        pytest.param("import runpy\nrunpy.run_module('raftkit', run_name='__main__')", id="-m"),
    ],
)
def test_command_line_without_its_extra_says_what_to_install(start: str) -> None:
    done = _bare(f"sys.argv = ['raftkit', 'demo', '--in-process']\n{start}")

    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert "pip install 'raftkit-trio[cli]'" in lines[0]
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
def test_what_only_some_commands_need_is_not_loaded_for_all() -> None:
    code = "import sys, raftkit.cli.app; print({'rich', 'yaml', 'raftkit.cli.doctor'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr, done.stdout) == (0, "", "set()\n")
