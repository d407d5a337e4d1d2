"""What one model makes of a request: as many draws as are wanted, their form, and one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelyard.answering.calls import AskedModel, Calls, draw_together
from modelyard.answering.json_answers import (
    is_exact,
    json_text,
    problem,
    repair_messages,
)
from modelyard.answering.majority import choose
from modelyard.answering.request import LeftOut
from modelyard.providers.call import Call, CallFailure, Finish, OnText, Reply, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """An answer of a model."""

    text: str
    """It; of JSON without the fence around it."""
    finish: Finish
    """Why it ended."""
    stop_sequence: str | None = None
    """The text that ended it, where one did."""
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model wants called."""
    samples: int = 1
    """Answers that it was chosen from."""
    agreed: int = 1
    """How many of them are the same, normalised."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDrawn:
    """Why a model gave no answer."""

    failures: tuple[CallFailure, ...] = ()
    """Of its calls; none where no call was made, or where its answers are of the wrong form."""
    left_out: LeftOut | None = None
    """Why no call was made."""


def draw_answer(
    calls: Calls,
    asked: AskedModel,
    call: Call,
    *,
    samples: int,
    schema: Mapping[str, Any] | None,
    holds: bool,
    repairing: AskedModel | None,
    on_text: OnText | None,
) -> Drawn | NotDrawn:
    """Draw answers at once, and make one of those that came.

    schema: of the JSON that the answer must be, empty for any; None: it may be text.
    holds: whether the model can write nothing else, as far as it comes.
    repairing: the model as it is called to repair JSON, once; None: it is not to be.
    on_text: is given the pieces of the only draw as they come, of a text or of what nothing can
        take back, and any other answer whole.
    """
    first = len(calls.attempts)
    is_direct = samples == 1 and (schema is None or (holds and is_exact(schema)))
    made = draw_together(
        lambda number: calls.draw(
            asked, _with_own_seed(call, number), on_text=on_text if is_direct else None
        ),
        samples,
    )
    replies = [each for each in made if isinstance(each, Reply)]
    if not replies:
        return _not_drawn(made)
    answered = [reply for reply in replies if reply.finish != "refused"]
    if not answered:
        return Drawn(text=replies[0].text, finish="refused", notes=_notes(asked, made, replies))
    whole = [reply for reply in answered if reply.finish != "length"]
    if holds and not whole:
        if not is_direct and on_text is not None:
            on_text(answered[0].text)
        return Drawn(text=answered[0].text, finish="length", notes=_notes(asked, made, replies))
    if schema is not None and not is_direct:
        answered = whole if holds else answered
        answered, missed = _of_the_schema(calls, schema, call, answered, repairing)
        if not answered:
            _mark_missed(calls, first, missed)
            return NotDrawn()
    chosen, agreed = choose([reply.text for reply in answered])
    text = answered[chosen].text if schema is None else json_text(answered[chosen].text)
    if not is_direct and on_text is not None:
        on_text(text)
    return Drawn(
        text=text,
        finish=answered[chosen].finish,
        stop_sequence=answered[chosen].stop_sequence,
        tool_calls=answered[chosen].tool_calls,
        samples=len(answered),
        agreed=agreed,
        notes=_notes(asked, made, replies),
    )


def _not_drawn(made: Sequence[Reply | CallFailure | LeftOut]) -> NotDrawn:
    failures = tuple(each for each in made if isinstance(each, CallFailure))
    left_out = next((each for each in made if isinstance(each, LeftOut)), None)
    return NotDrawn(failures=failures, left_out=None if failures else left_out)


def _notes(
    asked: AskedModel, made: Sequence[Reply | CallFailure | LeftOut], replies: Sequence[Reply]
) -> tuple[str, ...]:
    notes = []
    if len(replies) < len(made):
        notes.append(f"{len(replies)} of {len(made)} answers were drawn by {asked.name}")
    if not_taken := sorted({name for reply in replies for name in reply.not_taken}):
        notes.append(f"{asked.name} takes no {', '.join(not_taken)}")
    return tuple(notes)


def _of_the_schema(
    calls: Calls,
    schema: Mapping[str, Any],
    call: Call,
    replies: Sequence[Reply],
    repairing: AskedModel | None,
) -> tuple[list[Reply], str]:
    """The replies that are JSON of the schema; where none is, the first one repaired.

    Returns with them what is wrong with the last one where there are none.
    """
    problems = [problem(reply.text, schema) for reply in replies]
    good = [reply for reply, found in zip(replies, problems, strict=True) if found is None]
    if good or repairing is None or problems[0] is None:
        return good, problems[0] or ""
    messages = repair_messages(call.messages, replies[0].text, problems[0], schema)
    repaired = calls.draw(repairing, replace(call, messages=messages), on_text=None)
    if not isinstance(repaired, Reply):
        return [], problems[0]
    found = problem(repaired.text, schema)
    return ([repaired], "") if found is None else ([], found)


def _mark_missed(calls: Calls, first: int, missed: str) -> None:
    """Say of the answers since `first` that they are not of the form that is wanted."""
    for place, attempt in enumerate(calls.attempts[first:], first):
        if attempt.outcome == "answered":
            reason = f"its answer is no JSON that meets the schema ({missed})"
            calls.attempts[place] = replace(attempt, outcome="missed_schema", reason=reason)


def _with_own_seed(call: Call, number: int) -> Call:
    """The call of one draw of several: with a seed of its own, where one is set."""
    seed = call.generation.seed
    if seed is None or number == 0:
        return call
    return replace(call, generation=replace(call.generation, seed=(seed + number) % 2**31))
