"""`models fine-tune` with a model that its provider tunes: the plan, the question, the job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.cli.deploying import NotConfirmed
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.render import (
    flush_results,
    print_json,
    print_pairs,
    print_text,
    print_title,
    print_warning,
)
from modelyard.cli.stdin import ask_yes
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound
from modelyard.core.layout import Project, check_name
from modelyard.core.wording import counted, visible_line
from modelyard.settings.units import MONEY

if TYPE_CHECKING:
    from modelyard.training.hosted.job import HostedResult, Next
    from modelyard.training.hosted.plan import HostedPlan, HostedRequest
    from modelyard.training.hosted.tunable import HostedBase

_SETTINGS = ("schedule.epochs", "seed")
"""What --set can say of a hosted job; the rest is about adapters that are trained here."""
_SHOWN_ROWS = 2
_SHOWN_CHARACTERS = 160
_SHOWN_PLACES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedOptions:
    """The options of `models fine-tune` that a hosted job has too."""

    dataset: str | None
    experiment: str | None
    org: str | None
    assignments: tuple[str, ...]
    check: bool
    cancel: bool
    yes: bool
    show: int
    fresh: bool
    dry_run: bool
    wait_s: float
    as_json: bool


def refuse_options(given: Mapping[str, object], base: HostedBase) -> None:
    """Raise ProblemsFound for options that say nothing about a hosted job."""
    problems = [
        Diagnostic(message=f"--{name} is for adapters that are trained here")
        for name, value in given.items()
        if value
    ]
    if problems:
        raise ProblemsFound(
            f"{base.name} is tuned by its provider", problems, hint="leave the options out"
        )


def fine_tune_hosted(project: Project, base: HostedBase, options: HostedOptions) -> None:
    """Plan a hosted job; then show the plan, or cancel, start or follow the job."""
    from modelyard.training.hosted.job import look_ahead, require_affordable, run_job
    from modelyard.training.hosted.plan import build_plan
    from modelyard.training.hosted.service import open_service
    from modelyard.training.spec import name_after

    experiment = options.experiment or (options.dataset and name_after(options.dataset))
    if experiment is None or (options.dataset is None and not options.cancel):
        raise InvalidInput("no dataset was named", hint="name it: --dataset NAME, or a path")
    check_name(experiment, "experiment")
    if options.cancel or options.dataset is None:
        _cancel(project, base, experiment, options)
        return
    plan = build_plan(project, _request(base, options.dataset, experiment, options))
    would = look_ahead(project, plan, fresh=options.fresh)
    if options.check or options.dry_run:
        _show_plan(project, plan, options, would if options.dry_run else None)
        if would == "start":
            require_affordable(project, plan, fresh=options.fresh)
        return
    if would == "start":
        require_affordable(project, plan, fresh=options.fresh)
        if not options.as_json:
            _show_plan(project, plan, options, None)
        open_service(project, base)  # before anybody is asked: without a key it ends here
        _confirm(project, plan, options)
    with showing_progress() as progress:
        result = run_job(
            project,
            plan,
            lambda: open_service(project, base),
            progress=progress,
            fresh=options.fresh,
            wait_s=options.wait_s,
        )
    _show_job(project, result, options)


def _request(
    base: HostedBase, dataset: str, experiment: str, options: HostedOptions
) -> HostedRequest:
    from modelyard.training.hosted.plan import DEFAULT_EPOCHS, HostedRequest

    if options.org is not None:
        check_name(options.org, "organisation")
    numbers = dict(_number(assignment) for assignment in options.assignments)
    return HostedRequest(
        dataset=dataset,
        base=base,
        experiment=experiment,
        org=options.org,
        epochs=numbers.get("schedule.epochs", DEFAULT_EPOCHS),
        seed=numbers.get("seed", 0),
    )


def _number(assignment: str) -> tuple[str, int]:
    """A setting of a hosted job and its whole number."""
    key, _, text = assignment.partition("=")
    where = f"--set {assignment}"
    if key not in _SETTINGS:
        raise InvalidInput(
            "is for adapters that are trained here, and this model is tuned by its provider",
            where=where,
            hint=f"a hosted job has {' and '.join(_SETTINGS)}",
        )
    least, most = (1, 50) if key == "schedule.epochs" else (0, 2**31 - 1)
    if not text.isascii() or not text.isdigit() or not least <= int(text[:12]) <= most:
        raise InvalidInput(f"must be a whole number between {least} and {most}", where=where)
    return key, int(text)


def _cancel(project: Project, base: HostedBase, experiment: str, options: HostedOptions) -> None:
    from modelyard.training.hosted.job import HostedResult, cancel_job
    from modelyard.training.hosted.record import require_run
    from modelyard.training.hosted.service import open_service

    beside: dict[str, object] = {"check": options.check, "fresh": options.fresh}
    beside |= {"show": options.show, "set": options.assignments}
    if given := next((name for name, value in beside.items() if value), None):
        raise InvalidInput(f"--cancel and --{given} contradict each other", hint="leave one out")
    if options.dry_run:
        run = require_run(project, experiment)
        result = HostedResult(
            folder=run.folder, record=run.record, already_done=run.record.has_ended
        )
        _show_job(project, result, options)
        if not options.as_json and not run.record.has_ended:
            print_text("Would have the provider stop it; nothing was changed.")
        return
    result = cancel_job(
        project, experiment, lambda: open_service(project, base), wait_s=options.wait_s
    )
    _show_job(project, result, options)


def _confirm(project: Project, plan: HostedPlan, options: HostedOptions) -> None:
    """Ask before rows leave for a protected environment, and before flagged ones leave at all."""
    from modelyard.configs.reading.catalogue import ConfigCatalogue

    environment = plan.request.base.environment
    protected = ConfigCatalogue(project).environments.is_protected(environment)
    if options.yes or not (protected or plan.sensitive):
        return
    if protected:
        why = f"{environment} needs a confirmation before rows leave this machine"
    else:
        why = f"{counted(len(plan.sensitive), 'place')} in the rows may hold a secret or an address"
    if options.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(
            f"{why}, and there is no terminal to ask on",
            hint="look at the plan with --check, then add --yes: "
            f"`{shlex.join(['models', *sys.argv[1:], '--yes'])}`",
        )
    flush_results()
    if not ask_yes(f"Send these {counted(plan.upload.rows, 'conversation')} to {plan.host}?"):
        raise NotConfirmed("nothing was sent: not confirmed")


def _show_plan(
    project: Project, plan: HostedPlan, options: HostedOptions, would: Next | None
) -> None:
    from modelyard.training.hosted.results import hosted_preview

    for warning in plan.warnings:
        print_warning(warning)
    if options.as_json:
        print_json(hosted_preview(plan, would))
        return
    print_title(f"{plan.dataset.name} → {plan.request.base.name}, tuned at {plan.host}")
    print_pairs(_plan_lines(plan))
    flagged = list(map(str, plan.sensitive))
    if flagged:
        print_text()
        print_text("Look at these before they leave this machine:")
        for line in flagged[:_SHOWN_PLACES]:
            print_text(f"  {line}")
        if len(flagged) > _SHOWN_PLACES:
            print_text(f"  and {len(flagged) - _SHOWN_PLACES:,} more")
    print_text()
    print_text("As it is sent:")
    lines = plan.upload.data.decode().splitlines()
    for line in lines[: options.show or _SHOWN_ROWS]:
        print_text(f"  {line if options.show else _shortened(line)}")
    if would is not None:
        print_text()
        print_text(_WOULD[would].format(folder=f"experiments/{plan.request.experiment}/"))


_WOULD = {
    "start": "would send this, create a job, and record both in {folder} (nothing was sent)",
    "follow": "would go on with the job that {folder} records",
    "nothing": "the job that {folder} records has ended; nothing to do",
}


def _plan_lines(plan: HostedPlan) -> Iterator[tuple[str, str]]:
    request = plan.request
    yield "model", f"{request.base.model} ({request.base.name} in {request.base.environment})"
    yield (
        "leaves",
        f"{counted(plan.upload.rows, 'conversation')}, {len(plan.upload.data):,} bytes: turns and "
        "tools, no other key of a row",
    )
    yield "stays", f"{counted(len(plan.dataset.evaluation), 'evaluation row')}"
    yield "passes", f"{request.epochs} (--set schedule.epochs=N)"
    yield (
        "tokens",
        f"at most {plan.most_tokens:,} (one a byte), about {plan.likely_tokens:,} at four bytes a "
        "token",
    )
    yield "cost", _cost(plan)
    yield "its calls", _cost_of_calls(plan)


def _cost_of_calls(plan: HostedPlan) -> str:
    """What the tuned model will cost, for which the draft needs a price."""
    prices = plan.request.base.tuning.prices
    if prices is None:
        return "unknown: the config has no fine_tuning.prices, so the draft gets no prices"
    cached = prices.cached_input_per_million_usd
    shown = [
        f"{MONEY.show(prices.input_per_million_usd)} in",
        *([] if cached is None else [f"{MONEY.show(cached)} in from the provider's cache"]),
        f"{MONEY.show(prices.output_per_million_usd)} out",
    ]
    return f"{', '.join(shown)}, a million tokens"


def _cost(plan: HostedPlan) -> str:
    if plan.most_cost_usd is None or plan.likely_cost_usd is None:
        return "unknown: the config has no fine_tuning.price_per_million_training_tokens"
    price = MONEY.show(plan.request.base.price_usd or 0.0)
    return (
        f"at most {_dollars(plan.most_cost_usd)}, about {_dollars(plan.likely_cost_usd)} "
        f"(at {price} a million training tokens)"
    )


def _dollars(amount_usd: float) -> str:
    return MONEY.show(round(amount_usd, 2 if amount_usd >= 1 else 4))


def _shortened(line: str) -> str:
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"


def _show_job(project: Project, result: HostedResult, options: HostedOptions) -> None:
    from modelyard.training.hosted.results import hosted_job

    record = result.record
    if options.as_json:
        print_json(hosted_job(result))
        return
    status = visible_line(record.status or "created")
    again = "; nothing to do" if result.already_done else ""
    print_title(f"job {record.job_id or '(none was created)'}: {status}{again}")
    lines = [("record", project.show(result.folder / "hosted.json"))]
    if record.tuned_model is not None:
        lines.append(("model", record.tuned_model))
    if record.cost_usd is not None:
        cost = f"{_dollars(record.cost_usd)} for {record.trained_tokens or 0:,} tokens"
        lines.append(("cost", cost))
    if record.config is not None:
        lines.append(("draft", f"{record.config}  (not deployed)"))
    print_pairs(lines)
    if not record.has_ended and not options.cancel:
        print_text("The same command goes on following it; with --wait SECONDS until it ends.")
