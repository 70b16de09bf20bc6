"""Mistakes in what datagrams are believed, kept, repaired and given up.

See `mutants.py`. `tests` says which files are to notice: no simulated network has datagrams under it.
"""

from __future__ import annotations

from tests.mutants.mutants import Mutant

__all__ = ["DATAGRAM_MUTANTS"]

_DATAGRAMS = "tests/wire/test_datagrams.py"
_IN = "tests/wire/test_in_streams.py"
_LOSSY = "tests/wire/test_lossy_streams.py"
_OUT = "tests/wire/test_out_streams.py"
_REPLAY = "tests/wire/test_replay.py"
_SEALING = "tests/wire/test_sealing.py"


def _mistake(name: str, rule: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    killed_by = frozenset({"tests"})
    return Mutant(name, rule, file, old, new, killed_by, package="wire", tests=tests)


DATAGRAM_MUTANTS = (
    # ── seals ──
    _mistake(
        "one-key-for-all-starts",
        "each start has a key of its own, or nonces repeat",
        "sealing.py",
        "self.scheme.code, key_id, start)",
        "self.scheme.code, key_id, 0)",
        f"{_SEALING}::test_each_start_key_id_scheme_and_cluster_has_a_key_of_its_own",
    ),
    _mistake(
        "one-key-for-all-schemes",
        "a key serves one scheme",
        "sealing.py",
        "self.scheme.code, key_id, start)",
        "0, key_id, start)",
        f"{_SEALING}::test_each_start_key_id_scheme_and_cluster_has_a_key_of_its_own",
    ),
    _mistake(
        "a-byte-of-the-seal-will-do",
        "the whole seal must be right",
        "sealing.py",
        "hmac.compare_digest(code, view[-SEAL_BYTES:])",
        "hmac.compare_digest(code[:1], view[-SEAL_BYTES:][:1])",
        f"{_SEALING}::test_any_changed_bit_breaks_the_seal",
    ),
    _mistake(
        "unsealed-without-a-word",
        "no seal only if it is asked for",
        "sealing.py",
        "if keys.scheme is UNSEALED and not keys.unsafe:",
        "if False:",
        f"{_SEALING}::test_no_seal_must_be_asked_for_in_so_many_words",
    ),
    _mistake(
        "number-given-twice",
        "no nonce is used twice",
        "datagram.py",
        "self.head = number + 1",
        "self.head = number",
        f"{_DATAGRAMS}::test_a_sender_gives_no_number_twice",
    ),
    _mistake(
        "numbers-wrap",
        "a stream ends before its numbers repeat",
        "datagram.py",
        "if number >= NUMBERS_END:\n            raise",
        "if False:\n            raise",
        f"{_DATAGRAMS}::test_a_stream_ends_before_its_numbers_repeat",
    ),
    _mistake(
        "last-number-is-believed",
        "the number after the last can always be told",
        "datagram.py",
        "if number >= NUMBERS_END:\n            return",
        "if False:\n            return",
        f"{_DATAGRAMS}::test_each_fault_has_its_own_refusal",
    ),
    _mistake(
        "hears-itself",
        "what one says oneself is no news",
        "datagram.py",
        "if start == self.own:",
        "if False:",
        f"{_DATAGRAMS}::test_each_fault_has_its_own_refusal",
    ),
    _mistake(
        "keeps-keys-of-strangers",
        "strangers leave no trace",
        "datagram.py",
        "if content is not None:\n            self._seals",
        "if True:\n            self._seals",
        f"{_DATAGRAMS}::test_strangers_leave_no_trace",
    ),
    _mistake(
        "keeps-all-keys",
        "what is kept is bounded",
        "datagram.py",
        "if len(self._seals) > self.starts_max:",
        "if False:",
        f"{_DATAGRAMS}::test_the_keys_of_those_who_spoke_last_are_kept",
    ),
    _mistake(
        "forgets-who-speaks",
        "the key of who speaks is kept",
        "datagram.py",
        "            self._seals.move_to_end((key_id, start))\n",
        "",
        f"{_DATAGRAMS}::test_the_keys_of_those_who_spoke_last_are_kept",
    ),
    _mistake(
        "chunk-on-the-control-stream",
        "chunks have streams of their own",
        "datagram.py",
        " or (kind is DatagramKind.CHUNK) == (stream == CONTROL_STREAM)",
        "",
        f"{_DATAGRAMS}::test_chunks_have_streams_and_nothing_else_has",
    ),
    _mistake(
        "hears-a-replay",
        "a datagram is heard once",
        "replay.py",
        " or self._heard >> -ahead & 1",
        "",
        _REPLAY,
    ),
    _mistake(
        "hears-what-is-too-old",
        "what can't be told any more counts as heard",
        "replay.py",
        "-ahead >= REPLAY_BITS or ",
        "",
        _REPLAY,
    ),
    _mistake(
        "hears-a-late-one-twice",
        "a datagram is heard once",
        "replay.py",
        "        self._heard |= 1 << -ahead\n",
        "",
        _REPLAY,
    ),
    # ── streams ──
    _mistake(
        "keeps-every-message",
        "what is kept for repair is bounded",
        "out_stream.py",
        "len(self._kept) > self.messages_max or ",
        "",
        _OUT,
    ),
    _mistake(
        "repairs-for-others",
        "nobody gets what is not for it",
        "out_stream.py",
        " or not message.targets >> asker & 1",
        "",
        _OUT,
    ),
    _mistake(
        "silent-about-what-is-gone",
        "nobody waits for what is gone",
        "out_stream.py",
        "gone.append((first, end))",
        "pass",
        _OUT,
    ),
    _mistake(
        "repairs-what-is-on-its-way",
        "a repair is not repeated within a round trip",
        "out_stream.py",
        "if reached and now - at < rtt:",
        "if False:",
        _OUT,
    ),
    _mistake(
        "repairs-one-by-one",
        "what two miss is sent to all",
        "out_stream.py",
        "if not reached and now - at < TOGETHER_SECONDS:",
        "if False:",
        _OUT,
    ),
    _mistake(
        "repairs-without-bound",
        "one request makes a sender repeat so much and no more",
        "out_stream.py",
        "REPAIR_DATAGRAMS_MAX - len(wanted)",
        "1 << 30",
        _OUT,
    ),
    _mistake(
        "tells-no-head",
        "tail loss is noticed soon",
        "out_stream.py",
        "self._told = now, 0",
        "self._told = now, len(HEAD_SECONDS)",
        f"{_LOSSY}::test_with_a_sender_that_repairs_everything_arrives",
    ),
    _mistake(
        "delivers-a-repeat",
        "nothing is delivered twice",
        "in_stream.py",
        "if not self._is_missing(number):",
        "if number < self._next - 3:",
        _LOSSY,
    ),
    _mistake(
        "delivers-past-a-gap",
        "messages come in order",
        "in_stream.py",
        "edge = self._gaps[0].first if self._gaps else self.head",
        "edge = self.head",
        _LOSSY,
    ),
    _mistake(
        "hears-what-is-for-others",
        "nobody gets what is not for it",
        "in_stream.py",
        "mine = chunk.targets >> self.bit & 1",
        "mine = 1",
        _LOSSY,
    ),
    _mistake(
        "waits-for-ever",
        "a gap is given up",
        "in_stream.py",
        "lambda gap: gap.waited_since + GIVE_UP_SECONDS <= now",
        "lambda gap: False",
        _IN,
    ),
    _mistake(
        "gives-up-what-is-on-its-way",
        "a gap of which something arrives is not given up",
        "in_stream.py",
        "if gap.asked:",
        "if False:",
        _IN,
    ),
    _mistake(
        "joins-strangers",
        "a message is made of its own pieces",
        "in_stream.py",
        " or (chunk.i and not _same_message(self._pieces[0], chunk))",
        "",
        _IN,
    ),
    _mistake(
        "joins-over-a-hole",
        "a message is made of all its pieces",
        "in_stream.py",
        "            if chunk is None:  # given up, for others, or delivered at once\n"
        "                self._waste_pieces()",
        "            if chunk is None:\n                pass",
        _IN,
    ),
    _mistake(
        "joins-over-a-leap",
        "a message is made of all its pieces",
        "in_stream.py",
        "            self._waste_pieces()\n            self._next = self.head = floor",
        "            self._next = self.head = floor",
        _IN,
    ),
    _mistake(
        "lets-all-messages-wait",
        "what waits is bounded",
        "in_stream.py",
        "or len(self._waiting_of) < self.messages_max",
        "or True",
        _IN,
    ),
    _mistake(
        "lets-all-bytes-wait",
        "what waits is bounded",
        "in_stream.py",
        "self._waiting_bytes + len(chunk.data) <= self.bytes_max",
        "True",
        _IN,
    ),
    _mistake(
        "makes-messages-of-any-size",
        "what waits is bounded",
        "in_stream.py",
        "if self._pieces_bytes > self.bytes_max:",
        "if False:",
        _IN,
    ),
    _mistake(
        "no-room-for-the-next",
        "what waits for nothing always has room",
        "in_stream.py",
        "number == self._next or (",
        "number < 0 or (",
        _IN,
    ),
    _mistake(
        "heartbeats-wait",
        "a heartbeat waits for no repair",
        "in_stream.py",
        "chunk.lane is Lane.CONTROL and chunk.n == 1",
        "False",
        _IN,
    ),
    _mistake(
        "all-ask-at-once",
        "receivers ask at different times",
        "in_stream.py",
        "gap = _Gap(self.head, head, now, now + self.rng.random() * NACK_SECONDS)",
        "gap = _Gap(self.head, head, now, now)",
        _IN,
    ),
    _mistake(
        "asks-as-often-as-ever",
        "asked again ever less often",
        "in_stream.py",
        "AGAIN_SECONDS * 2**gap.asked",
        "AGAIN_SECONDS",
        _IN,
    ),
)
