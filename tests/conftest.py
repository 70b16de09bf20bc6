"""What holds for every test: how Hypothesis searches, and that a skip is a failure where it counts.

A test that is skipped proves nothing, and nobody reads the count of skips. So under CI, or with
RAFTKIT_NO_SKIPS=1, a skip of a test or of a whole module is reported as a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest_plugins = ["raftkit.testing.plugin"]

_TRUE = ("1", "true", "yes")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in _TRUE


NO_SKIPS = _is_set("RAFTKIT_NO_SKIPS") or _is_set("CI")

# `default` tries the same examples every time, so a red test is red for everyone; `explore` looks
# for new ones and remembers what failed. No deadline in either: two busy cores are no finding.
settings.register_profile("default", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: scenarios are written as they happen (tests/scenarios)."""
    parser.addoption(
        "--rewrite", action="store_true", help="write what happens into scenarios that differ"
    )


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason a skip was given, out of the (path, line, reason) that pytest keeps."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"a skip is a failure here (CI or RAFTKIT_NO_SKIPS is set): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into a failure. An expected failure (xfail) is no skip."""
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = _why(report)
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module (`importorskip`, say) into a failure."""
    report = yield
    if NO_SKIPS and report.skipped:
        report.longrepr = _why(report)
        report.outcome = "failed"
    return report
