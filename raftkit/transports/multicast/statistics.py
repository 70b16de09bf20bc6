"""What a multicast endpoint did, in figures."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["MulticastStatistics"]


@attrs.frozen(kw_only=True)
class MulticastStatistics:
    """Figures since the endpoint was opened. Ways are "multicast" and "unicast"."""

    links: int
    "That stand now."
    links_by_multicast: int
    "Those whose peers hear our multicasts. The others get everything by unicast."
    fallbacks: int
    "Times that a peer stopped hearing them."
    discovered: int
    "Nodes of this cluster heard on the network lately, linked or not."
    datagrams_in: Mapping[str, int]
    "Received, by way; our own multicasts too, where the system hands them back."
    datagrams_out: Mapping[str, int]
    "Given to the kernel, by way. A multicast counts once, however many hear it."
    bytes_in: Mapping[str, int]
    "Of the same, without the headers of IP and UDP."
    bytes_out: Mapping[str, int]
    "Of the same, without the headers of IP and UDP."
    frames_in: int
    "Received whole, on links that stood."
    frames_out: int
    "Sent, one a target."
    dropped: Mapping[str, int]
    "Frames for which there was no room, by lane: control, entries, bulk."
    unsent: Mapping[str, int]
    "Datagrams that the kernel did not take, by its reason."
    refused: Mapping[str, int]
    "Datagrams that were not believed or of no use, by reason."
    asked: int
    "Datagrams of ours that peers asked for again."
    repaired: int
    "Datagrams sent again."
    repaired_by_multicast: int
    "Those of them that several peers missed."
    missed: int
    "Datagrams of peers that we asked for again."
    given_up: int
    "Datagrams of peers for which we asked in vain."
    crowded: int
    "Datagrams of peers for which there was no room behind one that was missing: they count as missing."
    holds: int
    "Times that entries or bulk waited for a peer that was behind."
    overruns: int
    "Datagrams for which our receive buffers had no room."
    overruns_of_peers: int
    "The same at our peers, as far as they told."
    settings_mismatches: int
    "Hellos of members whose settings differ where all must agree."
    rate: float
    "Bytes a second that may be sent now: `pacing_rate`, or less after losses."
    send_buffer_size: int
    "Bytes that the system granted."
    recv_buffer_size: int
    "Bytes that the system granted."
