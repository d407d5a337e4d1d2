"""`models generate` through a running service: the same answer, without loading the model again."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from modelyard.chatdata.dialogue import Turns
from modelyard.cli.ask_service import told_error
from modelyard.cli.service_client import AnswerLines, RunningService
from modelyard.cli.speaker import Reply
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.inference.sampling import Sampling
from modelyard.modelrefs.resolving import ResolvedModel

_REFUSED = ("ContextTooLong", "NotTaken")
"""What the service calls that a question is too long, or not what the chat template takes."""


@dataclass(slots=True)
class _Course:
    """How far an answer of the service is (`cli.speaker.Stream`)."""

    ended: bool = False

    def interrupt(self) -> None:
        raise KeyboardInterrupt  # leaves the block of the request, which cancels it


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpeaker:
    """A model that a service has in memory (`cli.speaker.Speaking`); it records the answers."""

    service: RunningService
    """The service."""
    base_name: str
    """Its base."""
    chosen: ResolvedModel
    """How the model was named."""

    @property
    def name(self) -> str:
        """What answers."""
        return self.chosen.version.name if self.chosen.version else self.base_name

    def dialogue(self, system: str | None) -> Turns:
        """A new conversation; the service makes tokens of it."""
        return Turns(system=system)

    def answer(
        self, dialogue: Turns, question: str, sampling: Sampling, *, as_base: bool = False
    ) -> Reply:
        """The service's answer, asked for with its first piece."""
        body: dict[str, Any] = {
            "model": f"base:{self.base_name}" if as_base else _exact(self.chosen, self.base_name),
            "domain": self.chosen.ref.name if self.chosen.ref.kind == "domain" else None,
            "system": dialogue.system,
            "messages": [
                *({"role": turn.role, "content": turn.content} for turn in dialogue.turns),
                {"role": "user", "content": question},
            ],
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "stop": list(sampling.stop),
            "seed": sampling.seed,
        }
        course = _Course()

        def pieces() -> Generator[str, None, None]:
            with self.service.post("/v1/generate", body, organisation=None) as lines:
                answer = AnswerLines(lines)
                yield from answer
            if "error" in answer.last:
                raise _error(answer.last["error"])
            end = answer.last["end"]
            course.ended, reply.limit = end["ended"], end["limit"]
            reply.limited_by_context = end["limited_by_context"]

        reply = Reply(
            pieces=pieces(), stream=course, limit=sampling.max_new_tokens, limited_by_context=False
        )
        return reply


def find_speaker(service: RunningService, chosen: ResolvedModel) -> ServiceSpeaker | None:
    """The model in a service; None where none answers, or it has another base in memory."""
    if chosen.base is None or not service.is_there:
        return None
    body = {"model": _exact(chosen, chosen.base)}
    try:
        with service.post("/v1/generate/model", body, organisation=None) as lines:
            serves = any(line.get("serves") is True for line in lines)
    except ModelyardError:  # it ended meanwhile
        return None
    if not serves:
        return None
    return ServiceSpeaker(service=service, base_name=chosen.base, chosen=chosen)


def _exact(chosen: ResolvedModel, base: str) -> str:
    """The reference to exactly the weights that were found, whatever is promoted meanwhile."""
    return f"adapter:{chosen.version.name}" if chosen.version else f"base:{base}"


def _error(told: dict[str, Any]) -> ModelyardError:
    """The error of the service; a conversation survives a question that cannot be taken."""
    if told["kind"] in _REFUSED:
        return InvalidInput(told["message"], hint=told.get("hint"))
    return told_error(told)
