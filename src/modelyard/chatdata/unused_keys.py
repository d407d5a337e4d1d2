"""Keys of rows and messages that are kept in a dataset, and neither trained on nor evaluated.

Knows which keys are read; does not know formats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.turns import LINKING_KEYS, RENDERED_KEYS
from modelyard.core.wording import counted

EVALUATED_KEYS = ("expect", "label", "group", "fact")
"""Keys beside the turns that evaluation and continued training read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedKey:
    """A key that rows have and nothing reads; it is kept in the dataset."""

    key: str
    """Its name."""
    rows: int
    """How many rows have it."""
    in_messages: bool
    """Whether it is a key of messages, and not of the row."""

    @classmethod
    def at(cls, path: str, rows: int) -> UnusedKey:
        """The key at a path such as `source_id` or `messages.id`."""
        key = path.removeprefix("messages.")
        return cls(key=key, rows=rows, in_messages=key != path)

    @property
    def path(self) -> str:
        """Where the key is in a row: `source_id`, or `messages.id`."""
        return f"messages.{self.key}" if self.in_messages else self.key

    def __str__(self) -> str:
        place = "message key" if self.in_messages else "key"
        return f"{place} `{self.key}`, in {counted(self.rows, 'row')}"


def find_unused_keys(conversations: Iterable[Conversation]) -> list[UnusedKey]:
    """The keys that are kept and neither trained nor evaluated, the most frequent first."""
    found: Counter[tuple[str, bool]] = Counter()
    known = {*RENDERED_KEYS, *LINKING_KEYS}
    for row in conversations:
        found.update((key, False) for key in row.fields if key not in EVALUATED_KEYS)
        found.update(
            {(key, True) for turn in row.messages for key in turn.more if key not in known}
        )
    return [
        UnusedKey(key=key, rows=rows, in_messages=in_messages)
        for (key, in_messages), rows in found.most_common()
    ]
