"""Builds and installs what peers need: `python -m benchmarks.peers.prepare`, which `make bench` runs.

Laws: all of it is in `.peers`, which `make clean` removes. What is there is not made again. What can't be had
is said in one line, and is no error: the comparison leaves that peer out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["ETCD_LOAD", "SYNCOBJ_PYTHON", "SYNCOBJ_VERSION", "Missing", "main"]

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".peers"
ETCD_LOAD = PLACE / "etcd-load"
ETCD_SOURCE = Path(__file__).parent / "etcd_load" / "main.go"
GO_SOURCES = Path("/usr/share/gocode")
"Where Debian puts Go's libraries."
SYNCOBJ_VERSION = "0.3.17"
SYNCOBJ_HOME = PLACE / f"pysyncobj-{SYNCOBJ_VERSION}"
SYNCOBJ_PYTHON = SYNCOBJ_HOME / "bin" / "python"
_STAMP = SYNCOBJ_HOME / "installed"


class Missing(Exception):
    """A peer can't be had here. Says what to install."""


def prepare_etcd() -> None:
    """Build the load, if it is older than its source. Raises Missing."""
    if ETCD_LOAD.exists() and ETCD_LOAD.stat().st_mtime >= ETCD_SOURCE.stat().st_mtime:
        return
    go = shutil.which("go")
    if go is None or not (GO_SOURCES / "src/go.etcd.io/etcd/clientv3").exists():
        raise Missing("apt-get install golang-go golang-etcd-server-dev etcd-server")
    settings = {"GO111MODULE": "off", "GOPATH": str(GO_SOURCES), "GOCACHE": str(PLACE / "go")}
    _run([go, "build", "-o", str(ETCD_LOAD), str(ETCD_SOURCE)], settings)


def prepare_syncobj() -> None:
    """Make its environment. Raises Missing."""
    if _STAMP.exists():
        return
    venv.create(SYNCOBJ_HOME, clear=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    package = f"pysyncobj=={SYNCOBJ_VERSION}"
    _run([*pip, "--python", str(SYNCOBJ_PYTHON), "install", "--quiet", package], {})
    _STAMP.touch()


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    """Raises Missing with its last words if it fails."""
    ran = subprocess.run(
        arguments,
        env={**os.environ, **environment},
        cwd=PLACE,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        words = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
        raise Missing(f"{Path(arguments[0]).name}: {words[-1]}")


def main() -> int:
    """Prepare all peers; returns the exit status, which is 0."""
    PLACE.mkdir(exist_ok=True)
    for name, prepare in {"etcd": prepare_etcd, "pysyncobj": prepare_syncobj}.items():
        try:
            prepare()
        except Missing as why:
            print(f"{name} is left out: {why}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
