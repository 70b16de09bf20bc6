"""The member of a group that talks by UDP multicast, on this host or on one of its own (`tests/netns.py`).

    python -m tests.processes.multicasting NAME DIRECTORY PLACE NAME=HOST:PORT …

PLACE is JSON: `transport`, the settings of a `MulticastTransport`, and `hosts`, by name a process that is on
the host where the member is to be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import attrs

from raftkit import Node, open_node
from raftkit.transports import MulticastTransport
from tests.netns import enter
from tests.processes.machine import Lists
from tests.processes.member import SNAPSHOT_ENTRIES, Service, main

__all__ = ["Multicasting", "program"]


def program(*, hosts: Mapping[str, int] | None = None, **transport: Any) -> tuple[str, ...]:
    """What `Group.program` is to be for members with such a transport."""
    return __spec__.name, json.dumps({"transport": transport, "hosts": dict(hosts or {})})


@attrs.define(eq=False)
class Multicasting(Service):
    """Serves as every member does."""

    transport: ClassVar[MulticastTransport]

    @classmethod
    def open(
        cls, name: str, addresses: Mapping[str, str], directory: str
    ) -> AbstractAsyncContextManager[Node[Lists]]:
        """See `Service`."""
        return open_node(
            Lists,
            id=name,
            members=addresses,
            data_dir=directory,
            snapshot_entries=SNAPSHOT_ENTRIES,
            paranoid=name == "a",
            transport=cls.transport,
        )


if __name__ == "__main__":
    name, directory, place, *places = sys.argv[1:]
    settings = json.loads(place)
    if name in settings["hosts"]:
        enter(settings["hosts"][name])
    Multicasting.transport = MulticastTransport(**settings["transport"])
    main(Multicasting, name, directory, *places)
