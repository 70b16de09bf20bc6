"""Mistakes in how the state machine is driven: states that nodes would not share, or not for long.

See `mutants.py`. `tests` says which files are to notice.
"""

from __future__ import annotations

from functools import partial

from tests.mutants.mutants import beside_the_core

__all__ = ["MACHINE_MUTANTS"]

_CLOCKING = "tests/driver/test_clocking.py"
_CUTTING = "tests/driver/test_cutting.py"
_DIGESTS = "tests/driver/test_digests.py"
_DIVERGENCE = "tests/node/test_divergence.py"
_FORWARDING = "tests/driver/test_forwarding.py"
_OLD_CODE = "tests/node/test_old_code.py"
_REPLICA = "tests/driver/test_replica.py"
_ROLLING = "tests/node/test_rolling_upgrades.py"
_UNWRITABLE = "tests/node/test_unwritable_states.py"
_UPGRADING = "tests/driver/test_upgrading.py"
_VERSIONS = "tests/driver/test_versions.py"

_mistake = partial(beside_the_core, package="driver")

MACHINE_MUTANTS = (
    # ── digests ──
    _mistake(
        "majority-of-those-who-spoke",
        "a state is right by a majority of all voters",
        "digests.py",
        "if won(configuration, it)), None)",
        "if 2 * len(it) > len(alike)), None)",
        _DIGESTS,
    ),
    _mistake(
        "one-voter-is-right-by-itself",
        "of two that differ nobody can tell which is wrong",
        "digests.py",
        "len(best) >= RIGHT_MIN",
        "len(best) >= 1",
        _DIGESTS,
    ),
    _mistake(
        "versions-are-compared",
        "only digests of one format and version are compared",
        "digests.py",
        "found.setdefault((it.format, it.version), {})",
        "found.setdefault((it.format, 0), {})",
        _DIGESTS,
        _DIVERGENCE,
    ),
    _mistake(
        "strangers-have-digests",
        "only members are heard, by their incarnation",
        "digests.py",
        "            member.id: self._told[member.identity][index]\n"
        "            for member in configuration.members\n"
        "            if index in self._told.get(member.identity, ())\n",
        "            who.id: said[index] for who, said in self._told.items() if index in said\n",
        _DIGESTS,
    ),
    _mistake(
        "minority-goes-on",
        "who is wrong by a majority's digests applies and answers nothing",
        "comparing.py",
        "            self._diverge(verdict.index)\n",
        "            pass\n",
        _DIVERGENCE,
    ),
    _mistake(
        "divergent-node-leads-on",
        "who is wrong is unfit",
        "comparing.py",
        "        self.tell_core(Unfit(reason=why))\n",
        "",
        _DIVERGENCE,
    ),
    _mistake(
        "divergent-for-good",
        "who was mended is fit again",
        "comparing.py",
        "            self.tell_core(Fit())\n",
        "",
        _DIVERGENCE,
    ),
    _mistake(
        "wrong-state-is-shown",
        "a divergent node answers no reads",
        "server.py",
        "        if self.applying.divergence is not None:\n            raise Diverged",
        "        if False:\n            raise Diverged",
        _DIVERGENCE,
    ),
    _mistake(
        "divergent-node-applies-on",
        "a divergent node applies nothing until it is mended",
        "applying.py",
        "        if self.divergence is None:\n            await self._apply(item)\n",
        "        if True:\n            await self._apply(item)\n",
        _DIVERGENCE,
    ),
    _mistake(
        "any-snapshot-is-believed",
        "a fetched snapshot is believed by the digest of a majority",
        "applying.py",
        "            if restored.digest() != seed.digest:\n",
        "            if False:\n",
        _DIVERGENCE,
    ),
    _mistake(
        "mended-in-memory-only",
        "what was mended is durable before it is used",
        "snapshotting.py",
        "            restore()\n            await self._write(self.replica.capture(), compare=True)\n",
        "            restore()\n",
        _DIVERGENCE,
    ),
    _mistake(
        "wrong-snapshot-is-not-told-at-the-start",
        "a node that begins with a snapshot tells its digest",
        "server.py",
        "                self.comparing.recall(found.snapshot, own)\n",
        "                pass\n",
        _DIVERGENCE,
    ),
    _mistake(
        "doubts-stay-silent",
        "who differs without a majority is named",
        "comparing.py",
        "            if differ:\n",
        "            if False:\n",
        _DIVERGENCE,
    ),
    _mistake(
        "a-silent-holder-is-asked-for-ever",
        "a holder that is silent is left for another",
        "parts.py",
        "        for _ in range(TRIES):\n",
        "        while True:\n",
        _DIVERGENCE,
    ),
    _mistake(
        "any-file-of-that-index-is-given",
        "parts of a snapshot are of the very same file",
        "parts.py",
        "        if snapshot is not None and wanted.checksum in (None, snapshot.checksum):",
        "        if snapshot is not None:",
        "tests/node/test_snapshots_from_members.py",
    ),
    _mistake(
        "holders-keep-to-no-rate",
        "who serves a snapshot keeps to the rate of one who leads",
        "parts.py",
        "            await trio.sleep(len(part.data) / self.bytes_per_second)",
        "            await trio.sleep(0)",
        "tests/node/test_snapshots_from_members.py",
    ),
    _mistake(
        "useless-holders-are-asked-again",
        "who gave nothing of a snapshot is asked no more for it",
        "seeking.py",
        "                self._useless.add(holder)",
        "                pass",
        "tests/driver/test_seeking.py",
    ),
    _mistake(
        "the-leader-is-asked-too",
        "what is sought elsewhere spares the leader",
        "seeking.py",
        "{self.id, request.leader, *self._useless}",
        "{self.id, *self._useless}",
        "tests/driver/test_seeking.py",
    ),
    # ── machine, time, snapshots ──
    _mistake(
        "old-code-leads-on",
        "who can't apply tells the core so",
        "applying.py",
        "        self.report(Unfit(reason=why))\n",
        "",
        _OLD_CODE,
    ),
    _mistake(
        "newer-snapshot-lets-it-lead",
        "a snapshot of newer code makes unfit from the start",
        "server.py",
        "            loop.put(Unfit(reason=self.applying.stopped))\n",
        "            pass\n",
        _OLD_CODE,
    ),
    _mistake(
        "unknown-entry-leaves-its-stamps",
        "an entry that was not applied leaves no trace",
        "replica.py",
        "            if self.applied >= part.first:\n",
        "            if True:\n",
        _REPLICA,
    ),
    _mistake(
        "clock-entries-in-a-row",
        "one clock entry is under way at a time",
        "clocking.py",
        "        if self.applying.applied < self._entry:\n            return None\n",
        "",
        _CLOCKING,
    ),
    _mistake(
        "clock-entries-for-ever",
        "a deadline gets one entry in a leadership",
        "clocking.py",
        "        if deadline_ns is None or deadline_ns == self._served:",
        "        if deadline_ns is None:",
        _CLOCKING,
        "tests/node/test_clock_entries.py",
    ),
    _mistake(
        "cuts-count-from-the-snapshot",
        "who restores a snapshot cuts where the others do",
        "replica.py",
        "cuts=Cuts(index=Index(index - entries), size=size, elapsed_ns=cut_ns)",
        "cuts=Cuts(index=Index(index), size=0, elapsed_ns=elapsed_ns)",
        _CUTTING,
    ),
    _mistake(
        "unwritable-state-stops-the-node",
        "one bug in one command stops nobody: the snapshot is skipped",
        "snapshotting.py",
        "            except StateUnwritable as error:\n"
        "                self._skip(error)\n"
        "            finally:",
        "            finally:",
        _UNWRITABLE,
    ),
    # ── change over time ──
    _mistake(
        "versions-are-skipped",
        "versions come one after the other, each by its own upgrade",
        "typed_host.py",
        "schema_of(self.schema.machine, self.schema.version + 1)",
        "schema_of(self.schema.machine, version)",
        _VERSIONS,
    ),
    _mistake(
        "snapshot-of-a-version-that-came-later",
        "a snapshot is of the version in which it was captured",
        "typed_host.py",
        "                if field.since > schema.version:",
        "                if field.since > self.schema.version:",
        _VERSIONS,
    ),
    _mistake(
        "upgrade-that-raises-goes-on",
        "a state half upgraded is no state",
        "typed_host.py",
        "            upgrade.call(self.machine)\n        except (Exception, SystemExit) as error:\n",
        "            upgrade.call(self.machine)\n        except ZeroDivisionError:\n            pass\n"
        "        except (Exception, SystemExit) as error:\n",
        _VERSIONS,
        _ROLLING,
    ),
    _mistake(
        "version-goes-back",
        "a version is never taken back",
        "replica.py",
        "        if version <= self.version:",
        "        if version == self.version:",
        _VERSIONS,
    ),
    _mistake(
        "older-code-goes-on",
        "code without the version stops before the entry",
        "replica.py",
        "        if version > self.newest_version:",
        "        if version > self.newest_version + 9:",
        _VERSIONS,
        _ROLLING,
    ),
    _mistake(
        "older-code-drops-what-it-does-not-know",
        "a snapshot of a later version is refused, and nothing of it dropped",
        "replica.py",
        "            if header.version > self.newest_version:",
        "            if False:",
        _VERSIONS,
    ),
    _mistake(
        "silent-voters-have-all-versions",
        "a version waits for every voter's hello",
        "upgrading.py",
        "min(heard.get(it, 0) for",
        "min(heard.get(it, heard[self.id]) for",
        _UPGRADING,
    ),
    _mistake(
        "one-half-decides-on-versions",
        "while joint, voters of both configurations count (§4.3)",
        "upgrading.py",
        "        voters = {it for half in raft.configuration.halves for it in half}\n        return",
        "        voters = {*raft.configuration.voters}\n        return",
        _UPGRADING,
    ),
    _mistake(
        "version-comes-at-once",
        "until upgrade_hold is over, new code can be taken back",
        "upgrading.py",
        "            if trio.current_time() - since >= self.hold_seconds:",
        "            if True:",
        _ROLLING,
    ),
    _mistake(
        "hold-is-not-begun-again",
        "a version must have been there all the time for upgrade_hold",
        "upgrading.py",
        "                since = math.inf\n                continue",
        "                continue",
        _ROLLING,
    ),
    _mistake(
        "new-code-begins-with-version-1",
        "a new group is founded with all that its code has",
        "composition.py",
        "attrs.evolve(plan.settings, version=server.replica.newest_version)",
        "plan.settings",
        _ROLLING,
    ),
    _mistake(
        "refuses-before-it-has-caught-up",
        "NotYetEnabled is said by a node that knows",
        "calling.py",
        "            await self.catch_up()\n        return self.replica.encode(command)",
        "            pass\n        return self.replica.encode(command)",
        _ROLLING,
    ),
    _mistake(
        "anything-is-a-version-entry",
        "what nobody can read is not proposed for another node: it would stop all",
        "relay.py",
        "    return sizes <= {HEADER_BYTES + VERSION_BYTES}",
        "    return True",
        _FORWARDING,
    ),
)
"By what they break; docs/testing.md has them by name."
