"""What a person should know of how a run is set up and how it went, a line each.

None of it stops a run. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.wording import counted

_FEW_EVALUATION_ROWS = 10
"""Below it, one row more or less changes the verdict."""
_FEW_STEPS = 20
"""In a run of so few, a step that changes nothing is a notable share."""
_ZERO_LOSS = 0.0005
"""Below it, a loss is shown as 0.000."""
ZERO_STEPS = 20
"""Steps after which a loss of zero is spoken of."""


def planned_cautions(*, evaluation_rows: int, steps: int, warmup_steps: int) -> list[str]:
    """What can be said before a run: of its evaluation and of its first step."""
    lines = []
    if 0 < evaluation_rows < _FEW_EVALUATION_ROWS:
        lines.append(
            f"{counted(evaluation_rows, 'evaluation row')}: too few to tell by whether the adapter "
            f"is better than its base; take {_FEW_EVALUATION_ROWS} or more"
        )
    if warmup_steps and steps <= _FEW_STEPS:
        lines.append(
            f"step 1 of {steps} changes nothing: the warm-up begins with a learning rate of 0; "
            "without one (schedule.warmup_share 0) each step trains"
        )
    return lines


def course_cautions(metrics: Sequence[Mapping[str, Any]], *, evaluation_rows: int) -> list[str]:
    """What can be said after a run, of its figures in metrics.jsonl too."""
    rates = [(row["step"], row["learning_rate"]) for row in metrics if "learning_rate" in row]
    begun_at_zero = bool(rates) and rates[0] == (1, 0)
    lines = planned_cautions(
        evaluation_rows=evaluation_rows,
        steps=rates[-1][0] if rates else 0,
        warmup_steps=int(begun_at_zero),
    )
    zero_loss = zero_loss_caution(metrics)
    return [*lines, zero_loss] if zero_loss else lines


def zero_loss_caution(metrics: Sequence[Mapping[str, Any]]) -> str | None:
    """Whether the loss was zero in all of the last logged steps; `metrics` as in metrics.jsonl."""
    losses = [(row["step"], row["loss"]) for row in metrics if _is_number(row.get("loss"))]
    zero_from = len(losses)
    while zero_from and losses[zero_from - 1][1] < _ZERO_LOSS:
        zero_from -= 1
    if zero_from == len(losses):
        return None
    first, last = losses[zero_from][0], losses[-1][0]
    if last - first + 1 < ZERO_STEPS:
        return None
    return (
        f"the loss was 0.000 from step {first} to step {last}: these steps taught nothing more; "
        "train fewer epochs, or look for rows that are alike"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
