"""What processes share: a budget, a minute's limit, a breaker, and a ledger that outlives them."""

from __future__ import annotations

import math
import random
import time
from itertools import pairwise

import openai  # noqa: F401 (before the forks: each child would import it again)

from benchmarks.answers.asking import (
    COST_SHARE,
    REQUEST,
    ask_together,
    asked_project,
    kill_after,
    start,
)
from benchmarks.engine.table import Bar, Row
from modelyard.answering.answer import Answerer
from modelyard.answering.money.budget_report import BudgetShown, report_budgets
from modelyard.answering.request import AnswerFailed, OverLimit
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective

PROCESSES = 8
FAILURES, COOL_DOWN_S = 3, 1.0
"""Those that open the breaker of the project that is asked, and for how long."""
BUDGET = Bar(
    what="8 processes × 64 threads, calls worth $3 in all against $1: what is spent",
    prototype="",
    least=0.95,
    most=1,
)
RATE = Bar(
    what="600 requests a minute, 8 processes: the most in any 60 s, and how much is used",
    prototype="",
    least=0.9,
    most=1,
)
PROBES = Bar(
    what="100 cool-downs of an open breaker, 8 processes: requests in each",
    prototype="",
    least=1,
    most=1,
)
KILLS = Bar(
    what="200 SIGKILLs in the middle of calls: the ledger ÷ the provider's bill, at the lowest",
    prototype="",
    least=1,
)


def today(project: Project, effective: Effective) -> BudgetShown:
    """What the ledger says of today."""
    report = report_budgets(
        project,
        effective.environment,
        effective.budgets,
        organisation=None,
        now_s=time.time(),
    )
    return report.budgets[0]


def ask(answerer: Answerer, effective: Effective) -> bool:
    """Ask once; whether there was an answer."""
    try:
        answerer.answer(effective, REQUEST)
    except (AnswerFailed, OverLimit):
        return False
    return True


def measure_budget(*, threads: int = 64, calls: int = 4) -> Row:
    """Calls worth three times the budget, from all threads at once, each answered or refused."""
    cost_usd = 3 / (PROCESSES * threads * calls)
    with asked_project(worst_usd=cost_usd / COST_SHARE, budget="$1") as (
        project,
        effective,
        provider,
    ):

        def ask_all(answerer: Answerer) -> None:
            for _ in range(calls):
                ask(answerer, effective)

        took_s = ask_together(project, ask_all, processes=PROCESSES, threads=threads)
        found, bill_usd = today(project, effective), len(provider.arrivals()) * cost_usd
    assert found.reserved_usd == 0, "a call was not settled"
    figures = f"${bill_usd:.4f} billed, ${found.spent_usd:.4f} in the ledger, {took_s:.0f} s"
    return BUDGET.measured(max(found.spent_usd, bill_usd), figures)


def measure_rate(*, seconds: float = 185, allowed: int = 600, threads: int = 4) -> Row:
    """As many requests as there may be, for three minutes."""
    with asked_project(worst_usd=1e-6, requests_per_minute=allowed) as (
        project,
        effective,
        provider,
    ):
        ends_s = time.time() + seconds

        def ask_on(answerer: Answerer) -> None:
            while time.time() < ends_s:
                ask(answerer, effective)

        ask_together(project, ask_on, processes=PROCESSES, threads=threads)
        arrivals = provider.arrivals()
    most, first = 0, 0
    for last, at_s in enumerate(arrivals):
        while arrivals[first] <= at_s - 60:
            first += 1
        most = max(most, last - first + 1)
    counted = sum(at_s < arrivals[0] + 180 for at_s in arrivals)
    share = counted / (3 * allowed)
    figures = (
        f"at most {most} in any 60 s; {counted:,} in three minutes, {share:.0%} of {3 * allowed:,}"
    )
    return RATE.measured(most / allowed if most > allowed else share, figures)


def measure_probes(*, rounds: int = 100) -> Row:
    """A model that fails in three processes, and is then asked all the time by eight."""
    with asked_project(worst_usd=1e-6, status=503) as (project, effective, provider):

        def ask_once(answerer: Answerer) -> None:
            ask(answerer, effective)

        def ask_on(answerer: Answerer) -> None:
            chance = random.Random()
            while len(provider.arrivals()) < FAILURES + rounds:
                ask(answerer, effective)
                time.sleep(chance.uniform(0.01, 0.05))

        for _ in range(FAILURES):
            ask_together(project, ask_once, processes=1, threads=1)
        ask_together(project, ask_on, processes=PROCESSES, threads=1)
        probes = provider.arrivals()[FAILURES - 1 :]
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    most = 1 + sum(gap < COOL_DOWN_S for gap in gaps)
    figures = (
        f"{len(gaps)} probes in {probes[-1] - probes[0]:.0f} s, at least {min(gaps):.3f} s and "
        f"at most {max(gaps):.3f} s after the one before"
    )
    return PROBES.measured(most, figures)


def measure_kills(*, kills: int = 200) -> Row:
    """A process that asks is killed, again and again; the ledger is compared after each."""
    worst_usd, chance, lowest = 1e-3, random.Random(1), math.inf
    bill_usd = 0.0
    with asked_project(worst_usd=worst_usd, delay_s=0.02) as (project, effective, provider):

        def ask_on() -> None:
            with Answerer(project) as answerer:
                while True:
                    ask(answerer, effective)

        for _ in range(kills):
            kill_after(start(ask_on), chance.uniform(0.4, 1.0))
            bill_usd = len(provider.arrivals()) * worst_usd * COST_SHARE
            found = today(project, effective)
            if bill_usd:
                lowest = min(lowest, (found.spent_usd + found.reserved_usd) / bill_usd)
        requests = len(provider.arrivals())
    figures = (
        f"{requests:,} requests, ${bill_usd:.4f} billed; in the end ${found.spent_usd:.4f} spent "
        f"and ${found.reserved_usd:.4f} reserved by the dead"
    )
    return KILLS.measured(lowest, figures)
