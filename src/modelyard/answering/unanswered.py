"""Why a request has no answer, in the class of error that says it to a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.answering.input_size import InputSize
from modelyard.answering.request import (
    AnswerFailed,
    Attempt,
    BrokenModel,
    ContextTooLong,
    EngineBusy,
    LeftOut,
    ModelNotServed,
    NotTaken,
    Request,
)
from modelyard.core.errors import InvalidInput, ModelyardError

_SCHEMA = "the JSON Schema"
_PARTS = ("messages", "tools", "tool_choice", _SCHEMA)
"""What errors call the parts of a request that a model may not take."""


def is_damage(error: ModelyardError) -> bool:
    """Whether it says that the files of a local model cannot be used as they are."""
    from modelyard.adapters.lora import AdapterMismatch
    from modelyard.adapters.manifest import DamagedVersion
    from modelyard.weights.files import UnreadableWeights
    from modelyard.weights.local import BaseDamaged

    return isinstance(error, (AdapterMismatch, DamagedVersion, UnreadableWeights, BaseDamaged))


def is_request_at_fault(error: BaseException, request: Request, *, has_sources: bool) -> bool:
    """Whether no model could answer because of what was sent, and nothing here is to be mended.

    What a model refuses for reasons that are not known may be a setting, and so may a domain's
    schema, or a prompt that search made too long.
    has_sources: whether the prompt has what search found.
    """
    if isinstance(error, ContextTooLong):
        return not has_sources
    if isinstance(error, NotTaken):
        part = error.field
    else:
        part = error.where if isinstance(error, InvalidInput) else None
    return part in _PARTS and (part != _SCHEMA or request.json_schema is not None)


@dataclass(slots=True, kw_only=True)
class Unanswered:
    """What is learned of it while the models of a route are asked."""

    too_long: tuple[InputSize, int] | None = None
    """The size of the prompt, and the room of the last model that had too little."""
    broken: tuple[str, str] | None = None
    """The last local model whose files cannot be used, and what is wrong with them."""
    not_served: str | None = None
    """The last model that the engine outside does not have."""
    engine_busy: bool = False
    """Whether as many requests wait for a local model as may."""

    def error(
        self,
        tried: str,
        *,
        answer_id: str,
        attempts: Sequence[Attempt],
        left_out: Sequence[LeftOut],
    ) -> AnswerFailed:
        """The error; of a class that says why, where that holds for all models.

        tried: what was tried, in words.
        """
        kind, message = AnswerFailed, f"no model answered: {tried}"
        hint = (
            "`models providers check` says what is wrong, `models route explain` who would "
            "answer now"
        )
        outcomes = {each.outcome for each in attempts} | {each.why for each in left_out}
        if self.broken is not None:
            kind, message = BrokenModel, "{} cannot be used: {}".format(*self.broken)
            hint = "`models adapters verify` says what is damaged, and a rollback helps"
        elif self.too_long is not None and outcomes == {"too_long"}:
            kind, message = ContextTooLong, _too_long(*self.too_long)
            hint = "shorten the conversation, or what is given with it"
        elif self.not_served is not None and outcomes == {"not_local"}:
            kind, message = ModelNotServed, f"{self.not_served} is not served by the engine"
            hint = "let the engine load it under that name"
        elif self.engine_busy and outcomes == {"busy"}:
            kind, message = EngineBusy, f"too many requests wait: {tried}"
            hint = "ask again in a moment"
        error = kind(
            message,
            answer_id=answer_id,
            hint=hint,
            attempts=attempts,
            left_out=left_out,
        )
        if isinstance(error, BrokenModel) and self.broken is not None:
            error.name = self.broken[0]
        if isinstance(error, ModelNotServed) and self.not_served is not None:
            error.name = self.not_served
        if isinstance(error, ContextTooLong) and self.too_long is not None:
            size, error.room = self.too_long
            error.tokens, error.is_exact = size.about, size.is_exact
        return error


def _too_long(size: InputSize, room: int) -> str:
    tokens, about = size.about, "" if size.is_exact else "about "
    if tokens > room:
        return (
            f"the prompt has {about}{tokens:,} tokens, {tokens - room:,} more than the {room:,} of "
            "the context"
        )
    if about and tokens < room:
        return f"the prompt has about {tokens:,} tokens, and the model takes fewer"
    return f"the prompt has {tokens:,} tokens, and a context of {room:,} leaves no answer room"
