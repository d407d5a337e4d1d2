"""report.html: one page that shows how a fine-tune run went, and what came of it.

Decides the contents of the page; `charts` draws it and has its shell, and `template/` holds its
sections. Does not know the project or torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from markupsafe import Markup

from modelyard.adapters.manifest import Manifest
from modelyard.charts.charts import (
    Bar,
    Curve,
    Interval,
    render_bars,
    render_curves,
    render_histogram,
    render_intervals,
)
from modelyard.charts.pages import Fact, Head, Verdict, render_page
from modelyard.charts.scales import Point, show_duration, show_number, smooth
from modelyard.chatdata.duplicates import DuplicatePair
from modelyard.chatdata.report import DataReport, MaskedText
from modelyard.core.wording import counted
from modelyard.records.evaluation import Answers, Evaluation, Example, FigureRow, GroupLoss
from modelyard.training.cautions import course_cautions
from modelyard.training.experiment import RunRecord

_SHOWN_PLACES = 6
_SHOWN_ANSWERS = 100
_SHOWN_GROUPS = 12
_SHOWN_ANSWER_GROUPS = 3
_SMOOTHED_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """Everything the page is made of."""

    experiment: str
    """Name of the experiment."""
    record: RunRecord
    """How the run went."""
    manifest: Manifest
    """The version that came of it."""
    metrics: Sequence[Mapping[str, Any]]
    """The rows of metrics.jsonl; values may be None or NaN."""
    data_report: DataReport
    """What preflight found in the dataset."""
    samples: Sequence[MaskedText]
    """A few training rows, with their trained tokens."""
    evaluation: Evaluation | None = None
    """Base against tuned; None before the evaluation."""

    @property
    def subject(self) -> str:
        """What the verdict is about."""
        return f"{self.manifest.adapter} version {self.manifest.version}"


def render_report(facts: ReportFacts) -> str:
    """The whole page; whatever came from data is escaped by the template."""
    evaluation = facts.evaluation
    answers = _group_answers(evaluation.examples) if evaluation else []
    return render_page(
        "modelyard.training.report",
        "report",
        _head(facts, with_answers=bool(answers)),
        facts=facts,
        curves=_curves(facts.metrics),
        gaps=_gaps(facts.metrics),
        data=_data_facts(facts.data_report),
        lengths=_length_charts(facts.data_report),
        flags=_flags(facts.data_report),
        comparison=_render_comparison(evaluation) if evaluation else [],
        answers=answers,
        settings=_settings(facts.manifest.spec),
    )


def _head(facts: ReportFacts, *, with_answers: bool) -> Head:
    sections = {
        "evaluation": True,
        "training": True,
        "answers": with_answers,
        "data": True,
        "samples": bool(facts.samples),
        "spec": True,
    }
    manifest, record = facts.manifest, facts.record
    return Head(
        kind="Fine-tune report",
        subject=facts.experiment,
        verdict=_verdict(facts),
        sections=[(name, name.capitalize()) for name, there in sections.items() if there],
        notes=course_cautions(
            facts.metrics, evaluation_rows=facts.evaluation.rows if facts.evaluation else 0
        ),
        figures=_figures(facts),
        facts=[
            Fact("Adapter", manifest.adapter),
            Fact("Version", str(manifest.version)),
            Fact("Base model", manifest.base.name),
            Fact("Dataset", manifest.data.name),
            Fact("Started", record.started_at.replace("T", " ").replace("Z", " UTC")),
            Fact("Machine", record.machine or "–", long=True),
        ],
    )


def _verdict(facts: ReportFacts) -> Verdict:
    if facts.evaluation:
        return _build_verdict(facts.subject, facts.evaluation)
    losses = _known(facts.metrics, "loss")
    grounds = "no training step was logged"
    if losses:
        course = f"{show_number(losses[0])} in the first logged step"
        if len(losses) > 1:
            course += f", {show_number(losses[-1])} in the last"
        grounds = f"training loss is {course}"
    return Verdict("unclear", f"{facts.subject} is not evaluated yet", grounds)


def _figures(facts: ReportFacts) -> Iterator[tuple[str, str, str]]:
    """The large numbers below the verdict: name, value, note."""
    for row in _shown_rows(facts.evaluation) if facts.evaluation else ():
        yield f"Eval {row.name}", row.adapter, f"base {row.base}"
    metrics = facts.metrics
    if losses := _known(metrics, "loss"):
        yield "Training loss", show_number(losses[-1]), f"from {show_number(losses[0])}"
    if epochs := _known(metrics, "epoch"):
        steps = max(int(row["step"]) for row in metrics)
        yield "Steps", f"{steps:,}", counted(round(epochs[-1], 2), "epoch")
    if speeds := _known(metrics, "tokens_per_s"):
        yield "Tokens a second", show_number(median(speeds)), "median of the steps"
    yield "Time", show_duration(facts.record.trained_s or 0.0), "of training"


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    """(step, value) of the rows that have the key, by step; of a repeated step the last one."""
    values = {row["step"]: row[key] for row in metrics if key in row}
    return [
        (step, float(value) if isinstance(value, int | float) else math.nan)
        for step, value in sorted(values.items())
    ]


def _known(metrics: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """The finite values of a key, by step."""
    return [value for _, value in _points(metrics, key) if math.isfinite(value)]


def _curves(metrics: Sequence[Mapping[str, Any]]) -> tuple[Markup, list[Markup]]:
    """The large chart of the losses, and the small ones beside each other."""
    evaluations = Curve(
        name="eval loss", points=_points(metrics, "eval_loss"), look="eval", dots=True
    )
    large = [*_with_mean("training loss", _points(metrics, "loss")), evaluations]
    small = {
        "Learning rate": [Curve(name="rate", points=_points(metrics, "learning_rate"))],
        "Gradient norm": _with_mean("norm", _points(metrics, "grad_norm")),
        "Tokens a second": _with_mean("tokens", _points(metrics, "tokens_per_s")),
    }
    return render_curves("Loss", large, x_name="step"), [
        render_curves(title, curves, x_name="step", small=True) for title, curves in small.items()
    ]


def _with_mean(name: str, points: Sequence[Point]) -> list[Curve]:
    """The values pale, and their mean over neighbouring steps on top when there are many."""
    width = int(len(points) * _SMOOTHED_SHARE)
    if width < 2:
        return [Curve(name=name, points=points)]
    mean = Curve(name=f"mean of {counted(width, 'step')}", points=smooth(points, width))
    return [Curve(name=name, points=points, look="faint"), mean]


def _gaps(metrics: Sequence[Mapping[str, Any]]) -> list[int]:
    """The steps whose loss is not a number."""
    return [int(step) for step, loss in _points(metrics, "loss") if not math.isfinite(loss)]


def _data_facts(report: DataReport) -> Iterator[tuple[str, str]]:
    train, evaluation = report.train_tokens, report.evaluation_tokens
    yield "Training rows", f"{report.train_rows:,}"
    yield "Evaluation rows", f"{report.evaluation_rows:,}"
    share = train.trained / train.total if train.total else 0
    yield "Tokens in training rows", f"{train.total:,}"
    yield "Trained tokens", f"{train.trained:,} ({share:.0%})"
    if evaluation:
        yield "Tokens in eval rows", f"{evaluation.total:,}"
    yield "Tokens a row", f"{show_number(train.mean)} on average, {train.longest:,} at most"
    yield "Length limit", f"{report.max_length:,} tokens"
    yield "Answers a row", _counts(report.turns)
    yield "Written as", _counts(report.formats)
    yield "Fingerprint", report.fingerprint[: len("sha256:") + 12]


def _counts(counts: Mapping[Any, int]) -> str:
    """`messages`, or `1 (240 rows), 2 (1 row)` when there are several."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{name} ({counted(rows, 'row')})" for name, rows in counts.items())


def _length_charts(report: DataReport) -> list[Markup]:
    sides = (("Training rows", report.train_tokens), ("Eval rows", report.evaluation_tokens))
    return [
        render_histogram(
            f"{title} by length in tokens",
            [(bar.low, bar.high, bar.rows) for bar in tokens.histogram],
            unit="tokens",
        )
        for title, tokens in sides
        if tokens
    ]


def _flags(report: DataReport) -> list[tuple[str, int, list[str]]]:
    """What to check: what it is, how many rows, and where the first ones are."""

    def pairs(found: Sequence[DuplicatePair]) -> list[str]:
        return [f"{pair.source} like {pair.other} ({pair.similarity:.0%})" for pair in found]

    kinds: dict[str, list[str]] = {
        "In train and eval": pairs(report.shared),
        "Nearly in train and eval": pairs(report.near),
        "Answer cut at the length limit": list(report.cut),
        "Repeats an earlier row": pairs(report.repeated),
        "A token is both question and answer": list(report.straddling),
        "Whitespace changed by the chat template": list(report.respaced),
        "Reasoning left out by the chat template": list(report.without_reasoning),
        "Tools not described by the chat template": list(report.without_descriptions),
        "Tools' parameters left out by the chat template": list(report.without_parameters),
    }
    for value in report.sensitive:
        inside = f"message {value.message}" if value.message else f"key '{value.key}'"
        kinds.setdefault(f"Holds: {value.kind}", []).append(f"{value.source} ({inside})")
    return [(what, len(where), where[:_SHOWN_PLACES]) for what, where in kinds.items() if where]


def _settings(spec: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The spec as tables: one for the plain values, one for each nested mapping."""
    tables: dict[str, dict[str, str]] = {"run": {}}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            tables[key] = {str(name): _plain(item) for name, item in value.items()}
        else:
            tables["run"][key] = _plain(value)
    return {name: table for name, table in tables.items() if table}


def _plain(value: Any) -> str:
    """A setting in YAML syntax."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(_plain, value))
    return str(value)


def _render_comparison(evaluation: Evaluation) -> list[Markup]:
    """The charts of base against tuned."""
    whole = _losses(evaluation.base.loss, evaluation.tuned.loss)
    bars = [(f"all · {counted(evaluation.rows, 'row')}", whole)]
    groups = _largest(evaluation.groups)
    for group in groups if len(groups) > 1 else ():
        name = f"{group.name} · {counted(group.rows, 'row')}"
        bars.append((name, _losses(group.base_loss, group.tuned_loss)))
    charts = [render_bars("Eval loss, less is better", bars)]
    if known := evaluation.difference.interval:
        interval = Interval("all", evaluation.difference.mean, *known)
        charts.append(render_intervals("Tuned minus base, 95% interval", [interval], unit="loss"))
    if answers := _largest(evaluation.answers):
        shares = [
            (f"{group.group} · {counted(group.rows, 'row')}", _shares(group)) for group in answers
        ]
        charts.append(render_bars("Right answers, more is better", shares, full=1.0))
    return charts


Group = TypeVar("Group", GroupLoss, Answers)


def _largest(groups: Sequence[Group]) -> list[Group]:
    """The groups of the most rows, as many as one can take in, in the order they came."""
    by_rows = sorted(groups, key=lambda group: -group.rows)[:_SHOWN_GROUPS]
    return [group for group in groups if group in by_rows]


def _losses(base: float, tuned: float) -> list[Bar]:
    return [
        Bar(name="base", value=base, text=show_number(base)),
        Bar(name="tuned", value=tuned, text=show_number(tuned)),
    ]


def _shares(group: Answers) -> list[Bar]:
    return [
        Bar(
            name="base",
            value=group.base_share,
            text=f"{group.base_right:,} · {group.base_share:.0%}",
        ),
        Bar(
            name="tuned",
            value=group.tuned_share,
            text=f"{group.tuned_right:,} · {group.tuned_share:.0%}",
            interval=group.tuned_interval,
        ),
    ]


def _group_answers(examples: Sequence[Example]) -> list[tuple[str, list[Example], int]]:
    """Examples by outcome, worst first: heading, the first ones, how many in all."""
    headings = {
        (True, False): "Lost: the base was right and the tuned model is not",
        (False, False): "Wrong: neither is right",
        (False, True): "Won: the tuned model is right and the base was not",
        (True, True): "Both right",
    }
    found = [
        (
            heading,
            [
                example
                for example in examples
                if (example.base_right, example.tuned_right) == outcome
            ],
        )
        for outcome, heading in headings.items()
    ]
    return [(heading, some[:_SHOWN_ANSWERS], len(some)) for heading, some in found if some]


def _build_verdict(subject: str, evaluation: Evaluation) -> Verdict:
    """Better or worse only when the whole 95% interval of the paired difference says so."""
    grounds = ", ".join(
        f"{row.name} is {row.adapter} "
        + ("as before" if row.adapter == row.base else f"instead of {row.base}")
        for row in _shown_rows(evaluation)
        if row.name != "perplexity"
    )
    if evaluation.difference.interval is None:
        return Verdict("unclear", f"{subject} has too few rows for a verdict", grounds)
    low, high = evaluation.difference.interval
    if low <= 0 <= high:
        return Verdict("unclear", f"{subject} is not distinguishable from its base", grounds)
    if high < 0:
        return Verdict("better", f"{subject} is better than its base", grounds)
    return Verdict("worse", f"{subject} is worse than its base", grounds)


def _shown_rows(evaluation: Evaluation) -> Iterator[FigureRow]:
    """The figures, without those of single groups when there are too many to list."""
    few = len(evaluation.answers) <= _SHOWN_ANSWER_GROUPS
    return evaluation.all_rows() if few else evaluation.main_rows()
