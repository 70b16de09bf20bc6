"""Which ways to and from a peer work, and what it means when one does not.

Law: the words name both ends, since whoever reads them sits at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from raftkit import MulticastTransport
from raftkit.cli.doctor.connections import Connection
from raftkit.cli.doctor.datagrams import LISTENER, Exchange, Exchanges
from raftkit.cli.doctor.findings import Finding, Mark
from raftkit.wire import Refused

__all__ = ["judge_connection", "judge_exchange", "judge_interface"]

_QUERIER = (
    "a switch that snoops on IGMP while nobody queries does this, and so do most clouds and wireless "
    "networks: enable a querier on the switch, and let the group through the firewalls; meanwhile raftkit "
    "falls back to unicast"
)


# ── the interface ────────────────────────────────────────────────────────────────────────────────


def judge_interface(transport: MulticastTransport, found: Exchanges | str) -> Iterator[Finding]:
    """The network's end on this host. A text says why it can't be used."""
    if isinstance(found, str):
        yield Finding(
            check="network.interface",
            mark=Mark.WRONG,
            words=found,
            advice=f"mend this first: {found}",
        )
        return
    it = found.interface
    facts: dict[str, object] = {"interface": it.name, "mtu": it.mtu, "group": transport.group}
    yield Finding(
        check="network.interface",
        mark=Mark.OK,
        words=(
            f"{it.name} is up, does multicast, has an address and an MTU of {it.mtu}; joined "
            f"{transport.group}"
        ),
        facts=facts,
    )
    if found.unsent:
        why = ", ".join(f"{count} times: {reason}" for reason, count in found.unsent.items())
        yield Finding(
            check="network.sending",
            mark=Mark.WRONG,
            words=f"this host did not send what it was given, {why}",
            advice="look at this host's firewall and routes: nft list ruleset, ip route",
            facts={"unsent": dict(found.unsent)},
        )
    for which, name, wanted, granted in (
        ("send", "wmem_max", transport.send_buffer_size, found.send_buffer_size),
        ("receive", "rmem_max", transport.recv_buffer_size, found.recv_buffer_size),
    ):
        words = f"the {which} buffer has {granted} bytes of {wanted}"
        lacks = granted < wanted
        yield Finding(
            check=f"network.{which}_buffer",
            mark=Mark.WARNING if lacks else Mark.OK,
            words=f"{words}: bursts may be lost" if lacks else words,
            advice=f"sysctl -w net.core.{name}={wanted}" if lacks else "",
            facts={"granted_bytes": granted, "wanted_bytes": wanted},
        )


# ── datagrams ────────────────────────────────────────────────────────────────────────────────────


def judge_exchange(
    peer: str, address: str, it: Exchange, *, transport: MulticastTransport, host_answers: bool
) -> Iterator[Finding]:
    """All that was found between this host and `peer`. `host_answers`: its host does so by TCP."""
    if it.who is not None and peer != address and it.who.id not in (peer, LISTENER):
        yield _other(peer, address, it.who.id, "network.peer")
        return
    nothing = not any(it.answered.values()) and not any(it.heard.values())
    facts: dict[str, object] = {
        "sent": dict(it.sent),
        "answered": dict(it.answered),
        "heard": dict(it.heard),
    }
    if nothing:
        words, advice = _silence(peer, address, it, transport, host_answers)
        yield Finding(
            check="network.unicast",
            mark=Mark.WRONG,
            words=words,
            advice=advice,
            peer=peer,
            facts=facts,
        )
        return
    yield _unicast(peer, address, it, facts)
    yield _multicast_out(peer, it)
    yield _multicast_in(peer, it, transport)
    yield _settings(peer, address, it)


def _silence(
    peer: str, address: str, it: Exchange, transport: MulticastTransport, host_answers: bool
) -> tuple[str, str]:
    """What is wrong where nothing was heard at all, and what to do."""
    there = f"on {peer}'s host: raftkit run, or raftkit doctor --listen"
    if it.refused:
        why = it.refused[0]
        mend = {
            Refused.KEY: "bring the same key file to both",
            Refused.SEAL: "bring the same key file to both",
            Refused.SCHEME: "set the same encrypt and insecure at both",
            Refused.CLUSTER: "set the same cluster at both",
        }.get(why, "look at what else talks there")
        return f"datagrams of {peer}'s host are refused here: {why.value}", mend
    if it.nobody:
        return f"nobody listens at {address}: its host says so", f"start it {there}"
    host = "its host answers by TCP, so " if host_answers else ""
    words = (
        f"{peer} at {address} is silent: {host}nobody runs there, or UDP is lost on its way, or its key, "
        f"cluster or group ({transport.group} here) is another"
    )
    advice = (
        f"start it {there}; let UDP through the firewalls at both ends; have the same group, cluster and key "
        "at both"
    )
    return words, advice


def _unicast(peer: str, address: str, it: Exchange, facts: dict[str, object]) -> Finding:
    out, back = it.answered.get("unicast", 0), it.heard.get("unicast", 0)
    advice = ""
    if out and back:
        words = f"unicast passes both ways with {peer}"
    elif out:
        words = f"unicast from {peer} does not arrive here; ours arrives there"
        advice = "let UDP from it through this host's firewall, and look at its route to here"
    elif it.answered.get("multicast", 0) and back:
        words = f"our unicast does not arrive at {peer}, {address}; its own arrives here"
        advice = f"let UDP to {address} through the firewall there, and look at the route to it"
    elif it.answered.get("multicast", 0):
        words = f"unicast passes neither way with {peer}; multicast does"
        advice = "let UDP through the firewalls at both ends: multicast alone is not enough"
    else:
        words = f"{peer} is heard here and answers nothing: our probes or its answers are lost"
        advice = f"which of both, tells raftkit doctor --listen on {peer}'s host"
    return Finding(
        check="network.unicast",
        mark=Mark.WRONG if advice else Mark.OK,
        words=words,
        advice=advice,
        peer=peer,
        facts=facts,
    )


def _multicast_out(peer: str, it: Exchange) -> Finding:
    if it.answered.get("multicast", 0):
        words = f"our multicast arrives at {peer}"
        return Finding(check="network.multicast_out", mark=Mark.OK, words=words, peer=peer)
    if not it.answered.get("unicast", 0):
        words = f"whether our multicast arrives at {peer} is not known, since it answers nothing"
        return Finding(check="network.multicast_out", mark=Mark.UNKNOWN, words=words, peer=peer)
    return Finding(
        check="network.multicast_out",
        mark=Mark.WRONG,
        words=f"our multicast does not arrive at {peer}, unicast does",
        advice=_QUERIER,
        peer=peer,
    )


def _multicast_in(peer: str, it: Exchange, transport: MulticastTransport) -> Finding:
    if it.heard.get("multicast", 0):
        words = f"multicast from {peer} arrives here"
        return Finding(check="network.multicast_in", mark=Mark.OK, words=words, peer=peer)
    group = f"; or its group is not {transport.group}" if not it.answered.get("multicast") else ""
    return Finding(
        check="network.multicast_in",
        mark=Mark.WRONG,
        words=f"multicast from {peer} does not arrive here, unicast does{group}",
        advice=_QUERIER,
        peer=peer,
    )


def _settings(peer: str, address: str, it: Exchange) -> Finding:
    if it.settings_differ:
        return Finding(
            check="network.peer",
            mark=Mark.WRONG,
            words=f"{peer} has other settings of the transport than this node",
            advice="have the same table [multicast] at both, but for interface, loopback and keys' places",
            peer=peer,
        )
    who = (
        "a doctor listens" if it.who is not None and it.who.id == LISTENER else "it is who answers"
    )
    words = f"{who} at {address}, with the same settings"
    return Finding(check="network.peer", mark=Mark.OK, words=words, peer=peer)


def _other(peer: str, address: str, who: str, check: str) -> Finding:
    """Somebody else is there."""
    return Finding(
        check=check,
        mark=Mark.WRONG,
        words=f"at {address} is {who}, not {peer}",
        advice="mend the addresses in node.toml, or raftkit readdress",
        peer=peer,
    )


# ── connections ──────────────────────────────────────────────────────────────────────────────────


def judge_connection(
    peer: str, address: str, it: Connection, *, needed: bool, cluster: str | None
) -> Finding:
    """What came of TCP with `peer`. `needed`: its group talks that way. `cluster`: ours, if it is known."""
    advice = ""
    if it.forbidden:
        words = it.forbidden
        advice = (
            f"mend {peer}'s address, or the settings: a node here does not connect to it either"
        )
    elif it.failure:
        words = f"{address} can't be connected to by TCP: {it.failure}"
        advice = (
            f"start it on {peer}'s host: raftkit run, or raftkit doctor --listen; let the port through the "
            "firewalls"
        )
    elif it.who is None:
        words = f"who listens at {address} by TCP {it.silence}"
        advice = "have nothing but raftkit at that port; if it is raftkit, look at its log"
    elif it.who.id == LISTENER:
        words = f"a doctor listens at {address} by TCP"
    elif peer not in (address, it.who.id):
        return _other(peer, address, it.who.id, "network.tcp")
    elif cluster is not None and it.cluster not in (None, cluster):
        words = f"{peer} is of another cluster, {it.cluster}"
        advice = "give each node the directory of its own cluster"
    else:
        words = f"{it.who.id} answers at {address} by TCP"
    if not needed and advice:
        return Finding(
            check="network.tcp",
            mark=Mark.OK,
            words=f"{words}: not needed over multicast",
            peer=peer,
        )
    return Finding(
        check="network.tcp",
        mark=Mark.WRONG if advice else Mark.OK,
        words=words,
        advice=advice,
        peer=peer,
        facts={"cluster": it.cluster},
    )
