"""Key files as people make them, and as they should not be."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from raftkit.errors import ConfigError
from raftkit.transports.multicast.keys import key_id_of, read_key, read_keys
from raftkit.wire import HMAC, UNSEALED

KEY = bytes(range(32))


def a_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "content",
    [KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\n", KEY.hex().encode() + b"\r\n"],
)
def test_a_key_is_32_bytes_or_their_digits(tmp_path: Path, content: bytes) -> None:
    assert read_key(a_file(tmp_path / "key", content)) == KEY


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        KEY[:31],
        KEY + b"\n",
        KEY.hex().encode()[:-1],
        b"g" * 64,
        b"\xff" * 64,
        bytes(10_000),
    ],
    ids=len,
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match="holds no key: it needs 32 bytes") as caught:
        read_key(a_file(tmp_path / "key", content))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o606, 0o601])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = a_file(tmp_path / "key", KEY, mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\): chmod 600 {path}"):
        read_key(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_key(a_file(tmp_path / "key", KEY, mode)) == KEY


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is not a file"):
            read_key(path)
    with pytest.raises(ConfigError, match=r"can't read the key file .*: no such file"):
        read_key(tmp_path / "nowhere")


def test_one_key_seals_and_two_are_believed(tmp_path: Path) -> None:
    new, old = a_file(tmp_path / "new", KEY), a_file(tmp_path / "old", KEY[::-1])
    keys = read_keys(new, old, encrypt=False, insecure=False)

    assert keys.ring == {key_id_of(KEY): KEY, key_id_of(KEY[::-1]): KEY[::-1]}
    assert keys.sealing == key_id_of(KEY)
    assert keys.scheme is HMAC


def test_the_same_key_twice_is_one(tmp_path: Path) -> None:
    one, copy = a_file(tmp_path / "one", KEY), a_file(tmp_path / "copy", KEY.hex().encode())

    assert read_keys(one, copy, encrypt=False, insecure=False).ring == {key_id_of(KEY): KEY}


def test_two_keys_of_one_number_are_refused(tmp_path: Path) -> None:
    twin = next(
        it for it in iter(lambda: secrets.token_bytes(32), b"") if key_id_of(it) == key_id_of(KEY)
    )
    one, other = a_file(tmp_path / "one", KEY), a_file(tmp_path / "other", twin)
    with pytest.raises(ConfigError, match="one number by chance: draw another"):
        read_keys(one, other, encrypt=False, insecure=False)


def test_no_key_must_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"multicast needs a key.*openssl rand") as caught:
        read_keys(None, None, encrypt=False, insecure=False)

    assert "\n" not in str(caught.value)
    assert read_keys(None, None, encrypt=False, insecure=True).scheme is UNSEALED


def test_settings_that_need_a_key_are_refused_without_one(tmp_path: Path) -> None:
    old = a_file(tmp_path / "old", KEY)
    for other_key, encrypt in ((old, False), (None, True)):
        with pytest.raises(ConfigError, match="of no use without key"):
            read_keys(None, other_key, encrypt=encrypt, insecure=True)


def test_a_cluster_may_encrypt(tmp_path: Path) -> None:
    keys = read_keys(a_file(tmp_path / "key", KEY), None, encrypt=True, insecure=False)

    assert keys.scheme.name == "aead"
