"""Commands that compute let their threads spin only while nobody else wants the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from training_runs import arguments

from modelyard.core.layout import Project
from modelyard.inference.waiting import OWN_SETTINGS, read_waits

PROGRAM = """
import sys, threading
from modelyard.cli.app import main

try:
    main()
finally:
    names = [thread.name for thread in threading.enumerate()]
    print("watched" if "share-cores" in names else "not watched", file=sys.stderr)
"""


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2 or not read_waits(),
    reason="needs two CPUs, and a kernel that counts how long threads wait for one",
)
@pytest.mark.parametrize(
    "words",
    [
        arguments(settings=("schedule.max_steps=1", "compute.threads=2")),
        ["generate", "--base-model", "tiny", "--max-new-tokens", "2", "What is a rose?"],
    ],
    ids=["fine-tune", "generate"],
)
def test_a_command_that_computes_watches_its_threads(flowers: Project, words: list[str]) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in OWN_SETTINGS}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**kept, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "watched"
