"""What docs/doctor.md promises to programs: names of checks, and of the facts that each may have."""

from __future__ import annotations

import re

from tests.house.source import ROOT

__all__ = ["CHECKS"]

_ROW = re.compile(r"^\| (`[a-z_]+\.[a-z_`., ]+) \| (.*) \|$", re.MULTILINE)
_NAME = re.compile(r"`([a-z_.]+)`")
_PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")

CHECKS = {
    name: set(_NAME.findall(facts))
    for checks, facts in _ROW.findall(_PAGE)
    for name in _NAME.findall(checks)
}
"Fact names by check, of the table at the end."
