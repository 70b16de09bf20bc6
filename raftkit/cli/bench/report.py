"""What the benchmark measured: words, a table, JSON, exit code.

Laws: every number was measured; what was not is None. A measurement says itself what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import attrs
from rich.table import Table

from raftkit.cli.bench.environment import Environment
from raftkit.cli.bench.gap import Gap
from raftkit.cli.bench.idle import Idle
from raftkit.cli.bench.traffic import Traffic
from raftkit.cli.bench.workload import Place, Workload
from raftkit.cli.network import Kind

__all__ = ["Measurement", "Report"]

_NAMES: Mapping[Kind, str] = {"tcp": "TCP", "multicast": "UDP multicast"}
SATURATED_PERCENT = 85
"Of a core: a node, whose Python runs on one and sometimes waits for its disk, has hardly more to give."
OTHERS_PERCENT = 20
"Of a core, used by processes that are none of ours: worth a word."


@attrs.frozen(kw_only=True)
class Measurement:
    """One machine under one load."""

    machine: str
    "bytes or typed."
    workload: Workload = "writes"
    "What the tasks of the load did."
    at: Place = "leader"
    "In whose process the load ran."
    outstanding: int
    "Operations under way at any time."
    seconds: float
    "How long was measured."
    writes: int
    "Begun in that time, and acknowledged; reads count here as well, if the workload has any."
    p50_ms: float | None
    "Half of these were acknowledged within this time; None if there were none."
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    leader: str
    "Who led."
    cpu_percent: Mapping[str, float]
    "User and system, by node, in percent of a core."
    others_cpu_percent: float
    "By everything else on this machine, the benchmark's own process included."
    cpus: int
    "Cores there are."
    traffic: Traffic
    "Of the node whose process was the load's."
    acknowledged: int
    "Writes, with those of the warm-up and those answered after the end."
    applied: Mapping[str, int]
    "By each node's machine, of the same writes."
    elections: int
    "Terms that began meanwhile."
    errors: Mapping[str, int]
    "Writes that failed, by the error's name."

    @property
    def writes_per_s(self) -> float:
        """Writes in a second."""
        return self.writes / self.seconds

    @property
    def saturated(self) -> tuple[str, ...]:
        """What had nothing more to give: nodes by name, and cores. Nothing: it waited for disk and wire."""
        nodes = [name for name, it in self.cpu_percent.items() if it >= SATURATED_PERCENT]
        busy = sum(self.cpu_percent.values()) + self.others_cpu_percent
        return (*nodes, *(["cores"] if busy >= SATURATED_PERCENT * self.cpus else []))

    def faults(self) -> Iterator[str]:
        """What makes the figures worthless, if anything does."""
        for name, count in self.errors.items():
            yield f"{count} writes failed: {name}"
        if self.elections:
            yield f"{self.elections} elections while it was measured"
        unknown = self.errors.get("OutcomeUnknown", 0)
        for node, count in self.applied.items():
            if not self.acknowledged <= count <= self.acknowledged + unknown:
                yield f"{self.acknowledged} writes were acknowledged, {node} applied {count}"

    @property
    def name(self) -> str:
        """Which measurement of a run this is."""
        what = "" if self.workload == "writes" else f"{self.workload}, "
        where = "" if self.at == "leader" else "at a follower, "
        return f"{self.machine}, {what}{where}{self.outstanding} outstanding"

    def as_words(self) -> str:
        """One line."""
        noun = {"reads": "reads", "mixed": "operations"}.get(self.workload, "writes")
        return (
            f"{self.name}: {self.writes_per_s:,.0f} {noun}/s, "
            f"p50 {_ms(self.p50_ms)}, p99 {_ms(self.p99_ms)} ms{self._traffic_in_words()}"
        )

    def _traffic_in_words(self) -> str:
        """What of the leader a write costs the network."""
        sent, words = self.traffic, ""
        if self.writes and sent.packets_sent and self.workload == "writes" and self.at == "leader":
            each = sent.bytes_sent / self.writes, sent.packets_sent / self.writes
            words = f"; {each[0]:.0f} bytes and {each[1]:.2f} packets a write from the leader"
        return f"{words}, {sent.repaired} of them repairs" if words and sent.repaired else words

    def as_data(self) -> dict[str, object]:
        """For JSON."""
        return {
            "machine": self.machine,
            "workload": self.workload,
            "at": self.at,
            "outstanding": self.outstanding,
            "seconds": self.seconds,
            "writes": self.writes,
            "writes_per_s": self.writes_per_s,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "p999_ms": self.p999_ms,
            "max_ms": self.max_ms,
            "cpu": {
                name: {
                    "role": "leader" if name == self.leader else "follower",
                    "percent": round(percent, 1),
                    "us_per_write": self._cpu_us_per_write(name),
                }
                for name, percent in self.cpu_percent.items()
            },
            "others_cpu_percent": round(self.others_cpu_percent, 1),
            "saturated": self.saturated,
            **attrs.asdict(self.traffic),
            "acknowledged": self.acknowledged,
            "applied": dict(self.applied),
            "elections": self.elections,
            "errors": dict(self.errors),
            "faults": list(self.faults()),
        }

    def _cpu_us_per_write(self, name: str) -> float | None:
        """What an operation costs a node, which other processes change less than how many there are."""
        if not self.writes:
            return None
        return round(self.cpu_percent[name] / 100 / self.writes_per_s * 1e6, 1)


@attrs.frozen(kw_only=True)
class Report:
    """The end of a benchmark."""

    environment: Environment
    "Where it ran."
    nodes: int
    "How many, each a process."
    transport: Kind = "tcp"
    "How they talked."
    loss: float = 0.0
    "Part of the datagrams that each was made to lose."
    measurements: tuple[Measurement, ...]
    "In the order in which they were made."
    gaps: tuple[Gap, ...] = ()
    "What changes of leadership did to the writes."
    idle: tuple[Idle, ...] = ()
    "What groups at rest cost."
    failure: str = ""
    "Why it could not go on; empty if it went to its end."

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that is wrong."""
        wrong = [
            *(f"{it.name}: {words}" for it in self.measurements for words in it.faults()),
            *(f"{it.as_words()}: {words}" for it in self.gaps for words in it.faults()),
        ]
        return (*wrong, *([self.failure] if self.failure else []))

    @property
    def exit_code(self) -> int:
        """0 only if nothing is wrong."""
        return 1 if self.faults else 0

    def as_json(self) -> str:
        """One object in one line."""
        return json.dumps(
            {
                "environment": attrs.asdict(self.environment),
                "nodes": self.nodes,
                "transport": self.transport,
                "loss": self.loss,
                "measurements": [it.as_data() for it in self.measurements],
                "gaps": [attrs.asdict(it) for it in self.gaps],
                "idle": [attrs.asdict(it) for it in self.idle],
                "faults": self.faults,
            }
        )

    def as_table(self) -> Table:
        """For people."""
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("machine")
        for name in (
            *("out-\nstanding", "a\nsecond", "p50\nms", "p99\nms", "p99.9\nms", "max\nms"),
            *("CPU %\nleader", "follow-\ners", "others"),
        ):
            table.add_column(name, justify="right")
        table.add_column("saturated", overflow="fold")
        for it in self.measurements:
            followers = [
                _percent(it.cpu_percent[name]) for name in it.cpu_percent if name != it.leader
            ]
            table.add_row(
                it.name.rpartition(", ")[0],
                str(it.outstanding),
                f"{it.writes_per_s:,.0f}",
                *map(_ms, (it.p50_ms, it.p99_ms, it.p999_ms, it.max_ms)),
                _percent(it.cpu_percent[it.leader]),
                " ".join(followers),
                _percent(it.others_cpu_percent),
                ", ".join(it.saturated) or "nothing",
            )
        return table

    def as_words(self) -> Iterator[str]:
        """What belongs under the table."""
        here = self.environment
        yield (
            f"{self.nodes} processes on one machine, {_NAMES[self.transport]} on loopback; {here.python}, "
            f"{here.cpus} × {here.cpu_model or 'an unknown processor'}, {here.kernel}"
        )
        if self.loss:
            yield f"each loses {100 * self.loss:g} % of the datagrams that reach it, on purpose"
        where = here.file_system or "an unknown file system"
        yield f"directories on {where}, write and fdatasync of 64 bytes {here.fsync_ms:.3f} ms"
        if not here.is_durable:
            yield f"{here.file_system} is memory: nothing here was durable; give --data on a disk"
        if any(it.others_cpu_percent >= OTHERS_PERCENT for it in self.measurements):
            yield "other processes were at work, too: see others %"
        for words in self.faults:
            yield f"WRONG: {words}"


def _ms(value: float | None) -> str:
    """Three figures or a few more: no wider than five characters up to 10 s."""
    if value is None:
        return "–"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _percent(value: float) -> str:
    return f"{value:.0f}"
