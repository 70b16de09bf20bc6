"""Hiding what datagrams say needs the extra `tls`, and says so where it is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raftkit.errors import ConfigError
from raftkit.transports.multicast.aead import aes_256_gcm
from raftkit.wire import HEAD_BYTES, ClusterKeys


def test_without_cryptography_a_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)  # as if it were not installed

    with pytest.raises(ConfigError, match=r"pip install 'raftkit-trio\[tls\]', or choose hmac"):
        aes_256_gcm()


def test_cryptography_is_loaded_only_when_it_is_asked_for() -> None:
    """It takes its time, and most nodes do without."""
    code = "import raftkit.transports.multicast.aead, sys; sys.exit('cryptography' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_seal_is_aes_256_gcm_with_the_number_as_its_nonce() -> None:
    """Whoever has the derived key and the published form can open it with any other AES-GCM."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    # Given a datagram of start 5, sealed under key 7
    key, head = bytes(range(32)), bytes(range(HEAD_BYTES))
    keys = ClusterKeys(ring={7: key}, sealing=7, scheme=aes_256_gcm())
    datagram = keys.seal_of(7, 5).seal(head, b"what members say")

    # When somebody else derives the key as the documentation says
    info = bytes([2, 7]) + (5).to_bytes(8, "big")
    derived = HKDF(hashes.SHA256(), 32, b"raftkit datagram 1", info).derive(key)

    opened = AESGCM(derived).decrypt(head[20:32], datagram[HEAD_BYTES:], head)
    assert opened == b"what members say"
