"""Mistakes in what is asked of the leader through another node: see `mutants.py`."""

from __future__ import annotations

from tests.mutants.mutants import Mutant

__all__ = ["REFERRAL_MUTANTS"]


def _mistake(name: str, rule: str, file: str, old: str, new: str) -> Mutant:
    killed_by = frozenset({"tests"})
    tests = ("tests/node/test_referring.py",)
    return Mutant(name, rule, file, old, new, killed_by, package="driver", tests=tests)


REFERRAL_MUTANTS = (
    _mistake(
        "referral-is-served-again",
        "a referral is served once, however often it arrives",
        "referring.py",
        "        if origin.begin(referral.request):\n",
        "        if origin.begin(referral.request) or True:\n",
    ),
    _mistake(
        "referral-is-sent-once",
        "a question that is lost is sent again",
        "referring.py",
        "                    with trio.move_on_after(self.retry_seconds):\n",
        "                    with trio.move_on_after(1e9):\n",
    ),
    _mistake(
        "answer-is-told-once",
        "an answer that is lost is told again",
        "referring.py",
        "        if answer is not None:\n            self.send((sender.id,), answer)\n",
        "",
    ),
    _mistake(
        "old-leader-has-the-last-word",
        "where who was asked does not lead, whoever leads is asked",
        "referring.py",
        "                await trio.sleep(PAUSE_SECONDS)  # what",
        "                raise  # what",
    ),
    _mistake(
        "link-breaks-unheard",
        "who was asked before the link broke is not waited for",
        "referring.py",
        "            if asked.leader == peer:\n",
        "            if asked.leader == peer and False:\n",
    ),
    _mistake(
        "unknown-is-said-to-be-refused",
        "what may have happened is never refused",
        "referring.py",
        "            outcome, why, other = ReferralOutcome.UNKNOWN, error.why, None",
        "            outcome, why, other = ReferralOutcome.REFUSED, error.why, None",
    ),
    _mistake(
        "who-ends-leaves-it-unknown",
        "what was not begun did not happen",
        "referring.py",
        'ReferralOutcome.NOT_LEADER, f"{self.id}: {error}", None',
        'ReferralOutcome.UNKNOWN, f"{self.id}: {error}", None',
    ),
    _mistake(
        "leader-answers-too-late",
        "the leader's no comes before its caller gives up",
        "referring.py",
        "    seconds = left - min(ANSWER_SECONDS, left / 10)\n",
        "    seconds = left\n",
    ),
    _mistake(
        "anybody-answers-a-referral",
        "who was asked answers",
        "referring.py",
        "            case _:\n                asked = self._open.get(message.request)\n"
        "                if asked is not None and asked.leader == sender.id:\n",
        "            case _:\n                asked = self._open.get(message.request)\n"
        "                if asked is not None:\n",
    ),
    _mistake(
        "view-is-left-out",
        "a change is based on what the node that was asked has seen",
        "referring.py",
        "                based_on=based_on,\n            )\n",
        "                based_on=None,\n            )\n",
    ),
    _mistake(
        "unreadable-change-is-sent",
        "what a peer can't read is refused before it is sent",
        "changing.py",
        "        return read_change(change_form(change))\n",
        "        return change\n",
    ),
    _mistake(
        "who-asked-the-leader-is-forgotten",
        "the end of a node answers who asked there",
        "referring.py",
        'answered, which was asked"\n            asked.settled.set()',
        'answered, which was asked"',
    ),
)
"""What the tests of `driver/referring.py` must notice."""
