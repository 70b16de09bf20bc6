"""What runs here: versions that support asks for first."""

from __future__ import annotations

import platform

from raftkit import __version__
from raftkit.cli.doctor.findings import Finding, Mark

__all__ = ["versions"]


def versions() -> Finding:
    """Of raftkit, Python and the system."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()}"
    return Finding(
        check="host.versions",
        mark=Mark.OK,
        words=f"raftkit {__version__}, {python}, {system}",
        facts={"raftkit": __version__, "python": python, "system": system},
    )
