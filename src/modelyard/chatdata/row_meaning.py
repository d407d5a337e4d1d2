"""What the keys of a row mean in other tools and cannot mean here: each a reason to refuse it.

Knows keys beside the turns; does not know turns or formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.chatdata.content_parts import NO_MEDIA
from modelyard.chatdata.json_values import is_absent
from modelyard.chatdata.turns import (
    MEDIA_KEYS,
    NO_PREFERENCES,
    PREFERENCE_KEYS,
    read_flag,
    role_called,
    wrong_flag,
)

TEMPLATE_KEY = "chat_template_kwargs"
"""The key of what a row gives to the chat template."""
ROW_FLAGS = ("train", "weight", "loss_weight", "loss_scale", "sample_weight")
"""Keys with which other tools say whether a row is trained, and with what weight."""
_TRAINED = ("loss", "training", "trainable", "train_on", "calculate_loss", "compute_loss")
"""Keys that say the same as true or false; a number of that name is a figure."""
_TURN_WEIGHTS = ("weights", "loss_weights")
_TOKEN_MASKS = (
    *("completion_mask", "assistant_mask", "assistant_masks"),
    *("loss_mask", "labels", "mask"),
)
_TOKEN_IDS = ("input_ids", "token_ids")
_TURNS = ("messages", "conversations")
_SEVERAL_ANSWERS = ("output", "completion", "completions", "response", "responses")
_VARIABLES = ("enable_thinking", "reasoning_effort")


def changes_of_meaning(row: Mapping[str, Any]) -> list[str]:
    """What keys of a row mean elsewhere that cannot be kept here, a text each."""
    present = {key: value for key, value in row.items() if not is_absent(value)}
    wrong = [f"holds '{key}': {NO_MEDIA}" for key in MEDIA_KEYS if key in present]
    preferences = [key for key in PREFERENCE_KEYS if key in present]
    preferences += ["label"] if isinstance(row.get("label"), bool) else []
    if preferences:
        named = " and ".join(f"'{key}'" for key in preferences)
        wrong.append(f"holds {named}, so it is {NO_PREFERENCES}")
    if not preferences and (key := _several_answers(present)):
        wrong.append(
            f"'{key}' holds several answers to one question, so the row is {NO_PREFERENCES}"
        )
        return wrong
    if key := _token_ids(present):
        wrong.append(f"holds '{key}': rows of token ids are not read; prepare the texts instead")
        return wrong
    wrong += [
        f"'{key}' says which tokens are trained; here a turn is trained or not, by its key 'train'"
        for key in _TOKEN_MASKS
        if isinstance(present.get(key), (list, tuple))
    ]
    wrong += [
        f"'{key}' says with what weight each turn is trained; give the turns 'weight', 0 or 1"
        for key in _TURN_WEIGHTS
        if isinstance(present.get(key), (list, tuple))
    ]
    if present.get("mask_history"):
        wrong.append(
            "'mask_history' asks to train the last answer only; give the others 'train': false"
        )
    wrong += _of_rendering(present)
    asked = {key: read_flag(row[key]) for key in ROW_FLAGS if key in present}
    wrong += [wrong_flag(key, row[key]) for key, flag in asked.items() if flag is None]
    wrong += [
        f"'{key}' says not to train on this row; leave it out of the file"
        for key, flag in asked.items()
        if flag is False
    ]
    wrong += [
        f"'{key}' says not to train on this row; leave it out of the file"
        for key in _TRAINED
        if isinstance(present.get(key), (bool, str)) and read_flag(present[key]) is False
    ]
    return wrong


def _several_answers(present: Mapping[str, Any]) -> str | None:
    """The key of a list of texts where one answer belongs: they are ranked or scored elsewhere."""
    if any(key in present for key in _TURNS):
        return None
    for key in _SEVERAL_ANSWERS:
        texts = present.get(key)
        if not isinstance(texts, (list, tuple)) or len(texts) < 2:
            continue
        if all(isinstance(text, str) for text in texts):
            return key
    return None


def _token_ids(present: Mapping[str, Any]) -> str | None:
    """The key of token ids that stand in place of texts."""
    if any(key in present for key in (*_TURNS, "prompt", "instruction")):
        return None
    return next((key for key in _TOKEN_IDS if key in present), None)


def _of_rendering(present: Mapping[str, Any]) -> list[str]:
    """What is wrong with keys that say how turns are rendered, or whose are trained."""
    wrong = []
    if present.get("documents"):
        wrong.append("holds 'documents', which answers rest on; write them into the turns")
    wrong += [
        f"'{key}' is a variable of the chat template; put it into '{TEMPLATE_KEY}'"
        for key in _VARIABLES
        if key in present
    ]
    if present.get("continue_final_message") is True:
        wrong.append(
            "'continue_final_message' says that the last answer goes on; it is trained to its end"
        )
    masked = present.get("mask")  # NeMo names the role that is not trained
    if isinstance(masked, str) and role_called(masked) == "assistant":
        wrong.append(f"'mask' says not to train the turns of '{masked}'; give them 'train': false")
    return wrong
