"""How the tests of changes ask a leader for one, have it committed, and read what came of it."""

from __future__ import annotations

from raftkit.changes import AddLearner, Change, ChangeMembership
from raftkit.membership import Configuration, Role
from raftkit.messages import Answer, Refused
from raftkit.model import Index
from tests.paper.server import Server, accepted_by

__all__ = ["ADD_D", "answer_to", "ask", "committed", "configuration_of", "roles"]

ADD_D = AddLearner(id="d", incarnation=1, address="d:1")


def ask(*changes: Change, based_on: int | None = None, ticket: int = 7) -> ChangeMembership:
    """Somebody asks for these."""
    index = None if based_on is None else Index(based_on)
    return ChangeMembership(ticket=ticket, changes=changes, based_on=index)


def answer_to(it: Server, *changes: Change, based_on: int | None = None) -> Refused | None:
    """How the server refuses these changes; None if it takes them up."""
    answers = it.step(ask(*changes, based_on=based_on)).answer
    assert len(answers) <= 1
    return next((answer for answer in answers if isinstance(answer, Refused)), None)


def committed(a: Server, *names: str) -> list[Answer]:
    """The leader's log is durable here and at these; what it answers."""
    answers: list[Answer] = []
    while a.unwritten:
        answers += a.persist().answer
    for name in names:
        answers += accepted_by(a, name).answer
    return answers


def configuration_of(a: Server) -> Configuration:
    """The one in force."""
    return a.raft.configuration


def roles(a: Server) -> str:
    """Members and their roles: `a b c d-learner`."""
    return " ".join(
        m.id if m.role is Role.VOTER else f"{m.id}-{m.role.name.lower()}"
        for m in configuration_of(a).members
    )
