"""Threads stop spinning when others want the cores, and begin again when they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from modelyard.inference import waiting
from modelyard.inference.waiting import (
    OWN_SETTINGS,
    WaitPolicy,
    fitting_threads,
    read_waits,
    waited_between,
)

two_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2 or not read_waits(),
    reason="needs two CPUs, and a kernel that counts how long threads wait for one",
)


def follow(policy: WaitPolicy, waits: Sequence[float], *, start_s: float = 0.0) -> str:
    """What the policy says to readings half a second apart: `s` for spinning, `.` for sleeping."""
    return "".join(
        "s" if policy.read(waited, now_s=start_s + index / 2) else "."
        for index, waited in enumerate(waits)
    )


def test_alone_it_spins_and_small_work_of_others_changes_nothing() -> None:
    assert follow(WaitPolicy(), [0.0, 0.3, 0.9, 0.1] * 50) == "s" * 200


def test_it_stops_at_the_first_reading_of_a_load_and_spins_again_when_the_load_ends() -> None:
    policy = WaitPolicy()
    assert follow(policy, [0.1] * 20 + [1.3] + [0.8] * 100) == "s" * 20 + "." * 101
    assert follow(policy, [0.2] * 4, start_s=60.5) == "ssss"


def test_it_sleeps_for_two_seconds_at_least() -> None:
    assert follow(WaitPolicy(), [1.3] + [0.0] * 6, start_s=100) == "....sss"


def beside_one_busy_process(policy: WaitPolicy, readings: int) -> str:
    """Threads that sleep wait little, threads that spin wait much."""
    return "".join(
        follow(policy, [0.98 if policy.spinning else 0.5], start_s=100 + index / 2)
        for index in range(readings)
    )


def test_trials_that_fail_become_rare() -> None:
    said = beside_one_busy_process(WaitPolicy(), 480)
    assert said.count("s") <= 16
    assert 1 <= said[240:].count("s") <= 6  # in the last two minutes one in twenty seconds


def test_a_load_after_a_long_quiet_time_is_no_failed_trial() -> None:
    policy = WaitPolicy()
    beside_one_busy_process(policy, 480)
    assert follow(policy, [0.1] * 100, start_s=1000).endswith("s")
    assert follow(policy, [1.3] + [0.1] * 5, start_s=2000) == "....ss"


def test_fewer_threads_are_contended_by_less() -> None:
    policy = WaitPolicy()
    follow(policy, [1.3])
    said = [policy.read(0.33, now_s=index / 2, fewer=True) for index in range(1, 200)]
    assert not any(said)
    assert policy.read(0.05, now_s=200.0, fewer=True)


def test_a_step_is_computed_by_the_threads_that_have_a_core_and_the_rest_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    found = []
    try:
        for fitting in (None, 1, 3):
            monkeypatch.setattr(waiting, "_fitting", fitting)
            with fitting_threads():
                found.append(torch.get_num_threads())
            found.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(threads)
    assert found == [2, 2, 1, 2, 2, 2]


def test_a_thread_that_began_between_two_readings_counts_from_its_start() -> None:
    assert waited_between({1: 5.0, 2: 7.0}, {1: 5.5, 3: 0.25}) == pytest.approx(0.75)


@two_cpus
def test_a_sleeping_team_ends_the_spinning_until_it_is_dismissed() -> None:
    """The CPU time of a thread that waits for its next piece, with the team and without it."""
    spun = run_python(
        """
        import json, os, threading, time
        import torch
        from modelyard.inference.waiting import SleepingTeam

        def cpu_s_of_waiting():
            begun = time.process_time()
            for _ in range(100):
                numbers.add_(1)
                time.sleep(0.004)
            return time.process_time() - begun

        torch.set_num_threads(2)
        numbers = torch.zeros(1 << 17)
        cpu_s_of_waiting()
        found = [cpu_s_of_waiting()]
        team = SleepingTeam(2, len(os.sched_getaffinity(0)))
        found.append(cpu_s_of_waiting())
        team.dismiss()
        found.append(cpu_s_of_waiting())
        print(json.dumps([*found, torch.get_num_threads(), threading.active_count()]))
        """
    )
    spinning_s, sleeping_s, again_s, threads, alive = spun
    assert sleeping_s < spinning_s / 2 and sleeping_s < again_s / 2
    assert (threads, alive) == (2, 1)


@two_cpus
def test_it_watches_once_and_leaves_a_setting_of_the_user_alone() -> None:
    assert run_python(
        """
        import json, os, threading
        import torch
        from modelyard.inference.waiting import share_cores

        def watchers():
            share_cores()
            return [thread.name for thread in threading.enumerate()].count("share-cores")

        torch.set_num_threads(1)
        found = [watchers()]
        torch.set_num_threads(2)
        for name, value in (("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "20000")):
            os.environ[name] = value
            found.append(watchers())
            del os.environ[name]
        print(json.dumps([*found, watchers(), watchers()]))
        """
    ) == [0, 0, 0, 1, 1]


def run_python(program: str) -> Any:
    """What a fresh process prints, as JSON."""
    kept = {key: value for key, value in os.environ.items() if key not in OWN_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**kept, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
