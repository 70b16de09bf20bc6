"""The outbox: it serves every step of a server, so nothing may stay in it."""

from __future__ import annotations

import attrs

from raftkit.core.outbox import Outbox


def test_a_cleared_outbox_is_as_new() -> None:
    """Whatever field it has: what stayed would be done again by each later step."""
    outbox = Outbox()
    for field in attrs.fields(Outbox):
        held = getattr(outbox, field.name)
        setattr(outbox, field.name, ["something"] if isinstance(held, list) else "something")
    assert outbox != Outbox()

    outbox.clear()

    assert outbox == Outbox()
