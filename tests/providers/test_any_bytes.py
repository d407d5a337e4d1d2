"""Whatever bytes a server sends, a call ends with an answer or a failure, and with no exception."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from modelyard.providers.call import CallFailure, Reply
from modelyard.providers.open import open_provider
from provider_calls import KEY, Caller, ask
from provider_server import END, Step, chat_events, chunk, event, head, message_events, whole

ROUNDS = 60 * int(os.environ.get("MODELYARD_SOAK", "1"))
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 5, 1.5, 10**400, "", "x", "stop", "\x00", [], [None], [[]], {}),
    {"type": "text"},
    {"content": 5},
    [{"index": 0}],
    {"error": {"code": 400}},
)


def damaged_value(value: Any, chance: random.Random) -> Any:
    """A JSON value with one thing in it replaced, left out, or put somewhere else."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        changed = {**value, key: damaged_value(value[key], chance)}
        if chance.random() < 0.15:
            del changed[key]
        return changed
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], damaged_value(value[place], chance), *value[place + 1 :]]
    return chance.choice(VALUES)


def damaged_event(text: bytes, chance: random.Random) -> bytes:
    name, _, data = text.decode().rpartition("data: ")
    try:
        changed = damaged_value(json.loads(data), chance)
    except ValueError:
        return text
    return f"{name}data: {json.dumps(changed)}\n\n".encode()


def damaged_bytes(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[place] = chance.randrange(256)
            case 1:
                del changed[place : place + chance.randrange(1, 40)]
            case _:
                changed[place:place] = chance.randbytes(chance.randrange(1, 20))
        changed = changed or bytearray(b"x")
    return bytes(changed)


def scripts(events: list[bytes], chance: random.Random) -> list[Step]:
    kind = chance.randrange(4)
    if kind == 0:
        place = chance.randrange(len(events))
        changed = [*events[:place], damaged_event(events[place], chance), *events[place + 1 :]]
        return [head(), *map(chunk, changed), END]
    if kind == 1:
        return [damaged_bytes(b"".join([head(), *map(chunk, events), END]), chance)]
    if kind == 2:
        changed = [chance.choice(events) for _ in events]
        return [head(), *map(chunk, changed), END]
    status = chance.choice(("200 OK", "400 Bad Request", "429 Slow", "500 Oh", "201 Created"))
    value = damaged_value(
        {
            "error": {"message": "m", "code": "c", "type": "t", "innererror": {"code": "x"}},
            "choices": [{"message": {"content": "Ann."}, "finish_reason": "stop"}],
            "content": [{"type": "text", "text": "Ann."}],
            "detail": [{"loc": ["body", "stop"], "msg": "unknown"}],
        },
        chance,
    )
    return whole(status, json.dumps(value).encode())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_any_bytes(caller: Caller, provider: str) -> None:
    build: Callable[..., list[bytes]] = chat_events if provider == "openai" else message_events
    events = [*build("Ann", " led", " it."), event("[DONE]")]
    model = open_provider(caller.settings(provider), caller.project)
    model.client()
    kinds = set()
    for seed in range(ROUNDS):
        caller.server.answer(scripts(events, random.Random(seed)))
        shown: list[str] = []
        result = model.send(ask(temperature=0.5), timeout_s=0.5, on_text=shown.append)
        assert KEY not in repr(result), seed
        if isinstance(result, Reply):
            assert "".join(shown) == result.text, seed
            kinds.add(result.finish)
        else:
            assert isinstance(result, CallFailure) and result.reason.isprintable(), seed
            assert (result.kind == "cut_off") == bool("".join(shown).strip()), seed
            kinds.add(result.kind)
    assert {"stop", "broken", "cut_off", "busy"} <= kinds
