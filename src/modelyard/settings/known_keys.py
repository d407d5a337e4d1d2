"""Every key below a settings class, and which of them was meant by one that is not among them.

People write a key beside the group that it belongs to, or into another group, as often as they
misspell it: `temperature` at the top of a file is `generation.temperature`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, cast, get_args, get_origin

from modelyard.core.errors import KeyPath, dotted, nearest
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import choices_of, unwrap

ANY_NAME = "NAME"
"""Stands in a dotted key for a name that the file chooses."""
ANY_ITEM = "[]"
"""Stands in a dotted key for each item of a list."""

_ALIKE = 0.75
"""How alike a key in another place must be, as difflib measures it: there are many."""
_OTHER_NAMES = {
    name: key
    for key, names in {
        "endpoint": "api_base base_url url",
        "max_output_tokens": "max_completion_tokens max_new_tokens max_tokens num_predict",
        "context_tokens": "context_length context_window max_model_len num_ctx",
        "instructions": "prompt system system_message system_prompt",
        "requests_per_minute": "rpm",
        "tokens_per_minute": "tpm",
        "rank": "lora_r lora_rank r",
        "targets": "lora_target lora_target_modules target_modules",
        "learning_rate": "lr",
        "rows_per_step": "batch_size",
        "epochs": "num_epochs num_train_epochs",
        "warmup_share": "warmup warmup_ratio",
    }.items()
    for name in names.split()
}
"""What other programs call a key."""
_STEP = re.compile(r"\[(\d*)\]|[^.\[\]]+")


def class_below(hint: Any) -> tuple[type | None, str]:
    """The settings class within a type, and what a dotted key appends to reach it."""
    hint = unwrap(hint).hint
    choices, _ = choices_of(hint)
    if len(choices) == 1 and choices[0] is not hint:
        return class_below(choices[0])
    if dataclasses.is_dataclass(hint):
        return cast(type, hint), ""
    if get_origin(hint) is tuple:
        return class_below(get_args(hint)[0])[0], ANY_ITEM
    if get_origin(hint) is Mapping:
        return class_below(get_args(hint)[1])[0], f".{ANY_NAME}"
    return None, ""


@lru_cache
def known_keys(settings: type) -> tuple[KeyPath, ...]:
    """The path of every key below a settings class, with ANY_NAME and ANY_ITEM for steps that the
    file chooses."""
    return tuple(_keys(settings, ()))


def _keys(settings: type, prefix: KeyPath) -> Iterator[KeyPath]:
    for key, field in settings_fields(settings).items():
        path = (*prefix, key)
        yield path
        below, step = class_below(field.hint)
        if below is not None:
            yield from _keys(below, (*path, step.removeprefix(".")) if step else path)


def meant_key(settings: type, path: KeyPath) -> str | None:
    """The dotted key that was meant by `path`, which is none of those below `settings`.

    One of the same name in another group, or of the name that other programs give it; else one of
    a similar name in the same group; else one of a similar name anywhere. Of several, the one whose
    place is the most like that of `path`. ANY_NAME and ANY_ITEM stand in it where `path` does not
    say which name or item.
    """
    *above, last = (*path[:-1], *(split_key(str(path[-1])) or ("",)))
    found = _found(known_keys(settings), above, str(last))
    if not found:
        return None
    best = max(found, key=lambda key: (_shared(key, above), -len(key)))
    shared = _shared(best, above)
    return _shown((*above[:shared], *best[shared:]))


def _found(keys: Sequence[KeyPath], above: Sequence[str | int], last: str) -> list[KeyPath]:
    for name in (last, _OTHER_NAMES.get(last)):
        if same := [key for key in keys if key[-1] == name]:
            return same
    length = len(above) + 1
    beside = [key for key in keys if len(key) == length and _shared(key, above) == length - 1]
    near = nearest(last, sorted({str(key[-1]) for key in beside}))
    if found := [key for key in beside if key[-1] == near]:
        return found
    alike = get_close_matches(last, sorted({str(key[-1]) for key in keys}), 1, _ALIKE)
    if found := [key for key in keys if key[-1] in alike]:
        return found
    path = (*above, last)
    apart = (key for key in keys if key != path[: len(key)] and key not in beside)
    whole = {_shown(key): key for key in apart}
    return [whole[key] for key in get_close_matches(dotted(path), list(whole), 1, _ALIKE)]


def meant_path(settings: type, path: KeyPath) -> KeyPath | None:
    """The same as a path; None also where it leads through a name or an item that is not said."""
    found = meant_key(settings, path)
    steps = split_key(found) if found else None
    return None if not steps or ANY_NAME in steps or ANY_ITEM in steps else steps


def split_key(key: str) -> KeyPath:
    """A dotted key such as `checks[0].rows` as its path; ANY_ITEM where no number is given."""
    return tuple(
        (int(found[1]) if found[1] else ANY_ITEM) if found[0].startswith("[") else found[0]
        for found in _STEP.finditer(key)
    )


def _shared(key: KeyPath, above: Sequence[str | int]) -> int:
    """How many of the first steps of a key lead where those of another path do."""
    for depth, (step, given) in enumerate(zip(key[:-1], above, strict=False)):
        is_item = step == ANY_ITEM and (isinstance(given, int) or given == ANY_ITEM)
        if not (step == given or is_item or (step == ANY_NAME and isinstance(given, str))):
            return depth
    return min(len(key) - 1, len(above))


def _shown(key: KeyPath) -> str:
    return dotted(key).replace(f".{ANY_ITEM}", ANY_ITEM)
