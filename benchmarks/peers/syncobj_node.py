"""The program of one PySyncObj member, in PySyncObj's own environment, where no raftkit is.

    python syncobj_node.py OWN-ADDRESS OTHER,OTHER JOURNAL SETTINGS-AS-JSON

Told one JSON object a line: leader, load, probe, ready. Says one a line: see `benchmarks.peers.syncobj`.

Laws: the load's are those of `raftkit bench`. It lives as long as its stdin.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

from pysyncobj import SyncObj, SyncObjConf  # type: ignore[import-not-found]
from pysyncobj.batteries import ReplDict  # type: ignore[import-not-found]

KEYS = 1000
ATTEMPT_SECONDS = 0.2
PAUSE_SECONDS = 0.005


def main() -> None:
    """Serve until stdin ends."""
    own, others, journal, settings = sys.argv[1:]
    table = ReplDict()
    # Without a dump file its log is compacted into nothing, and who was away never gets ready again.
    files = {"journalFile": journal, "fullDumpFile": f"{journal}.dump"}
    conf = SyncObjConf(**files, **json.loads(settings))
    member = SyncObj(own, others.split(","), conf=conf, consumers=[table])
    for line in sys.stdin:
        request = json.loads(line)
        verb = request.pop("verb")
        if verb == "leader":
            leader = member._getLeader()  # there is no public word for it  # noqa: SLF001
            say(leader=str(leader) if leader and member.isReady() else None)
        elif verb == "load":
            threading.Thread(target=Load(table, **request).run).start()
        elif verb == "probe":
            threading.Thread(target=probe, args=(table, request["seconds"])).start()
        elif verb == "ready":
            while not member.isReady():
                time.sleep(PAUSE_SECONDS)
            say(ready=True)
    os._exit(0)


class Load:
    """A closed loop of writes, each begun by the callback of another: the fastest way there is."""

    def __init__(
        self, table: ReplDict, *, outstanding: int, size: int, warm_up: float, seconds: float
    ) -> None:
        self.set: Callable[..., None] = table.set
        self.outstanding, self.value, self.seconds = outstanding, "x" * size, seconds
        self.begins = time.perf_counter() + warm_up
        self.ends = self.begins + seconds
        self.number, self.failed, self.under_way = 0, 0, outstanding
        self.latencies: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Say when the measured time begins and ends, and then what was found."""
        for _ in range(self.outstanding):
            self.go_on()
        for edge in (self.begins, self.ends):
            time.sleep(max(0.0, edge - time.perf_counter()))
            say(edge=True)
        self.over.wait(self.seconds + 20)
        found = sorted(self.latencies)
        say(
            rate=len(found) / self.seconds,
            p50_ms=found[len(found) // 2] * 1000 if found else None,
            p99_ms=found[len(found) * 99 // 100] * 1000 if found else None,
            failed=self.failed,
        )

    def go_on(self) -> None:
        """Begin one write; what follows it is `done`."""
        self.number += 1
        began = time.perf_counter()
        self.set(
            f"k{self.number % KEYS}",
            self.value,
            callback=lambda _, error: self.done(began, error),
        )

    def done(self, began: float, error: int) -> None:
        """One write is acknowledged, or has failed."""
        now = time.perf_counter()
        if error:
            self.failed += 1
        elif self.begins <= began < self.ends:
            self.latencies.append(now - began)
        if now < self.ends:
            self.go_on()
            return
        self.under_way -= 1
        if not self.under_way:
            self.over.set()


def probe(table: ReplDict, seconds: float) -> None:
    """Write one after another, and say what was the longest time without."""
    begins = time.perf_counter()
    ends, last = begins + seconds, None
    longest, acknowledged, failed = 0.0, 0, 0
    while time.perf_counter() < ends:
        try:
            table.set("probe", "x" * 32, sync=True, timeout=ATTEMPT_SECONDS)
        except Exception:  # noqa: BLE001 - its own has no name of its own
            failed += 1
            time.sleep(PAUSE_SECONDS)
            continue
        now = time.perf_counter()
        longest = max(longest, now - (last or now))
        last, acknowledged = now, acknowledged + 1
    longest = max(longest, ends - (last or begins))
    say(gap_ms=1000 * longest, acknowledged=acknowledged, failed=failed)


def say(**found: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
