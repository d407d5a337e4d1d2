"""Work in several processes: the same results, whatever becomes of one of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from modelyard.core.shares import in_shares

HERE = os.getpid()


def doubled(share: Sequence[int]) -> list[int]:
    return [2 * item for item in share]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_item_is_in_one_share(processes: int) -> None:
    shares = in_shares(doubled, range(7), processes=processes)
    assert len(shares) == processes
    assert sorted(item for share in shares for item in share) == [0, 2, 4, 6, 8, 10, 12]


def test_the_share_of_a_process_that_is_killed_is_done_here() -> None:
    def killed_elsewhere(share: Sequence[int]) -> list[int]:
        if os.getpid() != HERE and 1 in share:
            os.kill(os.getpid(), signal.SIGKILL)
        return doubled(share)

    assert in_shares(killed_elsewhere, range(4), processes=2) == [[0, 4], [2, 6]]


def test_an_error_is_raised_here_and_no_process_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(share: Sequence[int]) -> list[int]:
        return [1 // item for item in share]

    with pytest.raises(ZeroDivisionError):
        in_shares(broken, range(4), processes=2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert capfd.readouterr().err == ""


def test_results_larger_than_a_pipe_holds_come_through() -> None:
    shares = in_shares(lambda share: "x" * (len(share) * 100_000), range(10), processes=2)
    assert [len(share) for share in shares] == [500_000, 500_000]
