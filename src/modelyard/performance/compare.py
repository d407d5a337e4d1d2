"""Two things asked the same cases in turn, until they are told apart or the cases are used up.

Both sides of a pair are asked one right after the other, each first in every second pair, so that
what changes with time (a busy machine, a provider at noon) is the same for both. The cases come in
an order drawn from the seed, so that those asked before an early end are not those of one check.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from modelyard import __version__
from modelyard.answering.answer import Answerer
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.processor import cpu_name
from modelyard.core.wording import counted
from modelyard.evaluation.sequential import Sequential
from modelyard.performance.asking import ask_case, build_result
from modelyard.performance.cases import Suite
from modelyard.performance.comparison import PairedResults
from modelyard.performance.paired_results import pair_results
from modelyard.performance.plan import Job, build_plan
from modelyard.performance.results import ERRORS, GIVEN, CaseResult
from modelyard.performance.scorers.scored import wrong
from modelyard.performance.scoring import Scorers
from modelyard.performance.targets import Target, find_target
from modelyard.performance.workers import Workers
from modelyard.records.modelref import ModelRef
from modelyard.results.json_form import published

OnPair = Callable[[int, int], None]
"""Is told after each pair how many there are, and how many there will be at most."""

_ENVIRONMENT = "env:"
_PROFILE = "profile:"
_GRACE_S, _LONGEST_LOAD_S = 60.0, 900.0
"""How much longer than its time a request may take, also when a model has to be loaded."""
_HOPELESS = 5
"""So many failures of one side, and no answer of it, end the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSide:
    """One of the two."""

    name: str
    """What it is, as `models performance-test` would call it."""
    environment: str
    """The environment whose settings it has."""
    config_revision: int | None
    """The revision that was live there; null: drafts."""
    models: tuple[str, ...]
    """The language models that answered, the most frequent first."""
    right: int
    """Cases that it has right."""
    errors: int
    """Requests that no language model answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two things that were asked the same cases."""

    suite: str
    """The suite."""
    suite_digest: str
    """12 hex digits of the SHA-256 of the suite and of its cases."""
    a: ComparedSide
    """The first."""
    b: ComparedSide
    """The second."""
    most_pairs: int
    """How many pairs there would have been at most."""
    until_significant: bool
    """Whether it was to end as soon as it was decided."""
    complete: bool
    """Whether it came to its end; not so when it was interrupted."""
    paired: PairedResults = field(metadata=published(inline=True))
    """What the cases say."""
    started_at: str
    """When it began, UTC."""
    finished_at: str
    """When it ended, UTC."""
    wall_s: float
    """Seconds that it took."""
    seed: int
    """The seed of the order, the rows drawn and the answers."""
    machine: str
    """Where it ran: processor and cores."""
    version: str
    """The version of modelyard."""
    notes: tuple[str, ...]
    """What a person should know."""


class NoAnswers(ModelyardError):
    """One side answered nothing, so that there is nothing to compare (exit code 1)."""


def find_side(
    project: Project, word: str, environment: str, *, domains: Sequence[str] = ()
) -> Target:
    """What one side of a comparison is.

    word: `env:NAME`, which is asked as it answers there; `profile:NAME`; the file or the name of a
        profile, a language model or a domain; or a model, as `ModelRef.parse` reads it.
    domains: asked instead of requests without a domain.
    Raises InvalidInput when there is no such thing.
    """
    if word.startswith(_ENVIRONMENT):
        return find_target(project, word.removeprefix(_ENVIRONMENT), domains=domains)
    if word.startswith(_PROFILE):
        config = word.removeprefix(_PROFILE)
        return find_target(project, environment, config=config, domains=domains)
    if not word.startswith(tuple(f"{kind}:" for kind in ("base", "adapter", "model", "domain"))):
        try:
            return find_target(project, environment, config=word, domains=domains)
        except InvalidInput:
            if "/" in word or word.endswith((".yaml", ".yml")):
                raise
    ModelRef.parse(word)
    return find_target(project, environment, model=word, domains=domains)


def compare(
    project: Project,
    answerer: Answerer,
    suite: Suite,
    a: Target,
    b: Target,
    *,
    environment: str,
    until_significant: bool = False,
    max_cases: int | None = None,
    seed: int | None = None,
    on_pair: OnPair = lambda _, __: None,
) -> Compared:
    """Ask two targets the cases of a suite in turn, and compare what they answer.

    until_significant: ends as soon as a sequential test tells them apart; else all cases are asked,
        and McNemar's exact test decides.
    max_cases: the most cases that are asked; None: all of the suite.
    Raises NoData for a suite without cases, InvalidInput when the two are not asked the same ones,
    NoAnswers when one side answers nothing. KeyboardInterrupt ends it early: what was measured is
    returned, and `complete` is false; before the first pair it is raised.
    """
    seed = suite.settings.seed if seed is None else seed
    pairs = _pairs(project, suite, a, b, seed)[:max_cases]
    scorers = Scorers(project, answerer, environment, [job.case for job, _ in pairs])
    asking = _Asking(answerer, scorers, seed)
    test = Sequential(most_pairs=len(pairs))
    started_at, complete = utc_now(), True
    try:
        for number, (of_a, of_b) in enumerate(pairs, 1):
            right_a, right_b = asking.ask(of_a, of_b, a_first=number % 2 == 1)
            if right_a is not None and right_b is not None:
                test.add(right_a, right_b)
            on_pair(number, len(pairs))
            _require_answers(asking, a, b, least=_HOPELESS)
            if until_significant and test.better is not None:
                break
    except KeyboardInterrupt:
        if not asking.of_b or not asking.of_a:
            raise
        complete = False
    else:
        _require_answers(asking, a, b, least=1)
    paired = pair_results(
        asking.of_a, asking.of_b, seed=seed, test=test if until_significant else None
    )
    return Compared(
        suite=suite.name,
        suite_digest=suite.digest,
        a=_side(a, asking.of_a),
        b=_side(b, asking.of_b),
        most_pairs=len(pairs),
        until_significant=until_significant,
        complete=complete,
        paired=paired,
        started_at=started_at,
        finished_at=utc_now(),
        wall_s=time.perf_counter() - asking.began_s,
        seed=seed,
        machine=f"{cpu_name()}, {counted(len(os.sched_getaffinity(0)), 'core')}",
        version=__version__,
        notes=tuple(_notes(paired, asking)),
    )


def _pairs(
    project: Project, suite: Suite, a: Target, b: Target, seed: int
) -> list[tuple[Job, Job]]:
    """The cases as each side is asked them, in an order drawn from the seed."""
    of_a, of_b = (
        [
            job
            for job in build_plan(project, suite, target, repeats=1, seed=seed).jobs
            if job.part == "cases"
        ]
        for target in (a, b)
    )
    if [job.case.id for job in of_a] != [job.case.id for job in of_b]:
        raise InvalidInput(
            f"{a.name} is asked {len(of_a):,} cases and {b.name} {len(of_b):,}, not all the same",
            hint="name one domain for each side, or the same domains for both with --domain",
        )
    pairs = list(zip(of_a, of_b, strict=True))
    random.Random(f"{seed}/compare").shuffle(pairs)
    return pairs


class _Asking:
    """Asks pairs, and keeps what comes."""

    def __init__(self, answerer: Answerer, scorers: Scorers, seed: int) -> None:
        self.of_a: list[CaseResult] = []
        self.of_b: list[CaseResult] = []
        self.began_s = time.perf_counter()
        self._answerer, self._scorers, self._seed = answerer, scorers, seed
        self._workers = Workers(self._ask, longest_s=self._longest_s, give_up=self._give_up)

    def ask(self, of_a: Job, of_b: Job, *, a_first: bool) -> tuple[bool | None, bool | None]:
        """Whether each side is right; both are kept, or none when it is interrupted."""
        jobs = (of_a, of_b) if a_first else (of_b, of_a)
        results = [result for job in jobs for result in self._workers.results([job], at_once=1)]
        first, second = results if a_first else results[::-1]
        self.of_a.append(first)
        self.of_b.append(second)
        return first.right, second.right

    def _ask(self, job: Job) -> CaseResult:
        return ask_case(
            self._answerer,
            self._scorers,
            job.effective,
            job.case,
            timeout_s=job.timeout_s,
            began_s=self.began_s,
            seed=self._seed,
        )

    def _longest_s(self, job: Job) -> float:
        # Each side may have a model of its own to load.
        return job.timeout_s + (_GRACE_S if len(self.of_a) > 1 else _LONGEST_LOAD_S)

    def _give_up(self, job: Job, started_s: float) -> CaseResult:
        why = f"it was given up after {time.perf_counter() - started_s:.0f} s"
        return build_result(
            job.case,
            wrong(why),
            outcome="timeout",
            repeat=0,
            started_s=started_s - self.began_s,
            ended_s=time.perf_counter() - self.began_s,
        )


def _require_answers(asking: _Asking, a: Target, b: Target, *, least: int) -> None:
    """Raise NoAnswers when so many requests of a side ended without an answer, and none with one.

    What ended since nothing was found is neither: no model was to answer it.
    """
    sides = ((f"A ({a.name})", asking.of_a), (f"B ({b.name})", asking.of_b))
    for side, results in sides:
        failed = [result for result in results if result.outcome in (*ERRORS, "over_limit")]
        if len(failed) >= least and not any(result.outcome in GIVEN for result in results):
            raise NoAnswers(
                f"{side} answered none of the first {len(results)}: {failed[-1].why}",
                hint="`models providers check` says what is wrong with a model",
            )


def _side(target: Target, results: Sequence[CaseResult]) -> ComparedSide:
    models = Counter(result.model for result in results if result.model and result.outcome in GIVEN)
    return ComparedSide(
        name=target.name,
        environment=target.environment,
        config_revision=target.revision,
        models=tuple(name for name, _ in models.most_common()),
        right=sum(result.right is True for result in results),
        errors=sum(result.outcome in ERRORS for result in results),
    )


def _notes(paired: PairedResults, asking: _Asking) -> list[str]:
    unknown = len(asking.of_a) - paired.pairs
    if not unknown:
        return []
    return [
        f"of {counted(unknown, 'case')} it is not known whether both sides are right; they count "
        "for nothing"
    ]
