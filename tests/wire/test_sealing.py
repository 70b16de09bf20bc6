"""Keys are derived as RFC 5869 says, one for each start; whatever is changed under a seal is noticed."""

from __future__ import annotations

from itertools import combinations

import pytest

from raftkit.errors import ConfigError
from raftkit.transports.multicast.aead import aes_256_gcm
from raftkit.wire import HEAD_BYTES, HMAC, SEAL_BYTES, UNSEALED, ClusterKeys, Scheme
from raftkit.wire.sealing import hkdf_expand, hkdf_extract

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
HEAD = bytes(range(100, 100 + HEAD_BYTES))
CONTENT = b"what members say"
AEAD = aes_256_gcm()
SEALED = pytest.mark.parametrize("scheme", [HMAC, AEAD], ids=lambda it: it.name)

# RFC 5869, appendix A: key, salt, info, length, root, result.
VECTORS = {
    "A.1": (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "A.2": (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41"
            "c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    "A.3": (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


def _keys(scheme: Scheme = HMAC, **ring: bytes) -> ClusterKeys:
    """`k7=…` is the key of id 7; the first one seals."""
    by_id = {int(name[1:]): key for name, key in (ring or {"k7": KEY}).items()}
    return ClusterKeys(ring=by_id, sealing=min(by_id), scheme=scheme)


@pytest.mark.parametrize("name", VECTORS)
def test_keys_are_derived_as_rfc_5869_says(name: str) -> None:
    key, salt, info, length, root, result = VECTORS[name]

    assert hkdf_extract(salt=bytes.fromhex(salt), key=bytes.fromhex(key)).hex() == root
    found = hkdf_expand(bytes.fromhex(root), info=bytes.fromhex(info), length=length)
    assert found.hex() == result


@SEALED
def test_what_was_sealed_is_opened(scheme: Scheme) -> None:
    seal = _keys(scheme).seal_of(7, 1)

    datagram = seal.seal(HEAD, CONTENT)

    assert datagram[:HEAD_BYTES] == HEAD
    assert len(datagram) == HEAD_BYTES + len(CONTENT) + SEAL_BYTES == HEAD_BYTES + 16 + 16
    assert seal.open(datagram) == CONTENT


@SEALED
def test_any_changed_bit_breaks_the_seal(scheme: Scheme) -> None:
    """Of the head, of the content, of the seal itself."""
    seal = _keys(scheme).seal_of(7, 1)
    datagram = seal.seal(HEAD, CONTENT)

    for bit in range(len(datagram) * 8):
        changed = bytearray(datagram)
        changed[bit // 8] ^= 1 << bit % 8
        assert seal.open(bytes(changed)) is None


@SEALED
def test_a_cut_or_longer_datagram_breaks_the_seal(scheme: Scheme) -> None:
    seal = _keys(scheme).seal_of(7, 1)
    datagram = seal.seal(HEAD, CONTENT)

    for end in range(HEAD_BYTES + SEAL_BYTES, len(datagram)):
        assert seal.open(datagram[:end]) is None
    assert seal.open(datagram + b"\0") is None


def test_each_start_key_id_scheme_and_cluster_has_a_key_of_its_own() -> None:
    """Or a datagram of one life, cluster or mode would pass in another."""
    # Given an HMAC under every key, whatever it was derived for
    as_hmac = Scheme(name="hmac, but of another code", code=3, seal_bytes=16, make=HMAC.make)
    both = _keys(k7=KEY, k8=KEY)
    seals = [
        both.seal_of(7, 1),
        both.seal_of(7, 2),
        both.seal_of(8, 1),
        _keys(as_hmac, k7=KEY).seal_of(7, 1),
        _keys(k7=OTHER).seal_of(7, 1),
    ]

    for one, other in combinations(seals, 2):
        assert one.open(other.seal(HEAD, CONTENT)) is None
        assert other.open(one.seal(HEAD, CONTENT)) is None


def test_hmac_can_be_read_and_aead_can_not() -> None:
    assert CONTENT in _keys(HMAC).seal_of(7, 1).seal(HEAD, CONTENT)
    assert CONTENT not in _keys(AEAD).seal_of(7, 1).seal(HEAD, CONTENT)


def test_aead_hides_that_the_same_is_said_twice() -> None:
    """The number of a datagram is its nonce: the last twelve bytes of the head."""
    seal = _keys(AEAD).seal_of(7, 1)
    one, other = seal.seal(HEAD, CONTENT), seal.seal(HEAD[:-1] + b"\0", CONTENT)

    assert one[HEAD_BYTES:] != other[HEAD_BYTES:]
    assert seal.seal(HEAD, CONTENT) == one


def test_without_a_seal_anything_is_believed() -> None:
    keys = ClusterKeys.unsealed(unsafe=True)
    seal = keys.seal_of(keys.sealing, 1)

    assert keys.scheme is UNSEALED
    assert seal.seal(HEAD, CONTENT) == HEAD + CONTENT
    assert seal.open(HEAD + b"forged") == b"forged"


@pytest.mark.parametrize(
    "ring, sealing, said",
    [
        pytest.param({}, 0, "0 cluster keys: give one, or two", id="none"),
        pytest.param({1: KEY, 2: KEY, 3: KEY}, 1, "3 cluster keys", id="three"),
        pytest.param({1: KEY[:-1]}, 1, "cluster key 1 has 31 bytes", id="short"),
        pytest.param({1: KEY, 2: KEY + b"\n"}, 1, "cluster key 2 has 33 bytes", id="long"),
        pytest.param({256: KEY}, 256, "cluster key id 256: .* from 0 to 255", id="id too high"),
        pytest.param({-1: KEY}, -1, "cluster key id -1", id="id too low"),
        pytest.param({1: KEY, 5: KEY}, 2, r"cluster key 2 is .* not given: \[1, 5\]", id="unknown"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(
    ring: dict[int, bytes], sealing: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        ClusterKeys(ring=ring, sealing=sealing)


def test_no_seal_must_be_asked_for_in_so_many_words() -> None:
    with pytest.raises(ConfigError, match=r"forged by anybody .* unsafe=True"):
        ClusterKeys.unsealed(unsafe=False)
    with pytest.raises(ConfigError, match="forged by anybody"):
        ClusterKeys(ring={0: KEY}, sealing=0, scheme=UNSEALED)


def test_keys_are_in_no_repr() -> None:
    keys = _keys(k7=KEY, k9=OTHER)
    shown = f"{keys!r} {keys.seal_of(7, 1)!r} {_keys(AEAD).seal_of(7, 1)!r}"

    assert "[7, 9]" in shown
    for secret in (KEY, OTHER, *keys._roots.values()):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_a_ring_that_its_maker_changes_stays_as_it_was_checked() -> None:
    ring = {7: KEY}
    keys = ClusterKeys(ring=ring, sealing=7)
    ring[7] = b"short"

    assert keys.ring == {7: KEY}
