"""Hypothesis, or one line that says what to install. The extra `testing` brings it."""

from __future__ import annotations

try:
    import hypothesis
    from hypothesis import assume, stateful, strategies as st
    from hypothesis.errors import Flaky
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "raftkit's strategies and its checks of machines need Hypothesis: "
        "pip install 'raftkit-trio[testing]'",
        name=error.name,
    ) from error

__all__ = ["UNWATCHED", "Flaky", "assume", "hypothesis", "st", "stateful"]

_Check = hypothesis.HealthCheck
UNWATCHED = (
    _Check.too_slow,
    _Check.data_too_large,
    _Check.large_base_example,
    _Check.filter_too_much,
)
"What a machine's commands, and the speed of its code, can't help."
