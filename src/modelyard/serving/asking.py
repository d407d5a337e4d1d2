"""`POST /v1/ask`, on the Unix socket alone: what `models ask` asks, with all that it shows.

The body names what the command's options name; the answer is that of `answering`, field by field,
and so is an error, so that the command shows what it would show without a service.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import Response

from modelyard.answering.asked_model import load_asked
from modelyard.answering.request import GivenText
from modelyard.chatdata.conversation import Message
from modelyard.serving.bodies import Body
from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.json_lines import JsonLines


class AskedTurn(Body):
    """One turn."""

    role: Literal["user", "assistant"]
    content: str


class AskedFile(Body):
    """A file that the question is about."""

    name: str
    text: str


class AskBody(Body):
    """What `models ask` was given."""

    messages: Annotated[list[AskedTurn], Field(min_length=1)]
    domain: str | None = None
    model: str | None = None
    profile: str | None = None
    system: str | None = None
    files: list[AskedFile] = Field(default_factory=list)
    language: str | None = None
    json_schema: dict[str, Any] | None = None
    user: str | None = None
    use_fallback: bool = True
    use_cache: bool = True


async def ask(exchange: Exchange) -> Response:
    """An answer as the configs say, for a command of this machine."""
    body = await exchange.read(AskBody)
    service = exchange.service
    effective = load_asked(
        service.project,
        service.environment,
        domain=body.domain,
        model=body.model,
        profile=body.profile,
    )
    exchange.draft.model = body.model or (body.domain and f"domain:{body.domain}")
    request = exchange.request(
        messages=tuple(Message(turn.role, turn.content) for turn in body.messages),
        system=body.system,
        files=tuple(GivenText(name=file.name, text=file.text) for file in body.files),
        language=body.language,
        json_schema=body.json_schema,
        user=body.user,
        use_fallback=body.use_fallback,
        use_cache=body.use_cache,
    )
    return await exchange.stream(
        effective, request, JsonLines(lambda answer: {"answer": asdict(answer)})
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/ask",
        handle=ask,
        scope="chat",
        summary="What `models ask` asks, on the Unix socket",
        body=AskBody,
        style="local",
        is_local=True,
    ),
)
