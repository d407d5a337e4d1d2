"""Answers of local models through the whole way, with the project's own configs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from answer_samples import BUILTIN, make_effective, make_request
from answering_base import write_answering
from modelyard.answering.answer import Answerer, answer
from modelyard.answering.asked_model import load_asked
from modelyard.answering.deadline import Deadline
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.monitoring.samples import read_samples
from modelyard.setup.init import init_project
from modelyard.weights.pull import require_base

ANSWER = "abcdefgh"


@pytest.fixture
def talking(project: Project, tiny_base_folder: Path) -> Project:
    write_answering(project, tiny_base_folder, ANSWER, endless=False)
    require_base(project, "talking", progress=Silent())
    return project


@pytest.fixture
def answerer(talking: Project) -> Iterator[Answerer]:
    with Answerer(talking) as opened:
        yield opened


def local(base: str = "talking", **changes: object) -> Effective:
    settings = LanguageModel(
        description="Here",
        provider="local",
        model=base,
        context_tokens=512,
        max_output_tokens=50,
        generation=Generation(temperature=0.0),
    )
    basic = EffectiveModel(name="basic_nlp", settings=BUILTIN)
    model = EffectiveModel(name="here", settings=settings)
    return make_effective(**{"model": model, "fallback": (basic,), **changes})


def test_loading_is_recorded_apart_and_is_no_part_of_the_time(answerer: Answerer) -> None:
    """A cold model is not passed over for the fallback, however long it takes to load."""
    shown: list[str] = []
    real = answerer.local_models.open

    def slow(*given: object) -> object:
        time.sleep(1.6)
        provider, load_s = real(*given)  # type: ignore[arg-type]
        return provider, load_s + 1.6

    answerer.local_models.open = slow  # type: ignore[assignment,method-assign]
    first = answerer.answer(local(timeout_s=1.5), make_request("Hi"), on_text=shown.append)
    assert (first.text, first.degraded, "".join(shown)) == (ANSWER, False, ANSWER)
    assert first.load_s > 1.6


def test_a_deadline_counts_all_but_what_is_left_out() -> None:
    now = 10.0
    deadline = Deadline(5.0, clock=lambda: now)
    now = 13.0
    assert (deadline.passed_s, deadline.left_s) == (3.0, 2.0)
    deadline.leave_out(2.0)
    assert (deadline.passed_s, deadline.left_s, deadline.load_s) == (1.0, 4.0, 2.0)
    now = 30.0
    assert deadline.left_s == 0.0
    assert Deadline(None).left_s == math.inf


def test_a_local_answer_says_which_weights_gave_it_and_costs_the_machine(
    answerer: Answerer, talking: Project
) -> None:
    given = answerer.answer(local(local_cost_per_hour_usd=3600.0), make_request("Hi"))
    assert (given.model, given.ref) == ("here", "base:talking")
    assert given.cost_usd is not None
    assert 0 < given.cost_usd == pytest.approx(given.attempts[0].latency_s)
    (sample,) = read_samples(talking, filters={"kind": "answer"})
    assert (sample.model, sample.token_source) == ("base:talking", "counted")
    assert sample.load_s == given.load_s
    again = answerer.answer(local(), make_request("Hi"))
    assert (again.load_s, again.cost_usd) == (0.0, 0.0)


def test_draws_of_a_local_model_are_computed_together(answerer: Answerer) -> None:
    given = answerer.answer(local(samples=3), make_request("Hi"))
    assert (given.text, given.samples, given.agreed) == (ANSWER, 3, 3)


def test_a_base_that_is_not_here_is_left_out_with_what_to_do(answerer: Answerer) -> None:
    given = answerer.answer(local("nowhere"), make_request("Hi"))
    assert given.degraded
    (left,) = given.left_out
    assert (left.model, left.why) == ("here", "not_local")
    assert "nowhere" in left.reason


def test_a_model_is_asked_by_its_name_and_nobody_else(talking: Project) -> None:
    effective = load_asked(talking, "development", model="base:talking")
    assert (effective.model.name, effective.fallback, effective.domain) == (
        "base:talking",
        (),
        None,
    )
    given = answer(effective, make_request("Hi"), project=talking)
    assert (given.text, given.ref) == (ANSWER, "base:talking")


def test_names_and_profiles_are_looked_up(tmp_path: Path) -> None:
    project = Project(tmp_path / "new")
    init_project(project.root)
    named = load_asked(project, "development", domain="code_analysis", model="gpt-4")
    assert (named.model.name, named.fallback, named.rules) == ("gpt4", (), ())
    assert named.model.settings.generation.temperature == 0.1  # the domain's
    same = load_asked(project, "development", model="domain:code_analysis")
    assert same == load_asked(project, "development", domain="code_analysis")
    quick = load_asked(project, "development", domain="code_analysis", profile="fast_response")
    assert (quick.profile, quick.timeout_s) == ("fast_response", 20.0)
    with pytest.raises(InvalidInput, match="did you mean 'fast_response'"):
        load_asked(project, "development", profile="fast_respons")
    with pytest.raises(InvalidInput, match="is not of the domain translation"):
        load_asked(project, "development", domain="translation", model="domain:code_analysis")
