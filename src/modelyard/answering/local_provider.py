"""A local model as a provider: a call becomes a request to its engine, and waits for its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelyard.answering.engine_thread import EngineThread
from modelyard.answering.local_calls import CallReader
from modelyard.answering.unanswered import is_damage
from modelyard.configs.kinds.parts import Generation as GenerationSettings
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.deployments.effective_settings import Effective
from modelyard.inference.engine_limits import BatchShare
from modelyard.providers.call import Call, CallFailure, FailureKind, OnText, Reply, Usage

if TYPE_CHECKING:
    from modelyard.chatdata.tool_calls import CallForm
    from modelyard.inference.constraint import Constraint
    from modelyard.inference.engine import LoadedModel
    from modelyard.inference.generation import Generation
    from modelyard.inference.grammar import Grammars
    from modelyard.inference.sampling import Sampling
    from modelyard.modelrefs.local_model import LocalModel

_NOTHING_COMPUTED = Usage(input_tokens=0, output_tokens=0)
_LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class LocalProvider:
    """A local model as a provider; threads may share it."""

    _thread: EngineThread
    _loaded: LoadedModel
    local: LocalModel
    """The files that were loaded."""
    organisation: str
    """Whose turn its answers are; empty for nobody's."""
    share: BatchShare | None = None
    """How many answers like its own are computed at once."""

    @property
    def context_tokens(self) -> int:
        """The most tokens that a prompt and its answer may have together."""
        longest = self._loaded.engine.longest
        return min(longest, self.local.base.context_length() or longest)

    def require_form(self, schema: Mapping[str, Any]) -> None:
        """Raise InvalidInput for a schema that answers cannot be held to while they are made."""
        self._grammars.json(schema, self._loaded.tokenizer)

    def send(self, call: Call, *, timeout_s: float, on_text: OnText | None) -> Reply | CallFailure:
        """Answer in the next steps of the engine; what the caller shows is never held back."""
        from modelyard.chatdata.tool_calls import encode_request, require_form

        tokenizer = self._loaded.tokenizer
        try:
            form = require_form(tokenizer) if call.tools else None
            prompt = encode_request(tokenizer, call.messages, call.tools)
            constraint = self._constraint(call, form)
        except InvalidInput as error:  # what the template refuses, too
            failure = _failure("invalid", error.message, _NOTHING_COMPUTED)
            return replace(failure, field=error.where)
        room = self.context_tokens - len(prompt)
        if room < 1:
            reason = f"the prompt has {len(prompt):,} tokens, of {self.context_tokens:,}"
            return _failure("too_long", reason, _NOTHING_COMPUTED)
        request = replace(
            self._loaded.request(
                prompt, _sampling(call.generation, room), use_prefix_cache=call.use_prefix_cache
            ),
            organisation=self.organisation,
            share=self.share,
            cancelled=call.cancelled,
            constraint=constraint,
        )
        calls = None if form is None else CallReader(form, tokenizer, on_text)
        try:
            generation = self._thread.submit(request)
        except InvalidInput as error:
            return _failure("too_long", error.message, _NOTHING_COMPUTED)
        except ModelyardError as error:  # QueueFull, or an adapter that cannot be read again
            kind: FailureKind = "damaged" if is_damage(error) else "busy"
            return _failure(kind, error.message, _NOTHING_COMPUTED)
        try:
            show = on_text if calls is None else calls.show
            made = _wait(generation, time.perf_counter() + timeout_s, show)
        finally:
            generation.cancel()
        if isinstance(made, CallFailure):
            at_fault = "tools" if call.tools else "the JSON Schema"
            return replace(made, field=at_fault) if made.kind == "invalid" else made
        if calls is None:
            return made
        return calls.end(made, generation.tokens)

    @property
    def _grammars(self) -> Grammars:
        assert self._thread.grammars is not None
        return self._thread.grammars

    def _constraint(self, call: Call, form: CallForm | None) -> Constraint | None:
        """What the answer is held to: a schema, or a call of a tool where there must be one."""
        from modelyard.chatdata.tool_calls import call_schema

        tokenizer = self._loaded.tokenizer
        if form is not None and call.tool_choice != "auto":
            return self._grammars.around_json(
                form.begin + form.space,
                call_schema(call.tools, form),
                form.space + form.end if form.end else "",
                tokenizer,
            )
        if call.json_schema is None:
            return None
        return self._grammars.json(call.json_schema, tokenizer)


def share_of(effective: Effective) -> BatchShare | None:
    """How many answers by these settings are computed at once: as the profile of the domain says.

    None where it says nothing, and for what is asked without a domain and a profile.
    """
    of, most = effective.domain or effective.profile, effective.batching.max_requests
    return None if of is None or most is None else BatchShare(of=of, most=most)


def _wait(generation: Generation, until_s: float, on_text: OnText | None) -> Reply | CallFailure:
    """The answer when it is there, its text shown as it comes."""
    pieces = []
    while True:
        left_s = until_s - time.perf_counter()
        piece = generation.wait_for_text(min(max(left_s, 0.0), _LONGEST_WAIT_S))
        if piece:
            pieces.append(piece)
            if on_text is not None:
                on_text(piece)
        elif generation.finish is not None or left_s <= 0:
            break
    usage = Usage(
        input_tokens=len(generation.request.prompt),
        output_tokens=len(generation.tokens),
        cached_input_tokens=generation.cached_tokens,
    )
    finish, error = generation.finish, generation.error
    if finish == "stop" or finish == "length":
        stopped_by = generation.stopped_by
        text = "".join(pieces)
        return Reply(text=text, finish=finish, stop_sequence=stopped_by, usage=usage)
    if finish == "cancelled":
        return _failure("cancelled", "nobody wants it any more", usage)
    if error is None:
        return _failure("timeout", "the answer took too long", usage)
    from modelyard.inference.grammar import FormFailed

    if isinstance(error, FormFailed):  # another model would say the same of it
        return _failure("invalid", error.message, usage)
    return _failure("damaged" if is_damage(error) else "broken", error.message, usage)


def _failure(kind: FailureKind, reason: str, usage: Usage) -> CallFailure:
    return CallFailure(kind=kind, reason=reason, is_temporary=False, usage=usage)


def _sampling(settings: GenerationSettings, room: int) -> Sampling:
    from modelyard.inference.sampling import Sampling

    return Sampling(
        max_new_tokens=min(settings.max_output_tokens or room, room),
        temperature=settings.temperature or 0.0,
        top_p=1.0 if settings.top_p is None else settings.top_p,
        top_k=settings.top_k or 0,
        stop=tuple(stop for stop in settings.stop or () if stop),
        seed=secrets.randbelow(2**31) if settings.seed is None else settings.seed,
    )
