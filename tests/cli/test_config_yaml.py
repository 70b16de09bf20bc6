"""QLUSTER's config.yaml: what each parameter means here, what has no effect, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from raftkit import ConfigError, MulticastTransport
from raftkit.cli import config_yaml
from raftkit.cli.child import free_addresses
from raftkit.cli.config_yaml import _PARAMETERS, ConfigFile, read_config
from raftkit.cli.node_file import NodeFile, read_node_file
from tests.cli.typed import MACHINE, end_politely, poll, refused, terminal, typed

SAMPLE = """\
ip: "127.0.0.1"
api-port: 8080

udp:
  socket:
    group: "239.192.7.1:7400"
    interface: "lo"
    pacing-rate: 268435456
    loopback: false
    send-buffer-size: 1048576
    recv-buffer-size: 1048576
  max-log-size: 64000
  send-buffer-capacity: 256
  recv-buffer-capacity: 256

cluster:
  node-timeout: 30s
  heartbeat-interval: 10s
  pre-voting-timeout: 10s
  leader-voting-timeout: 10s
  quorum-replication: true
  replication-factor: 0
  replication-retry-interval: 1s
  autoremove-enabled: false
  autoremove-minimum: 3
  remove-interval: 1m

hello-retry-interval: 1s
"""
"The sample of QLUSTER's documentation; only the address, the group and the interface are filled in."


def _read(tmp_path: Path, text: str) -> ConfigFile:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_config(path)


def _with(name: str, value: str) -> str:
    """The sample with another value of one parameter."""
    text, count = re.subn(rf"(?m)^( *{name}:).*$", rf"\1 {value}", SAMPLE)
    assert count == 1
    return text


def _member(**settings: Any) -> NodeFile:
    members = {"a": "127.0.0.1:7401", "b": "127.0.0.1:7402"}
    return NodeFile(machine=None, settings={"id": "a", "members": members, **settings})


# ── what it means ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("U-18", "U-20", "U-42")
def test_the_sample_means_a_multicast_and_timings(tmp_path: Path) -> None:
    config = _read(tmp_path, SAMPLE)

    assert config.ip == "127.0.0.1"
    assert config.settings == {
        "election_timeout": (30.0, 40.0),
        "vote_timeout": (5.0, 10.0),
        "heartbeat_interval": 10.0,
        "retry_interval": 1.0,
        "entry_bytes_max": 64000,
    }
    transport = MulticastTransport(cluster="c", **config.multicast)  # type: ignore[arg-type]
    assert transport == MulticastTransport(
        cluster="c",
        group="239.192.7.1:7400",
        interface="lo",
        pacing_rate=256 * 1024 * 1024,
        loopback=False,
        send_buffer_size=1024 * 1024,
        recv_buffer_size=1024 * 1024,
        send_buffer_capacity=256,
        recv_buffer_capacity=256,
        hello_retry_interval=1.0,
    )
    assert [it.partition(":")[0] for it in config.notes] == ["api-port"]


@pytest.mark.parametrize("parameter", sorted(_PARAMETERS))
def test_every_parameter_changes_something_says_why_not_or_is_refused(
    tmp_path: Path, parameter: str
) -> None:
    """But for what only says when a removal would be that is refused."""
    if parameter in {"cluster.autoremove-minimum", "cluster.remove-interval"}:
        return
    name = parameter.rpartition(".")[2]
    was = re.search(rf"(?m)^ *{name}: (.*)$", SAMPLE)
    assert was is not None
    other = {"true": "false", "false": "true"}.get(
        was[1], re.sub(r"\d+", lambda it: str(int(it[0]) + 1), was[1], count=1)
    )
    other = other if other != was[1] else '"other"'

    try:
        found = _read(tmp_path, _with(name, other))
    except ConfigError as error:
        refusal = str(error)
    else:
        said = any(it.startswith(f"{parameter}:") for it in found.notes)
        assert said or found != _read(tmp_path, SAMPLE)
        return
    assert parameter in refusal


@pytest.mark.accept("U-29", "U-31")
def test_the_longer_of_the_two_rounds_is_how_long_one_may_last(tmp_path: Path) -> None:
    """Each of the two stages has so long, and none waits for it that is decided before."""
    both = _read(tmp_path, _with("pre-voting-timeout", "4s"))
    one = _read(tmp_path, "cluster: {pre-voting-timeout: 4s}")

    assert both.settings["vote_timeout"] == (5.0, 10.0)
    assert one.settings == {"vote_timeout": (2.0, 4.0)}


@pytest.mark.accept("U-27")
def test_who_misses_a_leader_waits_up_to_a_third_longer(tmp_path: Path) -> None:
    """Or all would campaign at once. How long rounds last is said elsewhere, or not at all."""
    found = _read(tmp_path, "cluster: {node-timeout: 3s}")

    assert found.settings == {"election_timeout": (3.0, 4.0)}


@pytest.mark.parametrize(
    "words, seconds",
    [("500ms", 0.5), ("30s", 30), ("1m", 60), ("1m30s", 90), ("1.5h", 5400), ('"2s"', 2)],
)
def test_durations_have_units(tmp_path: Path, words: str, seconds: float) -> None:
    found = _read(tmp_path, _with("hello-retry-interval", words))

    assert found.multicast["hello_retry_interval"] == pytest.approx(seconds)


def test_what_is_not_said_is_not_set(tmp_path: Path) -> None:
    found = _read(tmp_path, "udp: {socket: {group: '239.192.7.1:7400', interface: lo}}")

    assert (found.ip, found.settings, found.notes) == (None, {}, ())
    assert found.multicast == {"group": "239.192.7.1:7400", "interface": "lo"}


def test_it_goes_before_the_node_file_which_says_cluster_and_key(tmp_path: Path) -> None:
    own = _member(heartbeat_interval=0.02, sessions_max=7)
    own = attrs.evolve(own, multicast={"cluster": "ours", "key": "k", "ttl": 4, "loopback": True})

    over = _read(tmp_path, SAMPLE).over(own)

    assert over.settings["heartbeat_interval"] == 10.0
    assert over.settings["sessions_max"] == 7
    assert over.multicast is not None
    assert {it: over.multicast[it] for it in ("cluster", "key", "ttl", "loopback")} == {
        "cluster": "ours",
        "key": "k",
        "ttl": 4,
        "loopback": False,
    }


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("node-timeout", "30", "cluster.node-timeout must be a duration such as 30s"),
        ("node-timeout", "30 seconds", "cluster.node-timeout must be a duration"),
        ("heartbeat-interval", "1:30", "cluster.heartbeat-interval must be a duration"),
        ("pacing-rate", "256MiB", "udp.socket.pacing-rate must be a whole number"),
        ("pacing-rate", "-1", "0 or more, got -1"),
        ("max-log-size", "true", "udp.max-log-size must be a whole number"),
        ("loopback", "1", "udp.socket.loopback must be true or false, got 1"),
        ("interface", "", "udp.socket.interface must be text, got None"),
        ("group", "[ff15::1]:7400", "config.yaml: not YAML"),
        ("api-port", "80800", "api-port must be a port from 1 to 65535"),
        ("quorum-replication", "false", "confirm what a crash can lose"),
        ("replication-factor", "2", "ChangeSettings(replication_factor=…)"),
        ("autoremove-enabled", "true", "raftkit remove"),
        ("udp", "5", "not YAML"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as refusal:
        _read(tmp_path, _with(name, value))

    assert str(refusal.value).startswith(str(tmp_path / "config.yaml"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("cluster: {node-time-out: 3s}", "did you mean cluster.node-timeout?"),
        ("node-timeout: 3s", "unknown parameter node-timeout: did you mean cluster.node-timeout?"),
        ("udp: {max_log_size: 9}", "did you mean udp.max-log-size?"),
        ("zzzzz: 1", "unknown parameter zzzzz; there are ip, api-port"),
        ("udp: 5", "udp must hold parameters, got 5"),
        ("udp:\n  socket:\n", "udp.socket must hold parameters, got None"),
        ("", "the file must hold parameters"),
        ("- ip", "the file must hold parameters"),
        ("ip: a\nip: b", "line 2: ip is there twice"),
        ("ip: !!python/object/apply:os.getcwd []", "not YAML"),
        ("udp: &it {socket: *it}", "unknown parameter udp.socket.socket"),
    ],
)
def test_what_it_does_not_know_is_refused_with_the_nearest_name(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        _read(tmp_path, text)


def test_an_ip_that_is_not_the_members_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ip is 10\.0\.0\.1, but as a member a is at 127\.0"):
        _read(tmp_path, _with("ip", '"10.0.0.1"')).over(_member())


@pytest.mark.accept("U-33")
def test_a_leader_missed_before_its_second_heartbeat_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be at most half"):
        _read(tmp_path, _with("node-timeout", "19s")).over(_member())


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "config.yaml")


# ── on the command line ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.key"
    path.touch(mode=0o600)
    path.write_text("17" * 32)
    return path


@pytest.mark.slow
@pytest.mark.accept("U-19", "U-27", "U-28")
def test_the_sample_starts_a_node(tmp_path: Path, key: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(SAMPLE)
    home, screen = tmp_path / "a", tmp_path / "screen"
    members = ",".join(f"{it}={address}" for it, address in free_addresses(("a", "b")).items())
    given = ("--id", "a", "--members", members, "--machine", MACHINE)

    code, _, err = typed("init", home, *given, "--config", config, "--key", key)
    assert code == 0
    assert err.splitlines()[0].startswith(f"{config}: api-port: ")
    file = read_node_file(home)
    assert file.settings["election_timeout"] == [30.0, 40.0]
    assert file.settings["vote_timeout"] == [5.0, 10.0]
    assert file.multicast is not None
    assert (file.multicast["key"], file.multicast["interface"]) == (str(key), "lo")
    with terminal(screen, "run", home, "--config", config) as process:
        poll(lambda: "a: unborn at 127.0.0.1:" in screen.read_text())
        assert end_politely(process) == 0
    assert f"{config}: api-port: " in screen.read_text()
    assert screen.read_text().endswith("a: stopped\n")


def test_run_refuses_a_config_that_contradicts(tmp_path: Path, key: Path) -> None:
    home, config = tmp_path / "a", tmp_path / "config.yaml"
    config.write_text(_with("ip", '"10.0.0.1"'))
    members = "a=127.0.0.1:7401,b=127.0.0.1:7402"
    over = ("--group", "239.192.7.1:7400", "--interface", "lo", "--cluster", "c", "--key", key)
    typed("init", home, "--id", "a", "--members", members, *over)

    assert "ip is 10.0.0.1" in refused("run", home, "--machine", MACHINE, "--config", config)


@pytest.mark.accept("U-15")
def test_a_file_that_no_option_names_is_looked_for_in_order(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says another address than the node has, so that its refusal tells which was read."""
    assert [str(it) for it in config_yaml.PLACES] == ["config.yaml", "/etc/raftkit/config.yaml"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_yaml, "PLACES", (Path("config.yaml"), tmp_path / "etc.yaml"))
    for number, name in enumerate(("option.yaml", "named.yaml", "config.yaml", "etc.yaml"), 1):
        (tmp_path / name).write_text(f'ip: "10.0.0.{number}"')
    members = ("--members", "a=127.0.0.1:7401,b=127.0.0.1:7402", "--machine", MACHINE)
    over = ("--group", "239.192.7.1:7400", "--interface", "lo", "--cluster", "c", "--key", key)
    typed("init", "a", "--id", "a", *members, *over)

    monkeypatch.setenv("RAFTKIT_CONFIG", "named.yaml")
    assert "ip is 10.0.0.1" in refused("run", "a", "--config", "option.yaml")
    assert "ip is 10.0.0.2" in refused("run", "a")
    monkeypatch.delenv("RAFTKIT_CONFIG")
    assert "ip is 10.0.0.3" in refused("run", "a")
    Path("config.yaml").unlink()
    assert "ip is 10.0.0.4" in refused("run", "a")
    Path("etc.yaml").unlink()
    assert config_yaml.config_path(None, read_node_file(Path("a"))) is None


def test_a_node_over_tcp_reads_no_file_that_just_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAFTKIT_CONFIG", raising=False)
    Path("config.yaml").write_text(SAMPLE)
    typed("init", "a", "--id", "a", "--members", "a=127.0.0.1:7401,b=127.0.0.1:7402")
    file = read_node_file(Path("a"))

    assert config_yaml.config_path(None, file) is None
    monkeypatch.setenv("RAFTKIT_CONFIG", "config.yaml")
    assert config_yaml.config_path(None, file) == Path("config.yaml")
