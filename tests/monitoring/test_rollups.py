"""Roll-ups say what the samples say: once, to 1%, from any disk, and of earlier versions too."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from killed import interruptions
from modelyard.core.layout import Project
from modelyard.monitoring import fold as folding
from modelyard.monitoring import rollups
from modelyard.monitoring.chosen_answers import Chosen
from modelyard.monitoring.fold import fold
from modelyard.monitoring.forgetting import forget_samples
from modelyard.monitoring.histogram import Histogram, bucket_of, bucket_value, pack_counts
from modelyard.monitoring.periods import Figures, GroupBy, Period, read_period
from modelyard.monitoring.rollups import HOUR_MS
from modelyard.monitoring.samples import open_traffic
from modelyard.monitoring.traffic_db import TRAFFIC
from modelyard.records import spool
from modelyard.records.sample import FIELDS, Sample
from modelyard.records.spool import Recorder
from small_disk import mounted_disk, remount
from traffic_samples import numbered

ALL = Chosen(condition="true", values=(), model=None)
NOW = numbered(0).answered_at_ms
DAY = Period(start_ms=NOW - 24 * HOUR_MS + 1234, end_ms=NOW + 1)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def of_a_day(count: int = 60) -> list[Sample]:
    """Samples over a day and a bit more, of several kinds."""
    chance = random.Random(1)
    return [
        numbered(
            number,
            answered_at_ms=NOW - chance.randrange(26 * HOUR_MS),
            organisation=chance.choice(["acme", "other", None]),
            latency_s=chance.lognormvariate(0, 1),
            cost_usd=chance.choice([None, 0.25, 0.5]),
            prompt_tokens=chance.choice([None, 100]),
            output_tokens=10,
            outcome=chance.choice(["answered", "failed"]),
            kind=chance.choice(["answer", "answer", "call"]),
        )
        for number in range(count)
    ]


def record_all(place: Project, samples: list[Sample]) -> None:
    recorder = Recorder(place)
    for sample in samples:
        recorder.record(sample)
    recorder.close()
    assert recorder.problem is None


def figures(place: Project, by: GroupBy | None = None, period: Period = DAY) -> Figures:
    with open_traffic(place) as traffic:
        return read_period(traffic, ALL, period, by)


def counted(found: Figures) -> dict[str | None, tuple[float, ...]]:
    """Requests, known costs and their sum, known tokens and their sum, and latencies, by group."""
    shown = {}
    for group, (total,) in found.items():
        sums, times = total.sums(), total.histogram(total.outcomes)
        tokens = (sums.token_counts, sums.prompt_tokens, sums.output_tokens)
        shown[group] = (sums.requests, sums.costs, sums.cost_usd, *tokens, times.n)
    return shown


def expected(samples: list[Sample]) -> tuple[float, ...]:
    answers = [
        sample
        for sample in samples
        if sample.kind == "answer" and DAY.start_ms <= sample.answered_at_ms < DAY.end_ms
    ]
    costs = [sample.cost_usd for sample in answers if sample.cost_usd is not None]
    known = [sample for sample in answers if sample.prompt_tokens is not None]
    tokens = (len(known), 100 * len(known), 10 * len(known))
    return (len(answers), len(costs), sum(costs), *tokens, len(answers))


def test_a_day_is_what_its_samples_are_calls_and_the_hour_before_it_left_out(
    place: Project,
) -> None:
    samples = of_a_day()
    record_all(place, samples)
    assert counted(figures(place)) == {None: expected(samples)}
    assert counted(figures(place, "org")) == {
        name: expected([sample for sample in samples if sample.organisation == name])
        for name in ("acme", "other", None)
    }


def test_many_small_folds_make_the_same_rows_as_one(place: Project, tmp_path: Path) -> None:
    samples = of_a_day()
    for start in range(0, len(samples), 7):
        record_all(place, samples[start : start + 7])
        fold(place)
    other = Project(tmp_path / "other")
    record_all(other, samples)
    fold(other)
    rows = []
    for each in (place, other):
        with TRAFFIC.open(each) as traffic:
            found = traffic.execute("SELECT * FROM rollups ORDER BY 1, 2, 3, 4, 5, 6, 7, 8")
            rows.append([tuple(row) for row in found])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_fold_cut_off_at_any_call_rolls_up_every_sample_once(
    place: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Literal["kill", "fail"]
) -> None:
    monkeypatch.setattr(spool, "_FULL_BYTES", 1200)
    monkeypatch.setattr(folding, "_BATCH", 3)
    monkeypatch.setattr(rollups, "_AT_ONCE", 2)
    samples = of_a_day(12)
    fold_as_before(place, samples[:5])
    record_all(place, samples[5:])
    start = tmp_path / "start"
    shutil.copytree(place.local_state, start)
    for call in interruptions(lambda: fold(place), how):
        assert counted(figures(place)) == {None: expected(samples)}, call
        shutil.rmtree(place.local_state)
        shutil.copytree(start, place.local_state)
    assert call > 30


def test_what_an_earlier_version_folded_is_rolled_up_once(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "_AT_ONCE", 7)
    samples = of_a_day()
    fold_as_before(place, samples[:40])
    record_all(place, samples[40:])
    for _ in range(2):
        assert counted(figures(place)) == {None: expected(samples)}


def fold_as_before(place: Project, samples: list[Sample]) -> None:
    """As the version did that had no roll-ups."""
    with replace(TRAFFIC, migrations=TRAFFIC.migrations[:3]).open(place) as traffic:
        columns = [name for name in FIELDS if name != "variant"]
        places = ", ".join("?" * len(columns))
        for sample in samples:
            values = tuple(getattr(sample, name) for name in columns)
            insert = f"INSERT INTO samples ({', '.join(columns)}) VALUES ({places})"
            traffic.execute(insert, values)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_read_only_disk_says_the_same(tmp_path: Path, earlier: bool) -> None:
    samples = of_a_day()
    with mounted_disk(tmp_path / "disk", "4m") as disk:
        place = Project(disk / "project")
        if earlier:
            fold_as_before(place, samples[:40])
        else:
            record_all(place, samples[:40])
            fold(place)
        record_all(place, samples[40:])
        remount(disk, "ro")
        assert counted(figures(place)) == {None: expected(samples)}


def test_an_organisation_that_is_forgotten_is_in_no_roll_up(place: Project) -> None:
    samples = of_a_day()
    record_all(place, samples)
    forget_samples(place, "acme")
    others = [sample for sample in samples if sample.organisation != "acme"]
    assert counted(figures(place)) == {None: expected(others)}


SHAPES: dict[str, Callable[[random.Random], float]] = {
    "even": lambda chance: chance.uniform(0.001, 10),
    "normal": lambda chance: abs(chance.gauss(5, 1)) + 1e-6,
    "narrow": lambda chance: chance.gauss(5, 0.001),
    "half of a normal": lambda chance: abs(chance.gauss(0, 1)) + 1e-6,
    "log-normal": lambda chance: chance.lognormvariate(0, 0.5),
    "long tail": lambda chance: chance.lognormvariate(0, 3),
    "very long tail": lambda chance: chance.paretovariate(0.5),
    "short tail": lambda chance: chance.paretovariate(5),
    "exponential": lambda chance: chance.expovariate(1) + 1e-6,
    "gamma": lambda chance: chance.gammavariate(0.5, 2) + 1e-6,
    "Weibull": lambda chance: chance.weibullvariate(1, 0.7) + 1e-6,
    "triangular": lambda chance: chance.triangular(0.1, 9, 8),
    "arcsine": lambda chance: chance.betavariate(0.5, 0.5) + 1e-6,
    "tiny": lambda chance: chance.uniform(1e-6, 1e-4),
    "two humps": lambda chance: chance.gauss(1, 0.01) if chance.random() < 0.5 else 60.0,
    "three values": lambda chance: chance.choice([0.2, 0.3, 30.0]),
    "one value": lambda chance: 5.0,
    "whole seconds": lambda chance: float(chance.randrange(1, 31)),
    "few outliers": lambda chance: 1e4 if chance.random() < 0.02 else chance.gauss(1, 0.05),
    "hours": lambda chance: chance.uniform(3600, 360_000),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_quantile_is_within_one_percent_whatever_the_distribution(shape: str) -> None:
    chance = random.Random(2)
    times = sorted(SHAPES[shape](chance) for _ in range(3000))
    halves = (times[::2], times[1::2])
    histogram = Histogram(pack_counts(Counter(map(bucket_of, half))) for half in halves)
    assert histogram.n == 3000
    for rank in (1, 30, 1500, 2700, 2850, 2970, 3000):
        value = bucket_value(histogram.bucket_at(rank))
        assert math.isclose(value, times[rank - 1], rel_tol=0.01), rank


def test_there_are_as_many_shapes_as_the_docs_say() -> None:
    assert len(SHAPES) == 20


def test_pieces_of_a_period_are_of_equal_length_and_take_what_lies_beyond() -> None:
    period = Period(start_ms=0, end_ms=100, pieces=4)
    assert [period.piece_at(at) for at in (-5, 0, 24, 25, 99, 100, 250)] == [0, 0, 0, 1, 3, 3, 3]


def test_what_an_earlier_version_rolled_up_is_of_no_variant(place: Project) -> None:
    """As the version did that knew no A/B tests; later answers have a variant beside it."""
    with replace(TRAFFIC, migrations=TRAFFIC.migrations[:6]).open(place) as traffic:
        columns = [name for name in FIELDS if name != "variant"]
        for number in range(3):
            values = [getattr(numbered(number), name) for name in columns]
            marks = ", ".join("?" * len(columns))
            traffic.execute(f"INSERT INTO samples ({', '.join(columns)}) VALUES ({marks})", values)
        traffic.execute("UPDATE rollup_backlog SET last_rowid = 3")
    recorder = Recorder(place)
    for number in (3, 4):
        recorder.record(numbered(number, variant=f"trial/{'ab'[number % 2]}"))
    recorder.close()
    with open_traffic(place) as traffic:
        figures = read_period(traffic, ALL, DAY, "variant")
    counts = {name: sum(piece.requests() for piece in pieces) for name, pieces in figures.items()}
    assert counts == {None: 3, "trial/a": 1, "trial/b": 1}
