"""Contradictions in the settings of a training; preflight checks them against data and machine."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.meaning import problem, warning
from modelyard.configs.checking.meaning.references import check_reference
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.fine_tuning import FineTuning
from modelyard.configs.reading.references import ConfigReference
from modelyard.core.errors import Diagnostic, InvalidInput
from modelyard.core.layout import check_name


def check(training: FineTuning, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with one training's settings."""
    yield from _check_names(training, view)
    targets = training.lora.targets
    if not targets:
        yield problem(
            ("lora", "targets"),
            "empty",
            "'lora.targets' names no module, so that there is nothing to train",
            hint="write [all-linear]",
        )
    elif "all-linear" in targets and len(targets) > 1:
        yield problem(
            ("lora", "targets"),
            "contradiction",
            "'lora.targets' has all-linear and single modules, which are among them",
            hint="keep one of the two",
        )
    if training.keep.stop_after_worse and training.keep.evaluate_every_steps == "never":
        yield problem(
            ("keep", "stop_after_worse"),
            "contradiction",
            "'keep.stop_after_worse' needs evaluations on the eval split, and "
            "'keep.evaluate_every_steps' is never",
            hint="write `evaluate_every_steps: auto`",
        )
    longest = view.context_of_base(training.base_model)
    if longest is not None and training.data.max_length > longest:
        yield warning(
            ("data", "max_length"),
            "token-limits",
            f"'data.max_length' is {training.data.max_length}, and {training.base_model} was made "
            f"for {longest} tokens",
            hint=f"at most {longest}",
        )


def _check_names(training: FineTuning, view: EnvironmentView) -> Iterator[Diagnostic]:
    for key, kind in {
        "adapter": "adapter",
        "experiment": "experiment",
        "org": "organisation",
    }.items():
        try:
            check_name(getattr(training, key) or "unnamed", kind)
        except InvalidInput as error:
            yield problem((key,), "wrong-form", f"'{key}': {error.message}", hint=error.hint)
    if not view.has_project:
        return
    dataset = training.dataset
    if dataset is not None and "/" not in dataset and "." not in dataset:
        yield from check_reference(ConfigReference(("dataset",), "datasets", dataset), view)
    if training.parent is not None:
        parent = ConfigReference(("parent",), "adapters", training.parent)
        yield from check_reference(parent, view)
