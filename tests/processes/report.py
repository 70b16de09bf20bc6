"""What came of a storm, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from tests.processes.nemesis import Gap

__all__ = ["Report"]


@attrs.frozen(kw_only=True)
class Report:
    """What came of a storm."""

    seed: int
    nodes: int
    clients: int
    seconds: float
    "How long it took, from the first leader to the comparison of all states."
    operations: int
    "Calls that were checked: those that failed without a trace left out."
    calls: dict[str, int]
    "What became of calls."
    blows: dict[str, int]
    "What befell processes."
    starts: int
    "Processes started."
    leaders: int
    "Terms that were heard to have a leader."
    term: int
    "The newest of them."
    applied: int
    "Commands in the final state, which is the same at all nodes."
    gaps: list[Gap]
    "Silences after the leader was hit."
    rss_mb: dict[str, float]
    "The most memory that the storm itself had, and the processes that the nodes ended with."
    data_mb: float
    "What all directories hold at the end."
    violations: list[str]
    "What must never happen, in words."

    def plain(self) -> dict[str, object]:
        """All of it for JSON, silences in numbers."""
        killed = [it for it in self.gaps if it.blow == "kill"]
        return attrs.asdict(self, filter=lambda it, _: it.name != "gaps") | {
            "operations_per_second": round(self.operations / self.seconds),
            "gaps_ms": {
                "all": _quantiles(self.gaps),
                "leader killed": _quantiles(killed),
                "leader killed, nothing else meanwhile": _quantiles(
                    [it for it in killed if not it.disturbed]
                ),
                "leader stopped": _quantiles([it for it in self.gaps if it.blow == "stop"]),
            },
        }

    def lines(self) -> Iterator[str]:
        """All of it for people, violations last."""
        for name, value in self.plain().items():
            match value:
                case dict():
                    yield name
                    yield from (f"  {it:42} {_short(what)}" for it, what in value.items())
                case list():
                    yield f"{name:44} {len(value)}"
                case _:
                    yield f"{name:44} {_short(value)}"
        yield from self.violations


def _quantiles(gaps: Sequence[Gap]) -> dict[str, int]:
    """Median, p90 and maximum of some silences, in ms."""
    ms = sorted(round(it.seconds * 1000) for it in gaps)
    if not ms:
        return {"count": 0}
    middle, most = ms[len(ms) // 2], ms[len(ms) * 9 // 10]
    return {"count": len(ms), "median": middle, "p90": most, "max": ms[-1]}


def _short(value: object) -> object:
    match value:
        case float():
            return f"{value:.1f}"
        case dict():
            return ", ".join(f"{name} {it}" for name, it in value.items())
        case _:
            return value
