"""Mistakes in how fast the multicast transport sends: windows, pacing, and what an endpoint keeps.

See `mutants.py` and `multicast_mutants.py`. Who wakes for nothing is noticed by worlds of whole nodes, whose
time stands still meanwhile.
"""

from __future__ import annotations

from tests.mutants.multicast_mutants import in_multicast
from tests.mutants.mutants import Mutant

__all__ = ["MULTICAST_FLOW_MUTANTS"]

MULTICAST_FLOW_MUTANTS = (
    in_multicast(
        "nobody-is-waited-for",
        "who is a window behind holds back who sends",
        "window",
        "if sent - taken < self.datagrams:",
        "if True:",
        "window.py::test_a_receiver_that_is_busy_for_a_moment_loses_nothing",
        "endpoint.py::test_a_node_that_is_busy_for_a_moment_loses_nothing",
    ),
    in_multicast(
        "who-stays-away-is-waited-for-as-long",
        "a receiver holds the others back for 100 ms, once",
        "window",
        'max(self._since.values(), default=float("-inf")) + PATIENCE_SECONDS',
        '(now if self._since else float("-inf")) + PATIENCE_SECONDS',
        "window.py::test_patience_begins_with_the_wait_and_not_anew_with_each_look",
    ),
    in_multicast(
        "who-caught-up-is-still-behind",
        "who has caught up is waited for again",
        "window",
        "                self._since.pop(receiver, None)\n            elif",
        "                pass\n            elif",
        "window.py::test_who_caught_up_is_waited_for_again",
    ),
    in_multicast(
        "how-far-one-is-is-not-told",
        "a receiver tells for each eighth of a window",
        "link",
        "place >= told + self.window // TOLD_PART",
        "place >= told + 9 * self.window",
        "window.py::test_a_receiver_that_is_busy_for_a_moment_loses_nothing",
    ),
    in_multicast(
        "who-does-not-hear-us-is-waited-for",
        "who fell back holds no multicast back",
        "link",
        "            self.group.window.forget(self.peer)\n",
        "",
        "window.py::test_nobody_waits_for_who_left_or_does_not_hear_us",
    ),
    in_multicast(
        "who-left-is-waited-for",
        "who has no link holds no multicast back",
        "engine",
        "        self._group.window.forget(link.peer)\n",
        "",
        "window.py::test_nobody_waits_for_who_left_or_does_not_hear_us",
    ),
    in_multicast(
        "who-returns-has-read-nothing",
        "who hears us again is waited for from where it was invited on",
        "link",
        "self.group.window.take(self.peer, self.reach.since.data)",
        "self.group.window.take(self.peer, 0)",
        "window.py::test_who_hears_us_again_is_waited_for_from_there_on",
    ),
    in_multicast(
        "what-was-not-read-is-asked-for",
        "gaps are asked for when all that has arrived was read",
        "endpoint",
        "for _ in range(HEAR_TURNS_MAX):",
        "for _ in range(0):",
        "endpoint.py::test_what_has_arrived_and_was_not_read_yet_is_not_asked_for",
    ),
    in_multicast(
        "asking-between-two-datagrams",
        "gaps are asked for when all that has arrived was read",
        "link",
        "        self._take(number, place)\n",
        "        self._take(number, place)\n        self._ask(number, stream, now)\n",
        "endpoint.py::test_what_has_arrived_and_was_not_read_yet_is_not_asked_for",
    ),
    in_multicast(
        "the-kernel-is-not-told-the-rate",
        "the kernel is told the rate, too",
        "endpoint",
        "        self.sockets.pace(max(self.pacing_rate, int(self._pacer.burst / BURST_SECONDS)))\n",
        "",
        "endpoint.py::test_the_kernel_is_told_the_rate_too",
    ),
    in_multicast(
        "a-low-rate-delays-heartbeats-in-the-kernel",
        "the kernel may always send a burst within 10 ms",
        "endpoint",
        "self.sockets.pace(max(self.pacing_rate, int(self._pacer.burst / BURST_SECONDS)))",
        "self.sockets.pace(self.pacing_rate)",
        "endpoint.py::test_the_kernel_is_told_the_rate_too",
    ),
    in_multicast(
        "what-has-no-room-is-not-counted",
        "what had no room behind a missing message is counted",
        "endpoint",
        "crowded=self.engine.in_counts.crowded",
        "crowded=0",
        "endpoint.py::test_what_waits_behind_a_missing_message_is_bounded_and_the_rest_is_counted",
    ),
    in_multicast(
        "the-bound-of-what-waits-is-not-the-chosen-one",
        "recv_buffer_capacity messages may wait behind a missing one",
        "engine",
        "messages_max=settings.recv_buffer_capacity",
        "messages_max=256",
        "endpoint.py::test_what_waits_behind_a_missing_message_is_bounded_and_the_rest_is_counted",
    ),
    Mutant(
        "held-back-and-awake",
        "who may not go yet wakes nobody",
        "multicast/pacing.py",
        "if not queue or self._is_held_back(turn):",
        "if not queue:",
        frozenset({"tests"}),
        package="transports",
        tests=(
            "tests/transports/test_pacing.py::test_no_message_begins_while_another_is_under_way",
        ),
    ),
    Mutant(
        "bulk-waits-for-ever",
        "a snapshot gets through a group that writes as fast as it may",
        "multicast/pacing.py",
        "return turn is Turn.ENTRIES and bool(due)",
        "return False",
        frozenset({"tests"}),
        package="transports",
        tests=("tests/transports/test_pacing.py::test_entries_without_end_leave_bulk_a_quarter",),
    ),
    Mutant(
        "alarm-is-not-wound",
        "an alarm wakes once",
        "multicast/endpoint.py",
        "            self._alarm = trio.Event()\n",
        "",
        frozenset({"full"}),
        package="transports",
        tests=(),
    ),
    Mutant(
        "rounding-is-forgotten",
        "who wakes at the moment at which it may go goes",
        "multicast/pacing.py",
        "ROUNDING: Final = 1.0",
        "ROUNDING: Final = 0.0",
        frozenset({"tests"}),
        package="transports",
        tests=("tests/transports/test_pacing.py::test_who_wakes_at_the_deadline_finds_something",),
    ),
)
