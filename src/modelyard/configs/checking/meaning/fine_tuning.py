"""What the settings of a training cannot mean; what only data and machine show, preflight says."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.meaning.mistake import Mistake, warning
from modelyard.configs.checking.meaning.references import check_adapter, check_dataset
from modelyard.configs.checking.scene import Scene
from modelyard.configs.kinds.fine_tuning import FineTuning
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import check_name


def check(training: FineTuning, name: str, scene: Scene) -> Iterator[Mistake]:
    """Everything that is wrong with one training's settings."""
    yield from _check_names(training, scene)
    targets = training.lora.targets
    if not targets:
        yield Mistake(
            ("lora", "targets"),
            "empty",
            "'lora.targets' names no module, so that there is nothing to train",
            hint="write [all-linear]",
        )
    elif "all-linear" in targets and len(targets) > 1:
        yield Mistake(
            ("lora", "targets"),
            "contradiction",
            "'lora.targets' has all-linear and single modules, which are among them",
            hint="keep one of the two",
        )
    if training.keep.stop_after_worse and training.keep.evaluate_every_steps == "never":
        yield Mistake(
            ("keep", "stop_after_worse"),
            "contradiction",
            "'keep.stop_after_worse' needs looks at the eval split, and "
            "'keep.evaluate_every_steps' is never",
            hint="write `evaluate_every_steps: auto`",
        )
    if scene.has_project:
        yield from _check_length(training, scene)


def _check_names(training: FineTuning, scene: Scene) -> Iterator[Mistake]:
    for key, kind in (
        ("adapter", "adapter"),
        ("experiment", "experiment"),
        ("org", "organisation"),
    ):
        try:
            check_name(getattr(training, key) or "unnamed", kind)
        except InvalidInput as error:
            yield Mistake((key,), "wrong-form", f"'{key}': {error.message}", hint=error.hint)
    if not scene.has_project:
        return
    dataset = training.dataset
    if dataset is not None and "/" not in dataset and "." not in dataset:
        yield from check_dataset(("dataset",), dataset, scene)
    if training.parent is not None:
        yield from check_adapter(("parent",), training.parent, scene)


def _check_length(training: FineTuning, scene: Scene) -> Iterator[Mistake]:
    from modelyard.weights.catalogue import find_base

    try:
        longest = find_base(scene.project, training.base_model).context_length
    except ModelyardError:
        return  # said by the check of references, or by `models base list`
    if training.data.max_length > longest:
        yield warning(
            ("data", "max_length"),
            "token-limits",
            f"'data.max_length' is {training.data.max_length}, and {training.base_model} was made "
            f"for {longest} tokens",
            hint=f"at most {longest}",
        )
