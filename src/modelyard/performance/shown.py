"""How figures of a run are written, the same on a terminal, in a page and in a test report."""

from __future__ import annotations

from collections import Counter

from modelyard.charts.scales import show_duration
from modelyard.core.wording import counted
from modelyard.performance.results import ERRORS, GIVEN, LOAD, RunFigure, TestRun, Unit, Verdict
from modelyard.settings.units import DURATION, MONEY, SHARE

_NAMES = {
    "accuracy": "accuracy",
    "score": "mean score",
    "accuracy_over_base": "accuracy over the base",
    "latency_p50": "median latency",
    "latency_p95": "95th percentile of latency",
    "latency_p99": "99th percentile of latency",
    "first_token_p50": "median time to the first token",
    "requests_per_s": "throughput",
    "tokens_per_s": "throughput in tokens",
    "cost_per_request": "cost of a request",
    "cost_total": "cost of the run",
    "error_rate": "error rate",
}
_AT_LEAST = ("accuracy", "accuracy_over_base")
_VERDICTS: dict[Verdict, str] = {
    "pass": "pass",
    "breach": "breach",
    "cannot_tell": "cannot tell",
}


def show_name(figure: RunFigure) -> str:
    """`accuracy of company_facts`; of all cases just `accuracy`."""
    name = _NAMES.get(figure.name, figure.name)
    if figure.part is None:
        return name
    return f"{name} of {'the load' if figure.part == LOAD else figure.part}"


def show_value(value: float | None, unit: Unit) -> str:
    """A value in its unit, to three digits."""
    if value is None:
        return "unknown"
    if unit == "seconds" and value >= 60:
        return show_duration(value)
    return show_exact(value if unit == "count" else float(f"{value:.3g}"), unit)


def show_exact(value: float, unit: Unit) -> str:
    """A value in its unit, with all its digits."""
    if value < 0:
        return f"−{show_exact(-value, unit)}"
    match unit:
        case "count":
            return f"{value:,.0f}"
        case "per_second":
            return f"{value:,.12g}/s"
        case "share":
            return SHARE.show(value)
        case "seconds":
            return DURATION.show(value)
        case "usd":
            return MONEY.show(value)


def show_interval(figure: RunFigure) -> str:
    """`73% to 90%`; with one end only `from 73%` or `to 90%`; without any nothing."""
    low, high = figure.low, figure.high
    if low is not None and high is not None:
        return f"{show_value(low, figure.unit)} to {show_value(high, figure.unit)}"
    if low is not None:
        return f"from {show_value(low, figure.unit)}"
    return "" if high is None else f"to {show_value(high, figure.unit)}"


def show_threshold(figure: RunFigure) -> str:
    """`at least 85%`, `at most 5 s`; without a threshold nothing."""
    if figure.threshold is None:
        return ""
    side = "at least" if figure.name in _AT_LEAST else "at most"
    return f"{side} {show_exact(figure.threshold, figure.unit)}"


def show_verdict(figure: RunFigure) -> str:
    """`pass`, `breach` or `cannot tell`; without a threshold nothing."""
    return "" if figure.verdict is None else _VERDICTS[figure.verdict]


def show_more_needed(figure: RunFigure) -> str:
    """`about 40 more cases`; where that is not known or not needed, nothing."""
    return "" if figure.more_needed is None else f"about {figure.more_needed:,} more cases"


def show_basis(figure: RunFigure, run: TestRun) -> str:
    """What a figure is over: `12 of 15, 2 more unknown`, and of errors which they were."""
    if figure.name == "error_rate":
        return _errors_of(run) or "0"
    if figure.unknown and not figure.n:
        return f"{figure.unknown:,} unknown"
    basis = f"{figure.n:,}"
    if figure.right is not None:
        basis = f"{figure.right:,} of {figure.scored:,}"
        if figure.scored != figure.n:
            basis += f", {counted(figure.n, 'case')}"
    return f"{basis}, {figure.unknown:,} more unknown" if figure.unknown else basis


def _errors_of(run: TestRun) -> str:
    """`3 of 41: 2 failed, 1 timeout; not counted: 20 nothing found`."""
    ended = Counter(case.outcome for case in run.cases)
    reached = sum(ended[outcome] for outcome in (*GIVEN, *ERRORS))
    failed = sum(ended[outcome] for outcome in ERRORS)
    others = {outcome: n for outcome, n in ended.items() if outcome not in (*GIVEN, *ERRORS)}
    which = ", ".join(_say_outcome(outcome, ended[outcome]) for outcome in ERRORS if ended[outcome])
    parts = []
    if reached:
        parts.append(f"{failed:,} of {reached:,}{f': {which}' if failed else ''}")
    if others:
        parts.append(f"not counted: {', '.join(_say_outcome(*each) for each in others.items())}")
    return "; ".join(parts)


def _say_outcome(outcome: str, n: int) -> str:
    return f"{n:,} {outcome.replace('_', ' ')}"
