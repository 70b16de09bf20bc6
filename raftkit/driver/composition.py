"""The composition root: every part of a server is made here, and given what it needs of the others.

Law: nothing runs yet, and no part is called. What a part is to learn later, such as the core, it is given a
way to ask for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from raftkit.driver.applying import Applying
from raftkit.driver.asking import Asking
from raftkit.driver.calling import Calling
from raftkit.driver.changing import Changing
from raftkit.driver.clocking import Clocking
from raftkit.driver.comparing import Comparing
from raftkit.driver.departing import Departing
from raftkit.driver.explaining import explain
from raftkit.driver.forwarding import Forwarding
from raftkit.driver.founding import Founding, fingerprint_of
from raftkit.driver.leading import Leading
from raftkit.driver.links import Links
from raftkit.driver.presence import Presences
from raftkit.driver.reading import Reading
from raftkit.driver.referring import Referring
from raftkit.driver.remembering import Remembering
from raftkit.driver.seeking import Seeking
from raftkit.driver.sessions import NONCE_BIT
from raftkit.driver.snapshotting import Snapshotting
from raftkit.driver.stalling import Stalling
from raftkit.driver.storing import Storing
from raftkit.driver.upgrading import Upgrading
from raftkit.driver.watchdog import Watchdog

if TYPE_CHECKING:
    from raftkit.driver.server import Server

__all__ = ["compose"]


def compose(server: Server) -> None:
    """Make the parts of `server`, each after those that it is given."""
    if server.recorder is not None:
        server.recorder.on_stop = server.on_recording_stopped
    _disk(server)
    _peers(server)
    _commands(server)
    _machine(server)
    _leadership(server)


def _disk(server: Server) -> None:
    """What writes to the disk, and looks at it."""
    plan = server.plan
    server.storing = Storing(server.storage, plan.calls)
    server.stalling = Stalling(
        id=plan.id,
        seconds=plan.storage_stall_timeout,
        raft=lambda: server.raft,
        publish=server.events.publish,
    )
    server.snapshotting = Snapshotting(
        id=plan.id,
        replica=server.replica,
        storing=server.storing,
        report=server.on_snapshot,
        publish=server.events.publish,
        compare=server.on_cut,
    )


def _peers(server: Server) -> None:
    """What meets the peers, and knows how they are."""
    plan, record = server.plan, server.storage.record
    server.founding = Founding(
        identity=record.identity,
        members=plan.members,
        # A new group begins with all that its code has.
        settings=attrs.evolve(plan.settings, version=server.replica.newest_version),
        machine_digest=server.replica.digest(),
        fingerprint=fingerprint_of(server.replica),
        alone=plan.alone,
        joins=plan.joins,
    )
    server.links = Links(
        plan=plan,
        record=record,
        replica=server.replica,
        founding=server.founding,
        on_message=server.on_message,
        on_hello=server.on_hello,
        on_change=server.on_change,
        publish=server.events.publish,
        on_lost=server.on_lost,
    )
    server.remembering = Remembering(
        record=lambda: server.storage.record,
        greeting=server.links.greeting,
        raft=lambda: server.raft,
        tell_core=server.put,
        write=server.storing.remember,
    )
    server.departing = Departing(
        identity=record.identity, raft=lambda: server.raft, links=lambda: server.links
    )
    server.presences = Presences(
        identity=record.identity,
        raft=lambda: server.raft,
        applied=lambda: server.applying.applied,
        links=lambda: server.links,
        priority=plan.priority,
        tell_core=server.put,
    )


def _commands(server: Server) -> None:
    """What brings commands and reads through the log to whoever waits for them."""
    plan, record = server.plan, server.storage.record
    server.forwarding = Forwarding(
        id=plan.id,
        waiters=server.waiters,
        new_ticket=server.new_ticket,
        send=server.links.send,
        retry_seconds=plan.settings.election_timeout_ms[1] / 1000,
        silence=server.presences.silence,
    )
    server.reading = Reading(server.new_ticket, server.wake, plan.clock.monotonic_ns)
    server.applying = Applying(
        replica=server.replica,
        id=plan.id,
        waiters=server.waiters,
        report=server.on_applied,
        read_snapshot=server.storing.read_snapshot,
        beside=server.storing.calls.run,
        watchdog=Watchdog(
            id=plan.id,
            limit_seconds=plan.heartbeat_ms / 1000,
            name=server.replica.name_of,
            publish=server.events.publish,
            clock=plan.clock.work,
        ),
        cut=server.snapshotting.cut,
        read_log=server.storing.read_log,
        put_in_place=server.snapshotting.put_in_place,
        restored=server.snapshotting.restored,
        replaced=server.on_replaced,
    )
    server.calling = Calling(
        replica=server.replica,
        applying=server.applying,
        waiters=server.waiters,
        forwarding=server.forwarding,
        wake=server.wake,
        catch_up=server.catch_up,
        entry_bytes_max=server.entry_bytes_max,
        nonce=NONCE_BIT | record.nonce,
    )


def _machine(server: Server) -> None:
    """What a machine needs that nobody calls: its time, its version, and that all copies are alike."""
    plan, record = server.plan, server.storage.record
    server.clocking = Clocking(
        id=plan.id,
        applying=server.applying,
        new_ticket=server.new_ticket,
        monotonic_ns=plan.clock.monotonic_ns,
    )
    server.upgrading = Upgrading(
        id=plan.id,
        replica=server.replica,
        calling=server.calling,
        greeting=lambda: server.links.greeting,
        raft=lambda: server.raft,
        publish=server.events.publish,
        fingerprint=server.founding.fingerprint,
        hold_seconds=plan.upgrade_hold,
    )
    server.comparing = Comparing(
        identity=record.identity,
        raft=lambda: server.living.raft,
        applying=server.applying,
        snapshotting=server.snapshotting,
        storing=server.storing,
        send=server.links.send,
        tell_core=server.put,
        publish=server.events.publish,
        fail_reads=server.reading.fail_all,
    )
    server.seeking = Seeking(plan.id, server.comparing)


def _leadership(server: Server) -> None:
    """What is asked of who leads, and how it gets there."""
    plan, record = server.plan, server.storage.record
    server.leading = Leading(
        id=plan.id,
        raft=lambda: server.raft,
        applying=server.applying,
        new_ticket=server.new_ticket,
        asking=Asking(server.put),
    )
    server.changing = Changing(
        identity=record.identity,
        raft=lambda: server.raft,
        links=lambda: server.links,
        new_ticket=server.new_ticket,
        asking=Asking(server.put),
    )
    server.referring = Referring(
        id=plan.id,
        leader=lambda: server.leader,
        is_heard=server.links.greeting.is_heard,
        explain=lambda: explain(server),
        changing=server.changing,
        leading=server.leading,
        new_ticket=server.new_ticket,
        send=server.links.send,
        retry_seconds=plan.settings.election_timeout_ms[1] / 1000,
    )
