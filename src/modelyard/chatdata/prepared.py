"""What prepare-data made: the account of it, and the card's text for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import EVALUATION_FILE, TRAIN_FILE
from modelyard.chatdata.duplicates import Pair
from modelyard.chatdata.sensitive import Finding
from modelyard.core.errors import Diagnostic
from modelyard.core.visible import visible_text

_LISTED = 50
_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackUse:
    """Which recorded feedback a dataset is made of."""

    rows: int
    """How many rows of feedback."""
    new_rows: int
    """How many of them it uses for the first time."""
    first_id: int
    """The oldest."""
    last_id: int
    """The newest."""

    def __str__(self) -> str:
        if self.rows == 1:
            return f"1 row, id {self.first_id}"
        return f"{self.rows:,} rows, ids {self.first_id} to {self.last_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedData:
    """What prepare-data made, or would make; `--json` prints it."""

    name: str
    """The dataset's name: its folder's."""
    folder: str
    """Where it lies."""
    unchanged: bool
    """Whether nothing had to be done: same sources, same options, files as they were written."""
    train_rows: int
    """Rows to learn from."""
    evaluation_rows: int
    """Rows to judge with."""
    fingerprint: str
    """The fingerprint of the rows."""
    removed_duplicates: int = 0
    """Rows left out because an earlier row is equal."""
    dropped_sensitive: int = 0
    """Rows left out because they hold a secret or an e-mail address."""
    near_duplicates: tuple[Pair, ...] = ()
    """Evaluation rows whose question is nearly one of train's."""
    flagged: tuple[Finding, ...] = ()
    """Secrets and e-mail addresses in the rows that were kept."""
    bad_rows: tuple[Diagnostic, ...] = ()
    """Rows left out because they are not valid, and why."""
    feedback: FeedbackUse | None = None
    """The feedback that it is made of; None for files."""


def render_body(result: PreparedData, train: Sequence[Conversation], org: str | None) -> str:
    """The page below the front matter; samples leave out rows that were flagged."""
    flagged = {finding.source for finding in result.flagged}
    harmless = [row for row in train if row.source not in flagged]
    sections = [
        f"# {result.name}",
        f"{result.train_rows:,} conversations to learn from in `{TRAIN_FILE}`, and "
        f"{result.evaluation_rows:,} kept back to judge with in `{EVALUATION_FILE}`. "
        "`models prepare-data` wrote this page and replaces it when it runs again.",
        _origin(result.feedback, org),
        f"Train on it:\n\n    models fine-tune --dataset {result.name}",
        "## Samples\n\n" + "\n\n".join(map(_sample, harmless[:_SAMPLES])),
        _listing("Near-duplicates between train and eval", list(map(str, result.near_duplicates))),
        _listing("Secrets and e-mail addresses", list(map(str, result.flagged))),
        _listing("Bad rows, left out", list(map(str, result.bad_rows))),
    ]
    return visible_text("\n\n".join(section for section in sections if section))


def _origin(feedback: FeedbackUse | None, org: str | None) -> str:
    if feedback is None:
        return ""
    whose = f"organisation {org}" if org else "no organisation"
    return (
        f"They come from recorded feedback of {whose} ({feedback}): the correction where there is "
        "one, else the answer that was rated good. `models feedback list` shows what was said."
    )


def _sample(row: Conversation) -> str:
    turns = (f"**{turn.role}:** {_shortened(turn.content)}" for turn in row.messages)
    return "> " + "\n>\n> ".join(turns)


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 300 else f"{flat[:299]}…"


def _listing(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = [f"- {line}" for line in lines[:_LISTED]]
    if len(lines) > _LISTED:
        shown.append(f"- and {len(lines) - _LISTED:,} more")
    return f"## {title}\n\n" + "\n".join(shown)
