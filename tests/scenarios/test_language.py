"""The language of scenarios: what is understood, what is said when it is not, and what no rewriting hides."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import attrs
import pytest

from raftkit.messages import Write
from raftkit.testing.scenario import Batching, ScenarioFailed, claims, run
from raftkit.testing.scenario.commands import COMMANDS
from raftkit.testing.world.disk import WorldDisk

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

ELECTED = "nodes a b c\nquietly elect a b c\nquietly stabilise\n"


def after(commands: str) -> str:
    """What is written below these commands, of a group whose leader is a."""
    return run(f"{ELECTED}\n{commands}\n").partition(f"{commands}\n----\n")[2]


def failure_of(text: str) -> ScenarioFailed:
    """Why this scenario can't be played."""
    with pytest.raises(ScenarioFailed) as caught:
        run(text, "story.txt")
    return caught.value


def test_what_happens_is_written_below_the_commands() -> None:
    told = run("# A story.\n\nnodes a   # one server\ncampaign a\n\n# The end.\nshow log\n")

    assert told == (
        "# A story.\n"
        "\n"
        "nodes a   # one server\n"
        "campaign a\n"
        "----\n"
        "a becomes pre-candidate, T1\n"
        "a becomes candidate, T2\n"
        "a writes T2, vote a\n"
        "a becomes leader, T2\n"
        "a writes 2/T2 no-op\n"
        "a commits up to 2\n"
        "a applies 1/T1 configuration, 2/T2 no-op\n"
        "\n"
        "# The end.\n"
        "show log\n"
        "----\n"
        "a log: 1/T1 configuration, 2/T2 no-op\n"
    )


def test_a_scenario_that_reads_as_it_happens_is_left_as_it_is() -> None:
    told = run("nodes a b\nelect a b\n\nstabilise\n\n# And no more.\n")

    assert run(told) == told


def test_what_stood_below_the_commands_is_replaced() -> None:
    told = run("nodes a\n----\nsomething else\nand more\n\ncampaign a\n----\n")

    assert told == run("nodes a\n\ncampaign a\n")


def test_commands_of_which_nothing_comes_say_ok() -> None:
    assert after("hold-disk a") == "ok\n"


def test_quietly_leaves_leaders_commits_and_answers() -> None:
    assert after("quietly propose a x\nquietly stabilise") == (
        "a answers: proposed at 3/T2\nb commits up to 2\nc commits up to 2\na commits up to 3\n"
    )


def test_time_that_passes_says_when_something_happened() -> None:
    assert after("quietly tick b 40\ncampaign c").startswith("tick 37:\nb loses its leader a\n")


def test_a_letter_on_a_cut_link_is_lost_when_it_would_arrive() -> None:
    told = after("cut a->b\ntick a 5\ndeliver a->b heartbeat\nheal\ndeliver a->c heartbeat")

    assert "a->b heartbeat T2 round 2 commit 2 (lost: cut)\n" in told
    assert "  c sends a: heartbeat-reply T2 round 2 up to 2\n" in told


def test_held_letters_wait_to_be_released_and_go_first() -> None:
    told = after(
        "hold a->b append\nquietly propose a x\npass a->b\nquietly propose a y\nrelease a->b\n"
        "show messages a->b"
    )

    assert told.splitlines()[-2:] == [
        "a->b append T2 after 2/T2 [3/T2 x] commit 2",
        "a->b append T2 after 3/T2 [4/T2 y] commit 2",
    ]


def test_a_held_disk_writes_when_told_and_a_crash_loses_the_rest() -> None:
    told = after(
        "hold-disk a\nquietly propose a x\nquietly propose a y\nsync a 1\ncrash a\nshow disk a"
    )

    assert told.splitlines()[2:] == [
        "a has on disk: 3/T2 x",
        "a crashes; writes lost: 1",
        "a disk: T2, vote a, log 1.2.2",
    ]


def test_a_paused_server_takes_all_that_came_in_one_step() -> None:
    told = after("pause b\nquietly propose a x y\ndeliver a->b append\nresume b")

    assert told == (
        "a answers: proposed at 3/T2\n"
        "a->b append T2 after 2/T2 [3/T2 x, 4/T2 y] commit 2 (waits)\n"
        "b commits up to 2\n"
        "b writes 3/T2 x, 4/T2 y\n"
        "b applies 1/T1 configuration, 2/T2 no-op\n"
        "b sends a: accepted T2 up to 4\n"
    )


def test_a_barred_server_and_an_unfit_one_do_not_campaign() -> None:
    told = after(
        "bar b its disk is older\nunfit c its code is older\nquietly run 20\ncrash a\nrun 200"
    )

    assert "candidate" not in told


def steps_of_b(batching: Batching) -> list[str]:
    """What b says when two entries, in two messages, come to it by one command."""
    told = run(
        f"{ELECTED}quietly propose a x\nquietly propose a y\n\ndeliver a->b append\n",
        batching=batching,
    )
    return [line.strip() for line in told.splitlines() if line.startswith("  b ")]


def test_singly_each_message_has_a_step_of_its_own() -> None:
    assert steps_of_b(Batching.SINGLY) == [
        "b commits up to 2",
        "b writes 3/T2 x",
        "b applies 1/T1 configuration, 2/T2 no-op",
        "b sends a: accepted T2 up to 3",
        "b writes 4/T2 y",
        "b sends a: accepted T2 up to 4",
    ]


def test_together_all_that_one_command_brings_is_one_step() -> None:
    assert steps_of_b(Batching.TOGETHER) == [
        "b commits up to 2",
        "b writes 3/T2 x, 4/T2 y",
        "b applies 1/T1 configuration, 2/T2 no-op",
        "b sends a: accepted T2 up to 4",
    ]


def test_singly_what_is_written_as_one_step_is_many() -> None:
    paused = f"{ELECTED}quietly propose a x\nquietly propose a y\npause b\ndeliver a->b append\nresume b\n"

    assert "b writes 3/T2 x, 4/T2 y" in run(paused)
    assert "b writes 3/T2 x, 4/T2 y" not in run(paused, batching=Batching.SINGLY)


def test_claims_are_what_is_shown_and_what_is_at_the_end() -> None:
    text = "nodes a b\nshow state b\nshow messages\ncrash b\n"

    told = claims(text, batching=Batching.TOGETHER)

    assert told == [
        "b follower T1 vote -, log 1, durable 1, verified 0, commit 0, applied 0",
        "a group at 1: a,b",
        "a log: 1/T1 configuration",
        "a follower T1 vote -, log 1, durable 1, verified 0, commit 0, applied 0",
        "a disk: T1, vote -, log 1",
        "b disk: T1, vote -, log 1",
    ]


@pytest.mark.parametrize(
    "command, complaint",
    [
        ("fly a", "unknown command 'fly'"),
        ("quietly", "unknown command 'quietly'"),
        ("campaign d", "there is no node 'd'; there are: a, b, c"),
        ("campaign a", "a leads already"),
        ("campaign", "0 words are too few; it is written: campaign NODE"),
        ("tick a 5 6", "3 words are too many; it is written: tick NODES [COUNT]"),
        ("tick a five", "'five' is no number"),
        ("nodes d", "nodes is written once"),
        ("propose b,c x", "is not one node"),
        ("deliver a-b", "'a-b' is no path"),
        ("deliver a->b snail", "there are no messages 'snail'"),
        ("deliver a->b vote", "0 such messages are on their way"),
        ("deliver a->b append one", "'one' is no number"),
        ("forge x->a chunk", "no messages 'chunk' are forged, but: pre-vote, "),
        ("forge x->a accepted size=3", "there is no field 'size'; there are: term, index"),
        ("forge x->a append runs=3", "there is no field 'runs'"),
        ("forge x->d accepted", "there is no node 'd'"),
        ("release a->b", "no such messages are held"),
        ("resend b->c 2..2", "b leads nobody"),
        ("resend a->c 2..9", "a has no entries 2..9"),
        ("cut a-b", "'a-b' is no link"),
        ("sync a", "no write of a waits"),
        ("apply a 9", "a was given nothing beyond 2"),
        ("crash a twice", "'twice' is not understood"),
        ("crash a kept=1", "0 writes of a wait, not 1"),
        ("restart a", "a runs already"),
        ("snapshot b", "b has applied nothing since its last snapshot"),
        ("show weather", "'weather' can't be shown"),
        ("expect a mood good", "there is no fact 'mood'"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line(command: str, complaint: str) -> None:
    failure = failure_of(f"{ELECTED}{command}\n")

    assert complaint in failure.what
    assert str(failure).startswith("story.txt:4: ")
    assert len(str(failure).splitlines()) == 1


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("campaign a\n", "there is no group yet"),
        ("nodes a b a\n", "a is named twice"),
        ("nodes a b colour=3\n", "there is no setting 'colour'"),
        ("nodes a b replication_factor=3\n", "replication_factor 3"),
        ("nodes a:2 b\n", "terms of a log begin with 1"),
        ("nodes a:1.2.1 b\n", "never decrease"),
        ("nodes a:1.1.2 b:1.2\n", "one leader makes all entries of a term"),
    ],
)
def test_a_group_that_can_not_be_is_refused(text: str, complaint: str) -> None:
    failure = failure_of(text)

    assert complaint in failure.what
    assert failure.line == 1


def test_who_is_down_can_not_be_told_anything() -> None:
    assert "b is down" in failure_of(f"{ELECTED}crash b\ntick b\n").what


def test_a_command_is_proposed_once() -> None:
    assert "x was proposed before" in failure_of(f"{ELECTED}propose a x\npropose a x\n").what


def test_who_can_not_win_is_not_elected() -> None:
    assert "a was not elected" in failure_of("nodes a b:1.1 c:1.1\nelect a b c\n").what


def test_a_denied_expectation_fails_with_its_line_and_what_led_to_it() -> None:
    failure = failure_of("nodes a b\n\ncampaign a\nexpect a role leader\n")

    assert failure.line == 4
    assert "a role leader, but it is pre-candidate" in failure.what
    assert "a sends b: pre-vote T2, last 1/T1" in failure.trace


def test_a_broken_law_fails_with_its_line() -> None:
    perform = WorldDisk._perform

    def forgetful(disk: WorldDisk, write: Write) -> None:
        perform(disk, attrs.evolve(write, hard_state=None))

    with patch.object(WorldDisk, "_perform", forgetful):
        failure = failure_of("nodes a b c\n\nquietly tick * 25\ncampaign a\nstabilise\n")

    assert failure.line == 5
    assert "S3 VoteBeforeSend" in failure.what
    assert "a becomes candidate, T2" in "\n".join(failure.trace)


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")

    assert [it.usage for it in COMMANDS.values() if f"`{it.usage}`" not in page] == []


def test_the_stories_of_the_page_are_true() -> None:
    page = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    stories = re.findall(r"```text\n(.*?)```", page, re.DOTALL)

    assert len(stories) == 2
    assert [run(story) for story in stories] == stories


# ── rewriting ────────────────────────────────────────────────────────────────────────────────────────


def play(folder: Path, *options: str) -> str:
    """Run the tests of scenarios in `folder`; what pytest says."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(folder),
        *options,
    ]
    return subprocess.run(
        command, cwd=folder.parents[1], capture_output=True, text=True, check=False
    ).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of scenarios of its own."""
    folder = tmp_path / "tests" / "scenarios"
    folder.mkdir(parents=True)
    shutil.copy(HERE / "test_scenarios.py", folder)
    shutil.copy(ROOT / "tests" / "conftest.py", folder.parent)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return folder


@pytest.mark.slow
def test_rewrite_writes_what_happens(folder: Path) -> None:
    story = folder / "story.txt"
    story.write_text("# One\n# two\n# Must happen: three\nnodes a\ncampaign a\n----\nnothing\n")

    told = play(folder)
    assert "-nothing" in told
    assert "+a becomes leader, T2" in told
    assert "If this is meant: pytest tests/scenarios --rewrite" in told
    assert "nothing" in story.read_text()

    assert "4 passed" in play(folder, "--rewrite")
    assert story.read_text() == run(story.read_text())


@pytest.mark.slow
def test_rewrite_never_writes_what_must_not_happen(folder: Path) -> None:
    story = folder / "story.txt"
    text = "# One\n# two\n# Must happen: three\nnodes a\ncampaign a\nexpect a role follower\n----\nnothing\n"
    story.write_text(text)

    assert "tests/scenarios/story.txt:6: InvariantViolated: expected" in play(folder, "--rewrite")
    assert story.read_text() == text
