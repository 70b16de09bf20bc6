"""Mistakes in what surrounds the core: each breaks a promise to a caller or to the group.

See `mutants.py`. `tests` says which files are to notice.
"""

from __future__ import annotations

from functools import partial

from tests.mutants.mutants import beside_the_core

__all__ = ["DRIVER_MUTANTS"]

_APPLYING = "tests/driver/test_applying.py"
_CANCELLATION = "tests/node/test_cancellation.py"
_EXECUTE = "tests/node/test_execute_and_read.py"
_FAILOVER = "tests/node/test_failover.py"
_FORWARDING = "tests/driver/test_forwarding.py"
_FOUNDING = "tests/node/test_founding.py"
_FOUNDING_RULES = "tests/driver/test_founding_rules.py"
_LEADERSHIP = "tests/node/test_leadership.py"
_LINKS = "tests/node/test_links.py"
_LOOP = "tests/driver/test_loop.py"
_MEMBERSHIP = "tests/node/test_membership.py"
_NAMESAKES = "tests/driver/test_namesakes.py"
_OLD_CODE = "tests/node/test_old_code.py"
_READING = "tests/driver/test_reading.py"
_REPLICA_SNAPSHOTS = "tests/driver/test_replica_snapshots.py"
_STALLED = "tests/node/test_stalled_disks.py"
_STALLING = "tests/driver/test_stalling.py"
_SESSIONS = "tests/driver/test_sessions.py"
_WAITERS = "tests/driver/test_waiters.py"

_mistake = partial(beside_the_core, package="driver")

DRIVER_MUTANTS = (
    # ── presence ──
    _mistake(
        "silent-is-not-missed",
        "who says nothing for long is missing, also on a link that stands",
        "presence.py",
        "return age is not None and age <= SILENT_SECONDS",
        "return age is not None",
        _LINKS,
    ),
    _mistake(
        "strangers-are-believed",
        "only what a member says of itself is kept",
        "presence.py",
        "if raft is not None and raft.configuration.knows(sender):",
        "if raft is not None:",
        _LINKS,
    ),
    _mistake(
        "words-of-who-is-gone",
        "of who is not heard nothing is known, whatever it said before",
        "presence.py",
        "fresh = now - at <= SILENT_SECONDS and self._hears(member, now)",
        "fresh = True",
        _LINKS,
    ),
    _mistake(
        "who-is-gone-is-waited-for",
        "who is not heard is no successor",
        "presence.py",
        "            if self._hears(peer, now):\n",
        "            if True:\n",
        _LINKS,
    ),
    _mistake(
        "goes-by-what-it-knows-itself",
        "logs are compared by what was said of them, one's own too, so that all know one order",
        "presence.py",
        "now, said = trio.current_time(), {self.identity.id: self._told}",
        "now, raft = trio.current_time(), self.raft()\n        assert raft is not None\n        "
        "said = {self.identity.id: self._presence(raft, now)}",
        _LINKS,
    ),
    _mistake(
        "own-sleep-is-silence-of-others",
        "who slept heard nothing, though all was said",
        "presence.py",
        "before = {} if slept else self._heard_at",
        "before = self._heard_at",
        _LINKS,
    ),
    _mistake(
        "core-never-hears-who-is-ahead",
        "who said to have the furthest log campaigns first",
        "server.py",
        "PeerUnreachable(peer=peer, succession=succession)",
        "PeerUnreachable(peer=peer)",
        _LINKS,
    ),
    _mistake(
        "priorities-are-not-told",
        "who hands over to anybody knows the priorities of the others",
        "presence.py",
        "                self.tell_core(PriorityHeard(peer=sender.id, priority=said.priority))\n",
        "                pass\n",
        _LEADERSHIP,
    ),
    # ── two nodes of one name ──
    _mistake(
        "silence-is-death",
        "who was silent of late is asked before another takes its name",
        "namesakes.py",
        "            self.greeting.ask(peer)\n            return True\n",
        "            return False\n",
        _NAMESAKES,
    ),
    _mistake(
        "name-of-the-dead-is-kept",
        "a name is free as soon as its link is closed",
        "namesakes.py",
        "if peer is None or not peer.linked or",
        "if peer is None or",
        _NAMESAKES,
    ),
    _mistake(
        "member-is-kept-out",
        "whom the configuration names gets its link back from who took its name meanwhile",
        "links.py",
        "if self._configuration is not None and self._configuration.knows(newcomer):",
        "if False:",
        _NAMESAKES,
    ),
    _mistake(
        "live-name-is-admitted",
        "nobody is admitted under the name of a member that lives",
        "changing.py",
        "        self._refuse_namesakes(newcomers)\n",
        "",
        "tests/node/test_namesakes.py",
    ),
    # ── disks that stand still ──
    _mistake(
        "late-writes-are-not-told",
        "the core is told when a write is late (I1)",
        "stalling.py",
        "        return [StorageStalled(sequence=self._told)]\n",
        "        return []\n",
        _STALLED,
        _STALLING,
    ),
    _mistake(
        "late-writes-are-told-in-every-turn",
        "the core is told once of each late write",
        "stalling.py",
        " or self._told == self._writes[0][0]:\n            return []",
        ":\n            return []",
        _STALLING,
    ),
    _mistake(
        "sleeps-through-a-stall",
        "the loop wakes when a write becomes late",
        "stalling.py",
        "        return self._writes[0][1] + self.patience\n",
        "        return math.inf\n",
        _STALLING,
    ),
    _mistake(
        "wakes-just-before-a-write-is-late",
        "what is due is done when it is due, or the loop never sleeps again",
        "stalling.py",
        "now >= self._writes[0][1] + self.patience",
        "now - self._writes[0][1] >= self.patience",
        _STALLING,
    ),
    _mistake(
        "each-write-recovers-a-disk",
        "while the next write is late as well the disk stands still",
        "stalling.py",
        "self._since is not None and not self._is_late(now)",
        "self._since is not None",
        _STALLED,
        _STALLING,
    ),
    _mistake(
        "patience-of-a-second-for-all",
        "by default a write may take twice the upper election timeout",
        "stalling.py",
        "max(STALL_SECONDS_MIN, 2 * high / 1000)",
        "STALL_SECONDS_MIN",
        _STALLED,
    ),
    _mistake(
        "completions-are-not-seen",
        "a disk that finishes in time is not late, however much it has to do",
        "server.py",
        "            self.stalling.on_persisted(sequence)\n",
        "",
        _STALLED,
    ),
    # ── membership ──
    _mistake(
        "newcomer-founds",
        "who is to join founds nothing",
        "founding.py",
        "if self.joins or self.missing(greeting)",
        "if self.missing(greeting)",
        _MEMBERSHIP,
    ),
    _mistake(
        "any-guest-is-heard",
        "who is no member is heard only if it shows a newer configuration that names it",
        "greeting.py",
        "elif peer.id in self.guests and peer.vouched_at <= self._index:",
        "elif False:",
        _FOUNDING_RULES,
    ),
    _mistake(
        "who-leaves-is-cut-off",
        "who is removed is told so before its link may go",
        "links.py",
        "        self._staying = {**self._staying, **members}\n",
        "        self._staying = members\n",
        _FOUNDING_RULES,
    ),
    _mistake(
        "who-left-stays-linked",
        "links to who left end when the core is done with it",
        "links.py",
        "        gone = self.leaving.difference(still_wanted)\n",
        "        gone = frozenset[NodeId]()\n",
        _FOUNDING_RULES,
    ),
    _mistake(
        "nobody-is-invited",
        "a newcomer that knows nobody is dialled",
        "links.py",
        "wanted = {**self._staying, **self._invited}",
        "wanted = {**self._staying}",
        _MEMBERSHIP,
    ),
    _mistake(
        "who-was-away-is-not-told",
        "a node that was removed while it was away is told, and new members are heard (E9)",
        "links.py",
        "            self._out((hello.sender.id,), news)\n",
        "            pass\n",
        _MEMBERSHIP,
    ),
    _mistake(
        "change-in-the-log-is-said-not-to-be",
        "what was not decided in time may still happen",
        "changing.py",
        "        if asked:\n",
        "        if False:\n",
        _MEMBERSHIP,
    ),
    _mistake(
        "change-before-it-may-be",
        "a leader that has committed nothing of its term is waited for",
        "changing.py",
        "            if raft.commit_index >= since:\n",
        "            if True:\n",
        _MEMBERSHIP,
    ),
    # ── leadership ──
    _mistake(
        "body-outlives-leadership",
        "what may run while a node leads is cancelled when it leads no more",
        "leading.py",
        "            if not self._leads(term):\n                scope.cancel()\n",
        "            pass\n",
        _LEADERSHIP,
    ),
    _mistake(
        "leads-before-it-has-seen-all",
        "a tenure begins when what earlier leaders decided is applied",
        "leading.py",
        "            await self.applying.wait_applied(since)\n",
        "            await trio.lowlevel.checkpoint()\n",
        _LEADERSHIP,
    ),
    _mistake(
        "who-hands-over-is-forgotten",
        "the end of a node answers who asked it to hand over",
        "asking.py",
        "        for asked in self._asked.values():\n            asked.settled.set()",
        "        for asked in self._asked.values():\n            pass",
        _LEADERSHIP,
    ),
    _mistake(
        "commands-fail-of-a-transfer",
        "§3.10 what a leader refuses while it hands over is sent again",
        "forwarding.py",
        "            case _:\n                self._retry(calls)\n",
        "            case Refusal.NOT_LEADER | Refusal.LEADER_LOST:\n"
        "                self._retry(calls)\n"
        "            case _:\n"
        "                pass\n",
        _LEADERSHIP,
    ),
    # ── effects ──
    _mistake(
        "sends-before-durable",
        "what is sent after a write waits for it",
        "loop.py",
        "            if self._durable >= self._written:\n",
        "            if True:\n",
        _LOOP,
    ),
    _mistake(
        "sends-wait-for-their-own-write-only",
        "what is sent after a write waits for all earlier ones too",
        "loop.py",
        "            if self._durable >= self._written:\n",
        "            if effects.persist is None:\n",
        _LOOP,
    ),
    _mistake(
        "any-completion-releases-all",
        "a completion speaks for its write and those before",
        "loop.py",
        "        while self._held and self._held[0][0] <= sequence:",
        "        while self._held:",
        _LOOP,
    ),
    # ── what callers are told ──
    _mistake(
        "answered-by-number-alone",
        "a call is matched by session and number (J1)",
        "waiters.py",
        "        call = self._open.pop((session, number), None)",
        "        like = [it for it in self._open if it[1] == number]\n"
        "        call = self._open.pop(like[0]) if like else None",
        _WAITERS,
        _EXECUTE,
    ),
    _mistake(
        "answered-by-place",
        "a call is never matched by where it was to stand (J1)",
        "applying.py",
        "        for session, number, reply in outcomes if len(self.waiters) else ():\n"
        "            self.waiters.resolve(session, number, reply)",
        "        asked = sorted(self.waiters, key=lambda it: it.index or 1 << 62)\n"
        "        for (_, _, reply), it in zip(outcomes, asked):\n"
        "            self.waiters.resolve(it.session, it.number, reply)",
        _EXECUTE,
        _FAILOVER,
    ),
    _mistake(
        "applies-out-of-turn",
        "entries are applied one after the other, wherever they are",
        "applying.py",
        "            self._idle\n            and not self._news.is_set()\n",
        "            True\n",
        _APPLYING,
    ),
    _mistake(
        "applies-everything-at-once",
        "between slices the loop gets its turn",
        "applying.py",
        "            and len(run) <= SLICE_ENTRIES_MAX\n",
        "",
        _APPLYING,
    ),
    _mistake(
        "quick-disk-is-not-heard",
        "what is durable at once is concluded from in the same turn",
        "loop.py",
        "        while persisted is not None and not self.raft.can_wait(persisted):\n",
        "        while False:\n",
        _LOOP,
    ),
    _mistake(
        "urgent-news-waits",
        "what something comes of is told at once",
        "loop.py",
        "        if len(self._inbox) > NOTES_MAX or not self.raft.can_wait(news):\n",
        "        if len(self._inbox) > NOTES_MAX:\n",
        _LOOP,
        _EXECUTE,
    ),
    _mistake(
        "unknown-is-told-as-no",
        "*did not happen* is said when it is certain (J2)",
        "waiters.py",
        "        if self.is_definite(call):\n            call.answer",
        "        if True:\n            call.answer",
        _WAITERS,
    ),
    _mistake(
        "other-processes-are-forgotten",
        "a token that was stored may be on its way from anywhere (J2)",
        "waiters.py",
        "        if call.elsewhere:\n            return False\n",
        "",
        _WAITERS,
    ),
    _mistake(
        "open-entries-count-as-lost",
        "only what was replaced, or lost its log, is lost",
        "waiters.py",
        "(it.index <= applied or it.term < term)]",
        "(it.index <= applied or it.term <= term)]",
        _WAITERS,
    ),
    _mistake(
        "stopped-applying-answers-nobody",
        "who waits at a node that stops applying is told so",
        "applying.py",
        "        self.waiters.fail_all(NodeClosed(why), why)\n",
        "",
        _OLD_CODE,
    ),
    _mistake(
        "moves-to-a-new-session-whatever-was-restored",
        "after a snapshot nobody knows what the forgotten session had done",
        "calling.py",
        "                if token or session or installs != self.applying.installs:",
        "                if token or session:",
        _FAILOVER,
        _CANCELLATION,
    ),
    # ── once ──
    _mistake(
        "copy-is-applied-again",
        "a number of a session is applied once (§6.3)",
        "sessions.py",
        "        if stored is not None:\n            return stored\n",
        "",
        _SESSIONS,
    ),
    _mistake(
        "replies-go-too-early",
        "a reply is kept until its caller wants no copy (§6.3)",
        "sessions.py",
        "        found.trim(floor)",
        "        found.trim(seq)",
        _SESSIONS,
    ),
    _mistake(
        "answers-to-held-tokens-go",
        "while a token is held its answer is kept",
        "waiters.py",
        "        if ledger is not None and (answered or not ledger.is_held(number)):",
        "        if ledger is not None:",
        _CANCELLATION,
    ),
    _mistake(
        "void-closes-nothing",
        "after a void no late copy is applied",
        "sessions.py",
        "            found.replies[seq] = VOID\n            found.size += len(VOID)\n",
        "            return VOID\n",
        _SESSIONS,
    ),
    _mistake(
        "snapshot-forgets-sessions",
        "the session table is part of the state (F11)",
        "replica.py",
        "        self._sessions, self._host, self._cuts = restored.sessions, restored.host, header.cuts",
        "        self._sessions, self._host, self._cuts = Sessions(), restored.host, header.cuts",
        _REPLICA_SNAPSHOTS,
    ),
    _mistake(
        "sends-again-without-session",
        "what has no session is sent once (J7)",
        "forwarding.py",
        "            if call.once and call.sendings:\n"
        "                continue  # it may have happened, and nothing would notice the second time\n",
        "",
        _FORWARDING,
    ),
    _mistake(
        "repeats-forwards-without-session",
        "another life of the leader would take the second for the first (J7)",
        "forwarding.py",
        "            if batch.forward is not None and not batch.once:",
        "            if batch.forward is not None:",
        _FORWARDING,
    ),
    _mistake(
        "forward-is-proposed-again",
        "a request is proposed at most once, however often it arrives (J7)",
        "origin.py",
        "        if request in self._answers or request <= self._forgotten:",
        "        if request <= self._forgotten:",
        _FORWARDING,
    ),
    _mistake(
        "forwarded-on",
        "nothing is forwarded on (J7)",
        "relay.py",
        "        if raft.leader != self.id:",
        "        if raft.leader is None:",
        _FORWARDING,
    ),
    _mistake(
        "anybody-answers-a-forward",
        "who was asked answers",
        "forwarding.py",
        "        if batch is None or batch.to != sender.id:\n",
        "        if batch is None:\n",
        _FORWARDING,
    ),
    _mistake(
        "last-leader-can-not-refuse",
        "§3.10 what was refused is sent to the next leader, whoever is heard of first",
        "forwarding.py",
        "            if batch.once and batch.forward is not None:\n"
        "                self._late[request] = attrs.evolve(batch, at=now)\n",
        "            pass\n",
        _FORWARDING,
        _LEADERSHIP,
    ),
    _mistake(
        "waits-for-a-leader-that-is-gone",
        "what was sent once over a connection that closed is told to be unknown",
        "forwarding.py",
        '                    self._give_up(batch, f"the connection to {peer} closed before it answered")\n',
        "                    pass\n",
        _FORWARDING,
    ),
    _mistake(
        "sends-to-a-silent-leader",
        "what may be sent only once is not given to a leader whose heartbeats are overdue",
        "forwarding.py",
        "        return leader == self.id or self.silence(leader) <= low / 2000\n",
        "        return True\n",
        _FORWARDING,
    ),
    _mistake(
        "waits-for-a-silent-leader-of-before",
        "what a leader of before does not answer in time is told to be unknown",
        "forwarding.py",
        "        self._give_up_late(now)\n",
        "",
        _FORWARDING,
    ),
    # ── reads ──
    _mistake(
        "read-before-applied",
        "§6.4 a read waits until its index is applied (D7)",
        "applying.py",
        "        if self.applied >= index:\n            await",
        "        if True:\n            await",
        _EXECUTE,
        _FAILOVER,
    ),
    _mistake(
        "read-joins-a-question-under-way",
        "§6.4 a read waits for a question asked after it came (D2)",
        "reading.py",
        "                for reader in question.readers:\n                    _answer",
        "                for reader in question.readers + self._fresh:\n                    _answer",
        _READING,
    ),
    _mistake(
        "refused-read-is-forgotten",
        "a read is asked again as often as it is refused",
        "reading.py",
        "                self._fresh += question.readers\n",
        "",
        _READING,
    ),
    # ── founding ──
    _mistake(
        "founds-without-a-member",
        "founding needs every listed member, here and now",
        "greeting.py",
        "            peer.linked, peer.hello, peer.why = False, None, why\n",
        "            peer.linked, peer.why = False, why\n",
        _FOUNDING_RULES,
    ),
    _mistake(
        "anybody-founds",
        "the smallest founds, or there are two groups",
        "founding.py",
        "if self.joins or self.missing(greeting) or self.identity.id != min(self.members):",
        "if self.joins or self.missing(greeting):",
        _FOUNDING_RULES,
        _FOUNDING,
    ),
    _mistake(
        "wiped-node-is-taken-in",
        "who forgot a promise is not born again (E13)",
        "founding.py",
        "        if any(_remembers(hello) for hello in hellos):\n            return None\n",
        "",
        _FOUNDING_RULES,
    ),
    _mistake(
        "born-node-passes-for-unborn",
        "who was born says so from its first hello on, or a wiped one founds again with it (E13)",
        "server.py",
        "                self.links.belong(self.storage.record.founding.scope)\n",
        "                pass\n",
        _FOUNDING,
    ),
    _mistake(
        "any-incarnation-is-named",
        "a group names directories, not names (E13)",
        "links.py",
        "self._configuration is not None and self._configuration.knows(peer)",
        "self._configuration is not None",
        _FOUNDING_RULES,
    ),
    _mistake(
        "settings-that-differ-are-no-event",
        "whoever listens hears that a node's multicast has other settings",
        "links.py",
        "        self.publish(SettingsDiffer(peer=peer))\n",
        "        del peer\n",
        "tests/transports/test_nodes.py::test_multicast_settings_that_differ_are_an_event_of_the_node",
    ),
    _mistake(
        "different-settings-found",
        "founders agree on settings and machine",
        "founding.py",
        "        if hello.settings_hash != self.settings_hash():",
        "        if False:",
        _FOUNDING,
    ),
    # ── who is heard ──
    _mistake(
        "unborn-are-heard",
        "an unborn node has no voice, and nobody speaks to it",
        "greeting.py",
        "        if UNBORN in (self._scope, peer.scope):\n            peer.why = ",
        "        if UNBORN in (self._scope, peer.scope):\n            _ = ",
        _FOUNDING_RULES,
        _FOUNDING,
    ),
    _mistake(
        "other-clusters-are-heard",
        "only our cluster is heard",
        "greeting.py",
        "        elif peer.scope.cluster != self._scope.cluster:\n"
        '            peer.why = f"of another cluster, {peer.scope.cluster.hex()[:8]}…"\n'
        "        elif peer.scope != self._scope:",
        "        elif False:",
        _FOUNDING_RULES,
        _FOUNDING,
        "tests/node/test_bad_peers_tcp.py"
        "::test_a_node_of_another_cluster_in_a_members_name_is_refused_and_named_rarely",
    ),
    _mistake(
        "two-of-one-name-are-heard",
        "the first of a name on a link is heard",
        "greeting.py",
        "        if news and peer.identity is not None:\n            return False",
        "        if False:\n            return False",
        _FOUNDING_RULES,
    ),
    _mistake(
        "rolled-back-node-goes-on",
        "a directory that was rolled back has no voice (H15)",
        "remembering.py",
        "            self._due.set()\n            self._bar(why)\n",
        "            self._due.set()\n",
        _FOUNDING,
    ),
    _mistake(
        "promises-are-not-remembered",
        "what a peer acknowledged is told to it when it comes back (H15)",
        "greeting.py",
        "        if told > self._acknowledged.get(sender, _NOTHING):",
        "        if False:",
        _FOUNDING_RULES,
    ),
    _mistake(
        "lost-terms-are-overlooked",
        "a vote that was forgotten is as bad as an entry (H15)",
        "founding.py",
        "    if (told.term, told.index) > (term, last_index):",
        "    if told.index > last_index:",
        _FOUNDING_RULES,
    ),
)
"By what they break; docs/testing.md has them by name."
