"""`POST /v1/generate`, on the Unix socket alone: what `models generate` asks of a model in memory.

As without a service, only the base and the adapter are used: no instructions, retrieval, fallback,
profile or answer cache of the configs, and no text is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.answering.asked_model import load_asked
from modelyard.answering.request import Answer
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.integration import RecordPrompts
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.configs.kinds.specialized_models import InputRules, OutputRules
from modelyard.deployments.effective_settings import Effective
from modelyard.inference.sampling import HOTTEST, LARGEST_SEED
from modelyard.modelrefs.resolving import ResolvedModel, resolve_model
from modelyard.serving.bodies import Body, Share
from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.json_lines import JsonLines
from modelyard.serving.problems import Problem
from modelyard.serving.service import Service

_LONGEST_ANSWER_S = 86_400.0
"""How long an answer may take that costs nothing; the command ends it earlier by going away."""
_SLOWEST_TOKEN_S = 1.0
"""How long a token of an answer may take where the time of the machine costs something."""

ModelName = Annotated[str, Field(max_length=200)]


class ModelBody(Body):
    """A base or a version of an adapter, with its kind in front."""

    model: ModelName


class GeneratedTurn(Body):
    """One turn."""

    role: Literal["user", "assistant"]
    content: str


class GenerateBody(Body):
    """What `models generate` was given."""

    model: ModelName
    domain: Annotated[str, Field(max_length=200)] | None = None
    """The domain that named the model, for the records of answers; its settings are not used."""
    messages: Annotated[list[GeneratedTurn], Field(min_length=1)]
    system: str | None = None
    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0, le=HOTTEST, allow_inf_nan=False)]
    top_p: Share
    top_k: Annotated[int, Field(ge=0)]
    stop: list[Annotated[str, Field(min_length=1)]]
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]


async def has_model(exchange: Exchange) -> Response:
    """Whether the base of a model is in memory, so that `models generate` may ask for it here."""
    body = await exchange.read(ModelBody)
    exchange.draft.model = body.model
    resolved = resolve_model(exchange.service.project, body.model)
    return JSONResponse({"serves": _serves(exchange.service, resolved)})


async def generate(exchange: Exchange) -> Response:
    """An answer of a base or an adapter as it is, for a command of this machine."""
    body = await exchange.read(GenerateBody)
    service = exchange.service
    exchange.draft.model = body.model
    resolved = resolve_model(service.project, body.model)
    if not _serves(service, resolved):
        raise Problem(status=409, message=f"the service does not have {body.model} in memory")
    effective = load_asked(service.project, service.environment, model=body.model)
    effective = _bare(effective, max_tokens=body.max_tokens)
    effective = replace(effective, domain=body.domain)
    request = exchange.request(
        messages=tuple(Message(turn.role, turn.content) for turn in body.messages),
        system=body.system,
        generation=Generation(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            stop=tuple(body.stop),
            seed=body.seed,
            max_output_tokens=min(body.max_tokens, effective.model.settings.max_output_tokens),
        ),
        use_fallback=False,
    )
    return await exchange.stream(
        effective, request, JsonLines(lambda answer: _told(answer, body.max_tokens))
    )


def _serves(service: Service, resolved: ResolvedModel) -> bool:
    """Whether the base is in memory; an adapter is read when it is asked for."""
    bases = service.answerer.local_models.figures().bases
    return any(base.name == resolved.base for base in bases)


def _longest_s(effective: Effective, max_tokens: int) -> float:
    """How long an answer may take: all of it is reserved where an hour costs something."""
    if effective.local_cost_per_hour_usd is None:
        return _LONGEST_ANSWER_S
    settings = effective.model.settings
    tokens = min(max_tokens, settings.max_output_tokens)
    return min(_LONGEST_ANSWER_S, max(settings.timeout_s, tokens * _SLOWEST_TOKEN_S))


def _bare(effective: Effective, *, max_tokens: int) -> Effective:
    """The settings without all that configs add to a model."""
    settings = replace(effective.model.settings, timeout_s=_longest_s(effective, max_tokens))
    return replace(
        effective,
        model=replace(effective.model, settings=settings),
        fallback=(),
        rules=(),
        instructions="",
        input=InputRules(),
        output=OutputRules(),
        retrieval=None,
        timeout_s=None,
        samples=1,
        cache=AnswerCache(),
        record_prompts=RecordPrompts(),
        ab_test=None,
    )


def _told(answer: Answer, max_tokens: int) -> dict[str, Any]:
    """How it ended: by itself or not, and after how many tokens at most."""
    ended, limit = answer.finish == "stop", max_tokens
    if not ended and answer.usage is not None:
        limit = answer.usage.output_tokens
    return {"end": {"ended": ended, "limit": limit, "limited_by_context": limit < max_tokens}}


ROUTES = (
    Route(
        method="POST",
        path="/v1/generate",
        handle=generate,
        scope="chat",
        summary="What `models generate` asks, on the Unix socket",
        body=GenerateBody,
        style="local",
        is_local=True,
    ),
    Route(
        method="POST",
        path="/v1/generate/model",
        handle=has_model,
        scope="chat",
        summary="Whether `models generate` may ask a model here, on the Unix socket",
        body=ModelBody,
        style="local",
        is_local=True,
    ),
)
