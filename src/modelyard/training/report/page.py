"""report.html: one page that shows how a fine-tune run went, and what came of it.

Decides the contents of the page; `charts` draws, and `template/` holds HTML, style and script. The
page needs no network, no other file and no JavaScript. Does not know the project or torch.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from modelyard import __version__
from modelyard.charts.charts import (
    Bar,
    Curve,
    Interval,
    render_bars,
    render_curves,
    render_histogram,
    render_intervals,
)
from modelyard.charts.scales import (
    Point,
    is_finite,
    show_duration,
    show_number,
    show_tick,
    smooth,
)
from modelyard.chatdata.report import MaskedText
from modelyard.core.wording import visible_text

_SHOWN_CHARACTERS = 4000
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
    adapter: str
    """Name of the adapter."""
    version: int | None
    """The version that was registered; None when none was."""
    base: str
    """Name of the base model."""
    dataset: str
    """Name of the dataset."""
    started_at: str
    """When the run began, UTC, ISO 8601."""
    duration_s: float
    """How long it took."""
    machine: str
    """The machine in one line, as `Machine.describe` gives it."""
    status: str
    """How the run ended, in a word or two, such as `finished`."""
    spec: Mapping[str, Any]
    """The resolved spec as nested mappings."""
    metrics: Sequence[Mapping[str, Any]]
    """The rows of metrics.jsonl; values may be None or NaN."""
    data_report: Mapping[str, Any]
    """A `chatdata.report.DataReport` as a mapping."""
    samples: Sequence[MaskedText]
    """A few training rows, with their trained tokens."""
    evaluation: Mapping[str, Any] | None = None
    """Base against tuned, as validation.json holds it; None before the evaluation."""

    @property
    def subject(self) -> str:
        """What the verdict is about."""
        return self.adapter if self.version is None else f"{self.adapter} version {self.version}"


def render_report(facts: ReportFacts) -> str:
    """The whole page; whatever came from data is escaped by the template."""
    page = files("modelyard.training.report") / "template"
    style, script = ((page / name).read_text("utf-8") for name in ("report.css", "report.js"))
    return _template().render(
        facts=facts,
        made_by=f"modelyard {__version__}",
        style=Markup(style),
        script=Markup(script),
        style_hash=_content_hash(style),
        script_hash=_content_hash(script),
        verdict=_verdict(facts),
        figures=_figures(facts),
        curves=_curves(facts.metrics),
        gaps=_gaps(facts.metrics),
        data=_data_facts(facts.data_report),
        lengths=_length_charts(facts.data_report),
        flags=_flags(facts.data_report),
        comparison=_render_comparison(facts.evaluation or {}),
        answers=_group_answers(facts.evaluation or {}),
        settings=_settings(facts.spec),
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
    if facts.evaluation:
        base, tuned = facts.evaluation["base"], facts.evaluation["tuned"]
        for name in ("loss", "perplexity"):
            was = f"base {show_number(base.get(name))}"
            yield f"Eval {name}", show_number(tuned.get(name)), was
        for group in _shown_answers(facts.evaluation):
            right = f"{group['tuned_right']:,} of {group['rows']:,}"
            yield f"Right: {group['group']}", right, f"base {group['base_right']:,}"
    metrics = facts.metrics
    if losses := _known(metrics, "loss"):
        yield "Training loss", show_number(losses[-1]), f"from {show_number(losses[0])}"
    if epochs := _known(metrics, "epoch"):
        steps = max(int(row["step"]) for row in metrics)
        yield "Steps", f"{steps:,}", f"{show_tick(epochs[-1])} epochs"
    if speeds := _known(metrics, "tokens_per_s"):
        yield "Tokens a second", show_number(median(speeds)), "median of the steps"
    yield "Time", show_duration(facts.duration_s), facts.status


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
    mean = Curve(name=f"mean of {width:,} steps", points=smooth(points, width))
    return [Curve(name=name, points=points, look="faint"), mean]


def _gaps(metrics: Sequence[Mapping[str, Any]]) -> list[int]:
    """The steps whose loss is not a number."""
    return [int(step) for step, loss in _points(metrics, "loss") if not math.isfinite(loss)]


def _data_facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    train, evaluation = report["train_tokens"], report["evaluation_tokens"]
    yield "Training rows", f"{report['train_rows']:,}"
    yield "Evaluation rows", f"{report['evaluation_rows']:,}"
    share = train["trained"] / train["total"] if train["total"] else 0
    yield "Tokens in training rows", f"{train['total']:,}"
    yield "Trained tokens", f"{train['trained']:,} ({share:.0%})"
    if evaluation:
        yield "Tokens in eval rows", f"{evaluation['total']:,}"
    yield "Tokens a row", f"{show_number(train['mean'])} on average, {train['longest']:,} at most"
    yield "Length limit", f"{report['max_length']:,} tokens"
    yield "Answers a row", _counts(report["turns"])
    yield "Written as", _counts(report["formats"])
    yield "Fingerprint", report["fingerprint"][: len("sha256:") + 12]


def _counts(counted: Mapping[Any, int]) -> str:
    """`messages`, or `1 (240 rows), 2 (12 rows)` when there are several."""
    if len(counted) == 1:
        return str(next(iter(counted)))
    return ", ".join(f"{name} ({rows:,} rows)" for name, rows in counted.items())


def _length_charts(report: Mapping[str, Any]) -> list[Markup]:
    sides = (("Training rows", "train_tokens"), ("Eval rows", "evaluation_tokens"))
    return [
        render_histogram(
            f"{title} by length in tokens",
            [(bar["low"], bar["high"], bar["rows"]) for bar in report[side]["histogram"]],
            unit="tokens",
        )
        for title, side in sides
        if report[side]
    ]


def _flags(report: Mapping[str, Any]) -> list[tuple[str, int, list[str]]]:
    """What to check: what it is, how many rows, and where the first ones are."""

    def pair(one: Mapping[str, Any]) -> str:
        return f"{one['source']} like {one['other']} ({one['similarity']:.0%})"

    kinds: dict[str, list[str]] = {
        "In train and eval": [pair(entry) for entry in report["shared"]],
        "Nearly in train and eval": [pair(entry) for entry in report["near"]],
        "Answer cut at the length limit": list(report["cut"]),
        "Repeats an earlier row": [pair(entry) for entry in report["repeated"]],
        "A token is both question and answer": list(report["straddling"]),
    }
    for value in report["sensitive"]:
        inside = f"message {value['message']}" if value["message"] else f"key '{value['key']}'"
        place = f"{value['source']} ({inside})"
        kinds.setdefault(f"Holds: {value['kind']}", []).append(place)
    return [(what, len(where), where[:_SHOWN_PLACES]) for what, where in kinds.items() if where]


def _settings(spec: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The spec as tables: one for the plain values, one for each nested mapping."""
    tables: dict[str, dict[str, str]] = {"run": {}}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            tables[key] = {str(name): _plain(one) for name, one in value.items()}
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


def _clip(text: Any) -> str:
    """Text of bearable length; validation.json has all of it."""
    whole = "–" if text is None else visible_text(str(text))
    if len(whole) <= _SHOWN_CHARACTERS:
        return whole
    return f"{whole[:_SHOWN_CHARACTERS]} … and {len(whole) - _SHOWN_CHARACTERS:,} more characters"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelyard.training.report", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clip"] = _clip
    return environment.get_template("report.html")


def _content_hash(text: str) -> str:
    """By this hash the page's policy admits its own style and script, and no others."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _render_comparison(evaluation: Mapping[str, Any]) -> list[Markup]:
    """The charts of base against tuned."""
    if not evaluation:
        return []
    groups = _largest(evaluation.get("groups") or ())
    whole = _losses(evaluation["base"]["loss"], evaluation["tuned"]["loss"])
    bars = [(f"all · {evaluation['rows']:,} rows", whole)]
    differences = [("all", evaluation.get("difference"))]
    for group in groups if len(groups) > 1 else ():
        name = f"{group['name']} · {group['rows']:,} rows"
        bars.append((name, _losses(group["base_loss"], group["tuned_loss"])))
        differences.append((group["name"], group.get("difference")))
    charts = [render_bars("Eval loss, less is better", bars)]
    if intervals := [
        Interval(name, *known)
        for name, difference in differences
        if (known := _known_difference(difference))
    ]:
        charts.append(render_intervals("Tuned minus base, 95% interval", intervals, unit="loss"))
    if answers := _largest(evaluation.get("answers") or ()):
        shares = [
            (f"{group['group']} · {group['rows']:,} rows", _shares(group)) for group in answers
        ]
        charts.append(render_bars("Right answers, more is better", shares, full=1.0))
    return charts


def _largest(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The groups of the most rows, as many as one can take in, in the order they came."""
    by_rows = sorted(groups, key=lambda group: -group["rows"])[:_SHOWN_GROUPS]
    return [group for group in groups if group in by_rows]


def _losses(base: float | None, tuned: float | None) -> list[Bar]:
    return [
        Bar(name="base", value=base, text=show_number(base)),
        Bar(name="tuned", value=tuned, text=show_number(tuned)),
    ]


def _shares(group: Mapping[str, Any]) -> list[Bar]:
    def bar(name: Literal["base", "tuned"]) -> Bar:
        right, rows = group[f"{name}_right"], group["rows"]
        share = right / rows if rows else None
        text = f"{right:,} of {rows:,}" if share is None else f"{right:,} · {share:.0%}"
        low, high = group.get(f"{name}_interval") or (None, None)
        known = (low, high) if is_finite(low) and is_finite(high) else None
        return Bar(name=name, value=share, text=text, interval=known)

    return [bar("base"), bar("tuned")]


def _group_answers(evaluation: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]], int]]:
    """Examples by outcome, worst first: heading, the first ones, how many in all."""
    kinds: dict[str, list[Mapping[str, Any]]] = {
        "Lost: the base was right and the tuned model is not": [],
        "Wrong: neither is right": [],
        "Not scored": [],
        "Won: the tuned model is right and the base was not": [],
        "Both right": [],
    }
    lost, wrong, open_, won, both = kinds.values()
    for example in evaluation.get("examples") or ():
        base, tuned = example.get("base_right"), example.get("tuned_right")
        if tuned is None:
            open_.append(example)
        elif tuned:
            (both if base else won).append(example)
        else:
            (lost if base else wrong).append(example)
    return [(name, found[:_SHOWN_ANSWERS], len(found)) for name, found in kinds.items() if found]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence in two parts: `claim: grounds.`"""

    tone: Literal["better", "worse", "unclear"]
    """The direction of the change."""
    claim: str
    """The statement."""
    grounds: str
    """The figures that support it."""


def _build_verdict(subject: str, evaluation: Mapping[str, Any]) -> Verdict:
    """Better or worse only when the whole 95% interval of the paired difference says so."""
    base, tuned = (show_number(evaluation[side]["loss"]) for side in ("base", "tuned"))
    grounds = f"eval loss is {tuned} instead of {base}"
    for group in _shown_answers(evaluation):
        before, after = group["base_right"], group["tuned_right"]
        change = "as before" if before == after else f"instead of {before:,}"
        grounds += f", {group['group']} {after:,} of {group['rows']:,} right {change}"
    difference = _known_difference(evaluation.get("difference"))
    if difference is None:
        return Verdict("unclear", f"{subject} has too few rows for a verdict", grounds)
    _, low, high = difference
    if low <= 0 <= high:
        return Verdict("unclear", f"{subject} is not distinguishable from its base", grounds)
    if high < 0:
        return Verdict("better", f"{subject} is better than its base", grounds)
    return Verdict("worse", f"{subject} is worse than its base", grounds)


def _shown_answers(evaluation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The groups of scored answers, or their sum when there are too many to list."""
    groups: Sequence[Mapping[str, Any]] = evaluation.get("answers") or ()
    if len(groups) <= _SHOWN_ANSWER_GROUPS:
        return groups
    sums = {
        key: sum(group[key] for group in groups) for key in ("rows", "base_right", "tuned_right")
    }
    return [{"group": "answers", **sums}]


def _known_difference(difference: Mapping[str, Any] | None) -> tuple[float, float, float] | None:
    """(mean, low, high) when all three are known: too few rows give no interval."""
    if difference is None:
        return None
    mean, low, high = (
        math.nan if difference.get(key) is None else float(difference[key])
        for key in ("mean", "low", "high")
    )
    return (mean, low, high) if math.isfinite(mean + low + high) else None
