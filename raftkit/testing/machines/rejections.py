"""The third promise of a machine: a command that refuses changes nothing, and no command just breaks."""

from __future__ import annotations

from collections.abc import Sequence

from raftkit.driver.replies import RejectedReply, decode_reply
from raftkit.testing.machines.copy import Copy, Factory
from raftkit.testing.machines.exploring import Commands, explore
from raftkit.testing.machines.story import DefectFound, Step, applied, different_fields, turns
from raftkit.testing.machines.traps import raised_at

__all__ = ["check_rejections"]

_CHECK = "Rejections"


def check_rejections(factory: Factory, *, commands: Commands = None, examples: int = 200) -> None:
    """Apply logs, and find commands that changed the state and then raised Rejected, or raised anything else.

    Callers get CommandFailed for the latter, on every node alike: a request that must be refused needs a
    `raise Rejected(…)`. `commands` is as for `check_deterministic`.

    Raises DefectFound with the shortest log that shows it.
    """
    explore(factory, commands, lambda log: _check(factory, log), examples=examples)


def _check(factory: Factory, log: Sequence[Step]) -> None:
    copy = Copy(factory)
    digest, fields = copy.digest(), copy.fields()
    for turn in turns(copy, log):
        answer = applied(_CHECK, copy, turn, log)
        if answer.raised is not None:
            error = answer.raised
            fact = (
                f"{turn.where} raised {type(error).__name__}: {error!s:.100} ({raised_at(error)}): "
                "raise Rejected(…) for a request that must be refused"
            )
            raise DefectFound(_CHECK, fact, log) from error
        refused = answer.reply and isinstance(decode_reply(answer.reply), RejectedReply)
        if refused and answer.digest != digest:
            changed = different_fields(fields, copy.fields())
            fact = f"{turn.where} raised Rejected and changed {changed}: check first, then change"
            raise DefectFound(_CHECK, fact, log)
        digest, fields = answer.digest, copy.fields()
