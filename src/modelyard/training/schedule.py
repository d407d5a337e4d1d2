"""How long and how fast to train where the settings say `auto`: by the rows and the base.

The figures were chosen by the comparison in docs/performance.md. A run keeps what was chosen when
it began. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelyard.configs.kinds.fine_tuning import LoraSettings, ScheduleSettings
from modelyard.training.spec import FineTuneSpec

_ROW_PASSES = 1600
"""What a small dataset is trained for: 200 steps of 8 rows."""
_FEWEST_EPOCHS, _MOST_EPOCHS = 2, 10
_FEWEST_ROWS, _MOST_ROWS, _MOST_STEPS = 8, 64, 5000
_RATE, _WIDTH, _SCALE = 2e-3, 576, 32.0
"""The learning rate that was measured, with the base's width and the change's scale there."""
_HIGHEST_RATE = 5e-3

_FORMER_DEFAULTS: Mapping[str, float] = {"epochs": 3, "rows_per_step": 16, "learning_rate": 2e-4}
"""The defaults of the settings that are `auto` now, in runs that began before 2026-12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSchedule:
    """How long and how fast a run trains, in numbers."""

    epochs: float
    """Passes over the training rows."""
    rows_per_step: int
    """Training rows in each optimizer step."""
    learning_rate: float
    """Peak learning rate."""


def choose_schedule(
    schedule: ScheduleSettings, lora: LoraSettings, *, rows: int, width: int
) -> ChosenSchedule:
    """The schedule's numbers: those that are set, and a choice for each `auto`.

    rows: training rows.  width: the base's hidden size.
    """
    epochs = _choose_epochs(rows) if schedule.epochs == "auto" else schedule.epochs
    return ChosenSchedule(
        epochs=epochs,
        rows_per_step=_choose_rows_per_step(rows * epochs)
        if schedule.rows_per_step == "auto"
        else schedule.rows_per_step,
        learning_rate=_choose_rate(lora, width)
        if schedule.learning_rate == "auto"
        else schedule.learning_rate,
    )


def _choose_epochs(rows: int) -> float:
    """Two passes, and more over few rows, so that there are enough steps to learn anything."""
    return float(min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_ROW_PASSES / rows))))


def _choose_rows_per_step(row_passes: float) -> int:
    """Few rows a step, doubled while that would make a great many steps."""
    rows = _FEWEST_ROWS
    while rows < _MOST_ROWS and row_passes / rows > _MOST_STEPS:
        rows *= 2
    return rows


def _choose_rate(lora: LoraSettings, width: int) -> float:
    """The measured rate, in proportion to 1 / width and to 1 / the scale of the change.

    With AdamW, a step changes B A x by about rate * scaling * rank, which is `alpha` for plain
    LoRA, so the best rate does not depend on the rank. Source: Schulman et al. 2025, LoRA Without
    Regret, https://thinkingmachines.ai/blog/lora/; their fit for wider bases (4.9e-4 at 2,048,
    2.9e-4 at 4,096) is near what 1 / width gives (5.6e-4 and 2.8e-4).
    """
    scale = lora.alpha * (lora.rank**0.5 if lora.rslora else 1.0)
    rate = min(_HIGHEST_RATE, _RATE * _WIDTH / width * _SCALE / scale)
    return float(f"{rate:.2g}")


def set_numbers(spec: FineTuneSpec, chosen: ChosenSchedule) -> FineTuneSpec:
    """The spec with the numbers that were chosen in place of `auto`."""
    return replace(spec, schedule=replace(spec.schedule, **asdict(chosen)))


def keep_former_defaults(spec: FineTuneSpec, recorded: Mapping[str, Any]) -> FineTuneSpec:
    """The spec of a run that goes on: what was a default when it began, where it says `auto` now.

    recorded: the settings in the run's record, flat.
    """
    kept: dict[str, Any] = {
        name: former
        for name, former in _FORMER_DEFAULTS.items()
        if getattr(spec.schedule, name) == "auto" and recorded.get(f"schedule.{name}") == former
    }
    return replace(spec, schedule=replace(spec.schedule, **kept))
