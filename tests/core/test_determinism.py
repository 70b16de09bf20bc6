"""The same inputs give the same effects, byte for byte, in this process and in any other (S32)."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.recording import record


def digest_of(seed: int) -> str:
    """Of all effects of a recorded run, as they print."""
    return hashlib.sha256(
        "\n".join(map(repr, record(seed, ticks=120).effects)).encode()
    ).hexdigest()


def test_same_inputs_give_the_same_effects_twice() -> None:
    """A core has no chance of its own."""
    assert digest_of(1) == digest_of(1)


def test_other_seeds_give_other_runs() -> None:
    """Or the test above would say nothing."""
    assert digest_of(1) != digest_of(2)


@pytest.mark.slow
def test_same_inputs_give_the_same_effects_in_other_processes() -> None:
    """Nothing depends on hash seeds, and so on the order of sets of strings."""
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from tests.core.test_determinism import *; print(digest_of(1))",
            ],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(root)},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in (0, 1, 4242)
    }

    assert found == {digest_of(1)}


def test_recorded_inputs_replayed_give_the_same_effects() -> None:
    """A recorded run of one node is a list of inputs: replaying it is the same run."""
    recording = record(3, ticks=120)

    for name, batches in recording.inputs.items():
        replayed = recording.fresh(name, random.Random(name))
        effects = [replayed.step(batch) for batch in batches]
        assert effects == recording.effects_of[name]
