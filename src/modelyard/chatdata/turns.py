"""The turns of a row, under the names that other tools give them, into checked `Message`s.

Knows roles, parts of a content, calls of tools, and marks that leave a turn out of the training.
Every key of a turn is used, kept for the chat template, or refused; does not know rows or tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.chatdata.call_results import order_results
from modelyard.chatdata.columns import BadRow
from modelyard.chatdata.content_parts import NO_MEDIA, WrongTurn, read_parts
from modelyard.chatdata.conversation import Message
from modelyard.chatdata.json_values import (
    NotJson,
    is_absent,
    is_null,
    is_text,
    kind_of,
    parse_json,
    plain_value,
)
from modelyard.core.errors import did_you_mean

ROLES = ("system", "user", "assistant", "tool")
_CALL = "call"
_ROLE_NAMES = {
    name: role
    for role, names in {
        "system": "system developer",
        "user": "user human prompter",
        "assistant": "assistant gpt chatgpt bing bard model bot chatbot ai",
        "tool": "tool function observation ipython tool_result tool_response function_response",
        _CALL: "function_call tool_call",
    }.items()
    for name in names.split()
}
"""What other tools call the roles, in lower case; a call of tools is a turn of its own for some."""
_ARGUMENTS = ("arguments", "parameters", "input", "args")
"""What a call's arguments are called, the most usual name first."""
_NAMED_ROLES = ("system", "user", "assistant", "tool", "developer", "human", "gpt", "function_call")

TRAIN_FLAGS = (
    *("train", "training", "trainable", "train_on"),
    *("loss", "weight", "loss_weight", "loss_scale", "loss_mask"),
)
"""Keys with which other tools say whether a turn is trained, and with what weight."""
_LEFT_OUT_FLAGS = ("mask", "masked", "is_masked", "no_train")
"""Keys with which they say that it is not."""
_PARTS_TRAINED = ("train_detail", "training_detail")
_END_FLAGS = ("eot", "end_turn")
"""Keys that are false where a turn goes on in the next one."""
MEDIA_KEYS = (
    *("image", "images", "image_path", "image_paths", "image_url", "pixel_values"),
    *("video", "videos", "video_path", "audio", "audios", "audio_path"),
)
PREFERENCE_KEYS = (
    "chosen",
    "rejected",
    "chosen_response",
    "rejected_response",
    "chosen_messages",
    "rejected_messages",
    "preferred_output",
    "non_preferred_output",
    "kto_tag",
)
NO_PREFERENCES = (
    "preference data: this command trains on good answers; it has no DPO, KTO or reward model"
)
MEDIA_MARK = re.compile(
    r"<(?:image|video|audio)>|<\|(?:image|video|audio)(?:_\d+)?\|>", re.IGNORECASE
)
"""What stands for a picture where a text begins or ends; within one it may be an element of XML."""
_MEDIA_WITHIN = re.compile(
    r"<img>[^<>]+</img>|!\[[^\]]*\]\(data:(?:image|video|audio)/[^)]{0,20}", re.IGNORECASE
)
"""A picture wherever it stands: Qwen-VL's mark, which is no HTML, and one in Markdown."""

_SHOWN_FLAG = 40
"""Characters of a wrong flag that a message shows."""

RENDERED_KEYS = (
    *("tool_calls", "reasoning_content", "reasoning", "thinking", "thought"),
    *("tool_plan", "channel", "recipient", "name"),
)
"""Keys of a turn that change its meaning, so a chat template must render them."""
LINKING_KEYS = ("tool_call_id", "name")
"""Keys that say which call a tool answers; many templates need no words for that."""


def build_messages(turns: Sequence[Any]) -> tuple[Message, ...]:
    """Checked turns. Raises BadRow with everything that is wrong with them."""
    messages: list[Message] = []
    wrong: list[str] = []
    for number, turn in enumerate(turns, start=1):
        try:
            messages.append(_build_message(turn))
        except WrongTurn as problem:
            wrong.append(f"message {number}: {problem}")
    wrong = wrong or _wrong_order(messages)
    if wrong:
        raise BadRow(*wrong)
    return order_results(messages)


def _build_message(turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise WrongTurn(f"must be an object with role and content, not {kind_of(turn)}")
    # A table has every key in every turn.
    keys = {str(key): value for key, value in turn.items() if not is_null(value)}
    speaker = keys.pop("role", None) if "role" in keys else keys.pop("from", None)
    role = _role(speaker)
    content = keys.pop("content", None) if "content" in keys else keys.pop("value", None)
    _refuse_keys(keys)
    if isinstance(content, (list, tuple)):
        content = _of_parts(content, keys)
    trained = _is_trained(keys, role)
    calls = _tool_calls(keys, role)
    if role == _CALL:
        role, calls, content = "assistant", _calls_of_text(content), ""
    if calls:
        keys["tool_calls"] = calls
    text = _content(content, empty_allowed=bool(calls) or role == "tool")
    more = {key: plain_value(value) for key, value in keys.items() if value not in ([], {})}
    if more and "\\u0000" in json.dumps(more):
        raise WrongTurn("holds a NUL character")
    return Message(role, text, more, trained)


def _of_parts(parts: Sequence[Any], keys: dict[str, Any]) -> str:
    """The text of a content in parts; its reasoning and calls become keys of the turn."""
    found = read_parts(parts)
    beside = (("reasoning_content", found.reasoning), ("tool_calls", list(found.calls)))
    for key, value in beside:
        if value and not is_absent(keys.get(key)):
            raise WrongTurn(f"has '{key}', and the same as a part of its content")
        if value:
            keys[key] = value
    return found.text


def _role(speaker: Any) -> str:
    if speaker is None:
        raise WrongTurn("'role' is missing")
    role = role_called(speaker) if isinstance(speaker, str) else None
    if role is None:
        near = did_you_mean(str(speaker), _NAMED_ROLES)
        raise WrongTurn(f"unknown role {speaker!r}{near}; accepted are {', '.join(ROLES)}")
    return role


def role_called(name: str) -> str | None:
    """The role that another tool calls so, in any case; None for none of them."""
    return _ROLE_NAMES.get(name.strip().lower())


def _refuse_keys(keys: Mapping[str, Any]) -> None:
    for key, value in keys.items():
        if is_absent(value):
            continue
        if key in MEDIA_KEYS:
            raise WrongTurn(f"holds '{key}': {NO_MEDIA}")
        if key in PREFERENCE_KEYS:
            raise WrongTurn(f"holds '{key}', so it is {NO_PREFERENCES}")
        if key in _PARTS_TRAINED:
            raise WrongTurn(f"'{key}' asks to train parts of a turn; a turn is trained whole")
        if key in _END_FLAGS and read_flag(value) is False:
            raise WrongTurn(
                f"'{key}' says that the turn goes on; every answer is trained to its end"
            )
        if key == "refusal":
            raise WrongTurn("holds 'refusal', and only 'content' is the answer: put its text there")


def _is_trained(keys: dict[str, Any], role: str) -> bool:
    """Whether the turn's flags leave it in the training; takes them out of `keys`."""
    given = {key: keys.pop(key) for key in (*TRAIN_FLAGS, *_LEFT_OUT_FLAGS) if key in keys}
    asked = {key: read_flag(value) for key, value in given.items()}
    for key, value in given.items():
        if asked[key] is None:
            raise WrongTurn(wrong_flag(key, value))
        if key in _LEFT_OUT_FLAGS:
            asked[key] = not asked[key]
    if len(set(asked.values())) > 1:
        raise WrongTurn(f"{' and '.join(map(repr, asked))} contradict each other")
    if role in ("assistant", _CALL):
        return False not in asked.values()
    if any(asked.values()):
        raise WrongTurn(
            f"'{next(iter(asked))}' asks to train a turn of the {role}; only answers are"
        )
    return True


def read_flag(value: Any) -> bool | None:
    """Whether the value of a key such as `train` or `weight` means to train; None for neither."""
    text = str(value).strip().lower()
    return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
        text
    )


def wrong_flag(key: str, value: Any) -> str:
    """The message about a flag that is neither."""
    given = repr(value) if isinstance(value, (int, float)) else kind_of(value)
    if isinstance(value, str) and len(value) <= _SHOWN_FLAG:
        given = repr(value)
    return f"'{key}' is {given}: an answer is trained (1) or not (0), with no weight in between"


def _tool_calls(keys: dict[str, Any], role: str) -> list[Any]:
    """The calls of a turn in the form that templates read; takes them out of `keys`."""
    given = [(key, keys.pop(key)) for key in ("tool_calls", "function_call") if key in keys]
    present = [(key, value) for key, value in given if not is_absent(value)]
    if not present:
        return []
    key, value = present[0]
    if len(present) > 1:
        raise WrongTurn("has both 'tool_calls' and 'function_call'")
    if role != "assistant":
        raise WrongTurn(f"'{key}' belongs to a turn of the assistant, not of the {role}")
    return _calls(value, f"'{key}'")


def _calls_of_text(content: Any) -> list[Any]:
    """The calls that a turn of the role `function_call` holds as its text."""
    if not isinstance(content, str):
        raise WrongTurn(f"a call of a tool must be JSON text, not {kind_of(content)}")
    return _calls(content, "the call")


def _calls(value: Any, what: str) -> list[Any]:
    if isinstance(value, str):
        value = _parsed(value, what)
    calls = value if isinstance(value, (list, tuple)) else [value]
    return [_call(call, what) for call in calls]


def _call(call: Any, what: str) -> dict[str, Any]:
    """One call as `{"type": "function", "function": {"name", "arguments"}}`, with its id."""
    if isinstance(call, str):
        call = _parsed(call, what)
    flat = isinstance(call, Mapping) and "function" not in call and "name" in call
    function = call if flat else call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise WrongTurn(f'{what} must hold {{"name": ..., "arguments": {{...}}}} for each call')
    arguments = next((function[key] for key in _ARGUMENTS if key in function), None)
    if isinstance(arguments, str):
        # OpenAI writes them as JSON text, and templates would put quotes around that.
        arguments = (
            _parsed(arguments, "the text of a call's arguments") if arguments.strip() else {}
        )
    if not isinstance(arguments or {}, Mapping):
        raise WrongTurn(f"the arguments of a call must be an object, not {kind_of(arguments)}")
    own = ("id", "type") if flat else tuple(call)
    other = {key: call[key] for key in own if call.get(key) is not None}
    named = {"name": function["name"], "arguments": arguments or {}}
    return {"type": "function", **other, "function": named}


def _parsed(text: str, what: str) -> Any:
    try:
        return parse_json(text)
    except NotJson as error:
        raise WrongTurn(f"{what} {error}") from None


def _content(content: Any, *, empty_allowed: bool) -> str:
    if content is None and not empty_allowed:
        raise WrongTurn("'content' is missing")
    text = "" if content is None else content
    if not isinstance(text, str):
        raise WrongTurn(f"content must be text, not {kind_of(text)}")
    if not text.strip() and not empty_allowed:
        raise WrongTurn("content is empty")
    if "\0" in text:
        raise WrongTurn("content holds a NUL character")
    if not is_text(text):
        raise WrongTurn("content is not valid text (half of a surrogate pair)")
    if mark := _media_mark(text):
        raise WrongTurn(f"content holds '{mark}', which stands for what is no text: {NO_MEDIA}")
    return text


def _media_mark(text: str) -> str | None:
    """What stands for a picture, sound or film in a text; None where it may be mere text."""
    bare = text.strip()
    for mark in MEDIA_MARK.finditer(bare):
        if mark.start() == 0 or mark.end() == len(bare):
            return mark[0]
    found = _MEDIA_WITHIN.search(bare)
    return found[0] if found else None


def _wrong_order(messages: Sequence[Message]) -> list[str]:
    """What is wrong with who speaks after whom; a list of one text, or none."""
    roles = [message.role for message in messages]
    if "assistant" not in roles:
        return ["the assistant's turn is missing, so there is nothing to train on"]
    if "system" in roles[1:]:
        return [f"message {roles.index('system', 1) + 1}: a system message may only come first"]
    first = 1 if roles[0] == "system" else 0
    if roles[first] == "assistant":
        return [
            f"message {first + 1}: the conversation begins with the assistant's turn, so it is no "
            "answer to anything"
        ]
    expected: tuple[str, ...] = ("user",)
    for index in range(first, len(roles)):
        role = roles[index]
        if role not in expected:
            return [f"message {index + 1}: expected the {expected[0]}'s turn, found the {role}'s"]
        expected = _next_roles(messages[index])
    if roles[-1] != "assistant":
        return [f"the last message must be the assistant's: the {roles[-1]}'s turn has no answer"]
    if not any(turn.trained for turn in messages if turn.role == "assistant"):
        return ["no answer is trained: each has a key such as 'train' or 'weight' that says so"]
    return []


def _next_roles(message: Message) -> tuple[str, ...]:
    if message.role == "user":
        return ("assistant",)
    if message.role == "tool":
        return ("assistant", "tool")
    return ("tool",) if "tool_calls" in message.more else ("user", "tool")
