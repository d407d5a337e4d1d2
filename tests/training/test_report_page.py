"""The report page: true to its facts, complete by itself, and safe whatever the data hold."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from html_pages import Page, assert_self_contained
from modelyard.adapters.manifest import build_manifest
from modelyard.chatdata.duplicates import DuplicatePair
from modelyard.chatdata.report import DataReport, LengthBin, LengthLimit, MaskedText, TokenFigures
from modelyard.chatdata.sensitive import SensitiveValue
from modelyard.records.evaluation import (
    Answers,
    Evaluation,
    Example,
    GroupLoss,
    ModelFigures,
    PairedDifference,
)
from modelyard.records.provenance import Origin, Provenance
from modelyard.settings.fields import settings_mapping
from modelyard.training.experiment import RunRecord, build_identity, load_metrics
from modelyard.training.report.page import ReportFacts, render_report
from modelyard.training.spec import FineTuneSpec

POISON = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>{{ 7 * 7 }}"

TOKENS = TokenFigures(
    rows=240,
    total=14_400,
    trained=4_100,
    mean=60.0,
    p50=58,
    p90=71,
    p99=90,
    longest=96,
    histogram=(LengthBin(low=40, high=59, rows=130), LengthBin(low=60, high=79, rows=110)),
)
DATA = DataReport(
    dataset="techcorp",
    fingerprint="sha256:" + "5a" * 32,
    max_length=1024,
    train_rows=240,
    evaluation_rows=5,
    formats={"messages": 245},
    turns={1: 230, 2: 15},
    train_tokens=TOKENS,
    evaluation_tokens=dataclasses.replace(TOKENS, rows=5),
    cut=("train.jsonl:12",),
    limits=(
        LengthLimit(max_length=1024, whole_rows=244),
        LengthLimit(max_length=1300, whole_rows=245),
    ),
    unused_keys=(),
    straddling=(),
    without_reasoning=("train.jsonl:77",),
    repeated=(),
    shared=(),
    near=(DuplicatePair(source="eval.jsonl:3", other="train.jsonl:40", similarity=0.82),),
    sensitive=tuple(
        SensitiveValue(kind="e-mail address", source=f"train.jsonl:{line}", message=2)
        for line in range(1, 10)
    ),
)
SAMPLE = MaskedText(
    pieces=(("<|im_start|>user\nWho?<|im_end|>\n", False), ("Ingrid.<|im_end|>", True)),
    source="train.jsonl:1",
)


def metric_rows(steps: int, **changed: Any) -> list[dict[str, Any]]:
    row = {"learning_rate": 5e-4, "grad_norm": 1.0, "tokens_per_s": 540.0, "elapsed_s": 3.0}
    return [
        {"step": step, "epoch": step / 24, "loss": 4.0 / step, **row, **changed}
        for step in range(1, steps + 1)
    ]


def example(question: str, base_right: bool, tuned_right: bool) -> Example:
    return Example(
        question=question,
        reference="Ingrid Holloway.",
        base_answer="A person.",
        tuned_answer="Ingrid Holloway.",
        base_right=base_right,
        tuned_right=tuned_right,
        group="facts",
    )


def group_loss(name: str, rows: int) -> GroupLoss:
    return GroupLoss(name=name, rows=rows, tokens=rows * 20, base_loss=3.1, tuned_loss=0.7)


def answers(group: str, rows: int, base_right: int, tuned_right: int) -> Answers:
    return Answers(
        group=group,
        kind="facts",
        rows=rows,
        base_right=base_right,
        tuned_right=tuned_right,
        tuned_interval=(0.5, 0.95),
    )


EVALUATION = Evaluation(
    rows=87,
    tokens=1650,
    fingerprint="sha256:eval",
    base=ModelFigures(loss=2.9, perplexity=18.17, facts_recalled=0.0),
    tuned=ModelFigures(loss=0.8, perplexity=2.23, facts_recalled=0.88),
    difference=PairedDifference(-2.1, -2.3, -1.9),
    groups=(group_loss("facts", 75), group_loss("general", 12)),
    answers=(answers("facts", 75, 0, 66), answers("general", 12, 9, 9)),
    examples=(
        example("Both know it?", True, True),
        example("Learned?", False, True),
        example("Still wrong?", False, False),
        example("Forgotten?", True, False),
    ),
)


SPEC = FineTuneSpec(dataset="techcorp", adapter="techcorp-demo", experiment="first")
RECORD = RunRecord(
    run_id="1234",
    started_at="2026-11-22T14:31:49Z",
    identity=build_identity(
        SPEC, base_fingerprint="sha256:b", data_fingerprint="sha256:d", template_hash="sha256:t"
    ),
    machine="cpu · 2 threads · 24 GB",
    trained_s=222.4,
)
MANIFEST = build_manifest(
    "techcorp-demo",
    1,
    {},
    Provenance(
        run_key="first/1234",
        base=Origin(name="smollm2-135m-instruct", fingerprint="sha256:b"),
        data=Origin(name="techcorp", fingerprint="sha256:d"),
        template_hash="sha256:t",
        spec=settings_mapping(SPEC),
        packages={},
        machine={},
    ),
)


def facts(**changed: Any) -> ReportFacts:
    given: dict[str, Any] = {
        "experiment": "first",
        "record": RECORD,
        "manifest": MANIFEST,
        "metrics": [*metric_rows(40), {"step": 20, "eval_loss": 1.2}, {"step": 40, "eval_loss": 1}],
        "data_report": DATA,
        "samples": [SAMPLE],
        "evaluation": EVALUATION,
    }
    return ReportFacts(**{**given, **changed})


def poisoned(value: Any) -> Any:
    """The same facts with markup in every text, keys included."""
    match value:
        case str():
            return value + POISON
        case dict():
            return {key: poisoned(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(poisoned(item) for item in value)
        case _ if dataclasses.is_dataclass(value):
            known = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            shown = {name: poisoned(part) for name, part in known.items()}
            kind = {"kind": value.kind} if isinstance(value, Answers) else {}  # one of two words
            return dataclasses.replace(value, **(shown | kind))
    return value


def test_the_headline_says_what_came_of_the_run() -> None:
    assert Page(render_report(facts())).headline() == (
        "techcorp-demo version 1 is better than its base: loss is 0.800 instead of 2.900, "
        "facts recalled is 88% instead of 0%, facts recalled (general) is 75% as before."
    )


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (-0.2, 0.1, "is not distinguishable from its base"),
        (-0.2, 0.0, "is not distinguishable from its base"),
        (0.1, 0.4, "is worse than its base"),
        (None, None, "has too few rows for a verdict"),
    ],
)
def test_the_claim_is_no_stronger_than_the_interval(
    low: float | None, high: float | None, claim: str
) -> None:
    judged = dataclasses.replace(EVALUATION, difference=PairedDifference(-0.1, low, high))
    page = Page(render_report(facts(evaluation=judged)))
    assert page.headline().startswith(f"techcorp-demo version 1 {claim}: ")


def test_many_groups_are_told_as_one_sum_and_the_largest_are_drawn() -> None:
    judged = dataclasses.replace(
        EVALUATION,
        groups=tuple(group_loss(f"group {i}", i) for i in range(1, 78)),
        answers=tuple(answers(f"group {i}", i, 0, i) for i in range(1, 78)),
    )
    page = Page(render_report(facts(evaluation=judged)))
    assert page.headline().endswith("facts recalled is 88% instead of 0%.")
    assert "group 66 · 66 rows" in page.texts["text"]
    assert "group 65 · 65 rows" not in page.texts["text"]


def test_a_run_that_is_not_judged_yet_says_so() -> None:
    page = Page(render_report(facts(evaluation=None, metrics=metric_rows(2))))
    assert page.headline() == (
        "techcorp-demo version 1 is not evaluated yet: "
        "training loss is 4.00 in the first logged step, 2.00 in the last."
    )
    assert "Not evaluated yet." in page.texts["main"][0]


def test_a_run_without_a_step_still_has_a_page() -> None:
    page = Page(render_report(facts(evaluation=None, metrics=[], samples=[])))
    assert page.headline().endswith("no training step was logged.")
    assert page.texts["figure"][0] == "LossNo values."


def test_one_step_is_drawn_as_a_dot() -> None:
    html = render_report(facts(metrics=metric_rows(1), evaluation=None))
    assert html.count('<circle class="dot train"') == 4


def test_values_that_are_no_numbers_leave_a_gap_and_a_warning() -> None:
    rows = metric_rows(40)
    rows[6]["loss"], rows[7]["loss"], rows[8]["grad_norm"] = math.nan, None, math.inf
    html = render_report(facts(metrics=rows))
    assert "The loss was not a number in 2 steps, first in step 7." in html
    curve = re.search(r'class="curve faint" d="([^"]*)"', html)
    assert curve is not None
    assert curve[1].count("M") == 2
    assert not re.search(r"\b(nan|inf|None)\b", html)


def test_a_step_logged_again_after_a_resume_counts_once() -> None:
    again = {**metric_rows(1)[0], "step": 40, "loss": 0.5}
    html = render_report(facts(metrics=[*metric_rows(40), again]))
    assert "step 40 · training loss 0.500" in html


def test_lines_that_are_no_rows_of_metrics_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = [json.dumps(row) for row in metric_rows(3)]
    odd = [
        "5",
        "[]",
        '{"loss": 1}',
        '{"step": "4"}',
        "",
        "\udcff{",
        "[" * 100_000,
        '{"step": 4, "lo',
    ]
    path.write_text("\n".join([*good, *odd]), errors="surrogateescape")
    assert load_metrics(path) == metric_rows(3)


def test_twenty_thousand_steps_stay_a_small_page_and_keep_their_peak() -> None:
    rows = metric_rows(20_000, loss=1.0)
    rows[12_344]["loss"] = 9.5
    html = render_report(facts(metrics=rows))
    assert len(html) < 300_000
    assert "step 12,345 · training loss 9.50" in html


def test_markup_in_data_stays_text() -> None:
    groups = (answers("facts", 75, 0, 66), answers("other", 12, 9, 9))
    clean = facts(evaluation=dataclasses.replace(EVALUATION, answers=groups))
    fields = {field.name: getattr(clean, field.name) for field in dataclasses.fields(clean)}
    samples = [
        MaskedText(tuple((text + POISON, learned) for text, learned in sample.pieces), POISON)
        for sample in clean.samples
    ]
    dirty = ReportFacts(**{**{k: poisoned(v) for k, v in fields.items()}, "samples": samples})
    page = Page(render_report(dirty))
    assert page.elements == Page(render_report(clean)).elements
    assert POISON in page.texts["h1"][0]
    assert "49" not in page.texts["title"][0]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    assert_self_contained(render_report(facts()))


def test_wrong_answers_come_first() -> None:
    text = Page(render_report(facts())).texts["main"][0]
    order = ["Forgotten?", "Still wrong?", "Learned?", "Both know it?"]
    places = [text.index(question) for question in order]
    assert places == sorted(places)


def test_a_very_long_answer_is_cut_and_says_so() -> None:
    long = dataclasses.replace(EVALUATION.examples[0], tuned_answer="word " * 20_000)
    judged = dataclasses.replace(EVALUATION, examples=(long,))
    html = render_report(facts(evaluation=judged))
    assert "… and 96,000 more characters" in html
    assert len(html) < 200_000


def test_of_very_many_answers_the_first_are_shown() -> None:
    many = tuple(example(f"Question {i}?", False, False) for i in range(5000))
    judged = dataclasses.replace(EVALUATION, examples=many)
    page = Page(render_report(facts(evaluation=judged)))
    assert "The first 100 of 5,000; validation.json has all." in page.texts["main"][0]
    assert len(page.texts["tr"]) < 200


def test_exactly_the_learned_text_is_marked() -> None:
    page = Page(render_report(facts()))
    assert page.texts["mark"] == ["marked tokens", "Ingrid.<|im_end|>"]
    assert page.texts["pre"] == ["<|im_start|>user\nWho?<|im_end|>\nIngrid.<|im_end|>"]


def test_what_was_flagged_is_named_by_place() -> None:
    text = " ".join(Page(render_report(facts())).texts["main"][0].split())
    assert "Nearly in train and eval1 eval.jsonl:3 like train.jsonl:40 (82%)" in text
    assert "Answer cut at the length limit1 train.jsonl:12" in text
    assert "Reasoning left out by the chat template1 train.jsonl:77" in text
    assert "Holds: e-mail address9 train.jsonl:1 (message 2)" in text
    assert "train.jsonl:6 (message 2) and 3 more" in text


def test_clean_data_is_said_to_be_clean() -> None:
    clean = dataclasses.replace(DATA, cut=(), without_reasoning=(), near=(), sensitive=())
    html = render_report(facts(data_report=clean))
    assert "Nothing to flag" in html


def test_the_spec_is_there_in_full() -> None:
    page = Page(render_report(facts()))
    assert page.texts["caption"] == ["run", "lora", "data", "schedule", "compute", "keep"]
    keys = set(page.texts["th"])
    for name, value in facts().manifest.spec.items():
        assert set(value) <= keys if isinstance(value, dict) else name in keys


def test_a_report_is_rendered_without_torch() -> None:
    code = (
        "import sys, modelyard.training.report.page\n"
        "print(sorted({'torch', 'transformers', 'peft', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
