"""One request and its answer, the same for every route.

The key is checked first, then the body read, then the answer made; whatever happens on the way, the
client is told in the words of the API it speaks, and the audit log has one row of it before the
last byte is sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from modelyard.access.caller import Caller, Scope
from modelyard.answering.limits import key_scope, take_turn
from modelyard.answering.request import AccountedKey, Answer, Request
from modelyard.core.errors import ModelyardError
from modelyard.core.wording import counted
from modelyard.deployments.effective_settings import Effective
from modelyard.records.sample import new_answer_id
from modelyard.secrets.detection import redact_secrets
from modelyard.serving.answers import RunningAnswer
from modelyard.serving.auditing import AuditDraft
from modelyard.serving.bodies import Body, BodyType, read_body
from modelyard.serving.callers import find_caller, local_user
from modelyard.serving.permitted import find_model, load_service_settings
from modelyard.serving.problems import (
    CLIENT_GONE,
    LONGEST_ANSWER,
    SCHEMA,
    Problem,
    Style,
    explain_failure,
    stopping,
)
from modelyard.serving.service import Service

_ENDED = stopping(5)
"""What a client is told whose answer did not come to its end before the service did."""
_LONGEST_TURN_S = 5.0
"""The longest wait of a client for room in `rate_limits`; programs know what to do with a 429."""
_LAST_WORDS_S = 1.0
"""How long a client may take to hear that."""
_log = logging.getLogger("modelyard.serving")
T = TypeVar("T")


class EventWriter(Protocol):
    """How an answer is streamed: what is sent for its beginning, each piece, and its end."""

    def begin(self) -> Iterator[str]:
        """Before the first piece."""

    def piece(self, text: str) -> Iterator[str]:
        """For a piece of the answer."""

    def end(self, answer: Answer) -> Iterator[str]:
        """After the last."""

    def fail(self, problem: Problem) -> Iterator[str]:
        """When it breaks off."""


class Exchange:
    """A request on its way to its answer."""

    def __init__(self, service: Service, http: HttpRequest, route: Route) -> None:
        self.service = service
        self.http = http
        self.route = route
        self.answer_id = new_answer_id()
        self.draft = AuditDraft(route=f"{route.method} {route.path}")
        self.tokens_field = LONGEST_ANSWER
        """The field of the body that has the most tokens of the answer."""
        self._is_recorded = False

    @property
    def caller(self) -> Caller:
        """Who asks."""
        assert self.draft.caller is not None
        return self.draft.caller

    def authenticate(self) -> None:
        """Find out who asks. Raises Problem: 401 without a key, 403 without the scope."""
        if self.route.is_local and local_user(self.http) is None:
            raise Problem(status=404, message=f"{self.draft.route}: Not Found")
        caller = find_caller(self.service, self.http)
        self.draft.caller = caller
        if self.route.scope not in caller.scopes:
            raise Problem(
                status=403,
                message=f"this key may not do that: it lacks the scope {self.route.scope!r}",
                code="insufficient_scope",
            )

    async def count(self) -> None:
        """Count the request for its key. Raises Problem (429) beyond what the key may send."""
        caller = self.caller
        if caller.key_id is None or caller.requests_per_minute is None:
            return
        scope = key_scope(caller.key_id, caller.requests_per_minute)
        turn = await asyncio.to_thread(
            take_turn, self.service.project, [scope], tokens=0, within_s=0.0
        )
        if isinstance(turn, float):
            raise Problem(
                status=429,
                message=f"this key may send {counted(caller.requests_per_minute, 'request')} in a "
                f"minute; there is room again in {math.ceil(turn)} s",
                code="rate_limit_exceeded",
                retry_after_s=math.ceil(turn),
            )

    async def read(self, kind: type[BodyType]) -> BodyType:
        """The body. Raises Problem for one that is wrong."""
        limits = self.service.limits
        return await read_body(
            self.http, kind, limit_bytes=limits.body_bytes, limit_s=limits.body_s
        )

    def find_model(self, name: str) -> Effective:
        """The settings that answer for a model by its name. Raises Problem: 404."""
        effective = find_model(self.service, self.caller, name)
        self.draft.model = name
        return effective

    def request(self, **fields: Any) -> Request:
        """A request of this caller; what it asks is audited where the configs say so."""
        if load_service_settings(self.service).audit_prompts:
            asked = "\n".join(turn.content for turn in fields["messages"])
            self.draft.prompt = redact_secrets(asked)
        caller, key = self.caller, None
        if caller.key_id is not None:
            key = AccountedKey(id=caller.key_id, per_month_usd=caller.per_month_usd)
        if local_user(self.http) is None:  # a command of this machine waits as it does alone
            fields["longest_turn_s"] = _LONGEST_TURN_S
        return Request(id=self.answer_id, organisation=caller.organisation, key=key, **fields)

    async def answer(self, effective: Effective, request: Request) -> Answer:
        """The whole answer. It is cancelled when the client goes away."""
        async with AsyncExitStack() as stack:
            running = await self._begin(stack, effective, request)
            self.draft.answer = await while_connected(running.whole(), self.http.receive)
        return self.draft.answer

    async def stream(
        self, effective: Effective, request: Request, writer: EventWriter
    ) -> EventStream:
        """The answer in pieces. What fails before the first of them is raised."""
        async with AsyncExitStack() as stack:
            running = await self._begin(stack, effective, request)
            first = await while_connected(running.next_piece(), self.http.receive)
            return EventStream(self, running, writer, first, stack.pop_all())
        raise AssertionError("an exit stack hides no error")

    async def _begin(
        self, stack: AsyncExitStack, effective: Effective, request: Request
    ) -> RunningAnswer:
        """The answer, begun in its turn; until the stack is closed."""
        beginning = self.service.answers.begin(effective, request)
        return await while_connected(stack.enter_async_context(beginning), self.http.receive)

    async def record(self, status: int) -> None:
        """Count the request and write it into the audit log; once."""
        if not self._is_recorded:
            self._is_recorded = True
            self.service.observer.record(self.draft, status)
            await self.draft.write(self.service.audit, status)


async def until_gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(work: Awaitable[T], receive: Receive) -> T:
    """What the work gives. Raises Problem (499) when the client goes away before."""
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(until_gone(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return await doing
        raise Problem(status=CLIENT_GONE, message="the client went away")
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


class EventStream(Response):
    """An answer as server-sent events."""

    def __init__(
        self,
        exchange: Exchange,
        running: RunningAnswer,
        writer: EventWriter,
        first: str | None,
        stack: AsyncExitStack,
    ) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._exchange, self._running, self._writer = exchange, running, writer
        self._first, self._stack = first, stack

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send all of it, or stop when the client has gone."""
        status = CLIENT_GONE
        try:
            with suppress(Problem, TimeoutError):  # it has gone, or takes nothing any more
                await while_connected(self._send(send), receive)
        except asyncio.CancelledError:  # the service ends, and its time for answers is over
            status = _ENDED.status
        finally:
            await self._stack.aclose()
            await self._exchange.record(status)
        if status == _ENDED.status:
            with suppress(TimeoutError):
                await self._say_ended(send)

    async def _say_ended(self, send: Send) -> None:
        said = "".join(self._writer.fail(_ENDED)).encode()
        async with asyncio.timeout(_LAST_WORDS_S):
            await send({"type": "http.response.body", "body": said, "more_body": False})

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self._events():
            left_s = self._exchange.service.limits.read_s - self._running.computed_s
            async with asyncio.timeout(left_s):
                await send(
                    {"type": "http.response.body", "body": event.encode(), "more_body": True}
                )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncIterator[str]:
        writer = self._writer
        for event in writer.begin():
            yield event
        piece = self._first
        try:
            while piece is not None:
                for event in writer.piece(piece):
                    yield event
                piece = await self._running.next_piece()
            answer = await self._running.whole()
            self._exchange.draft.answer = answer
            await self._exchange.record(200)
        except Exception as error:
            problem = _explain(self._exchange, error)
            await self._exchange.record(problem.status)
            for event in writer.fail(problem):
                yield event
            return
        for event in writer.end(answer):
            yield event


Handler = Callable[[Exchange], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address of the service."""

    method: str
    """GET or POST."""
    path: str
    """Its path."""
    handle: Handler
    """What answers."""
    scope: Scope
    """What the key must be allowed."""
    summary: str
    """What it does, in a line."""
    body: type[Body] | None = None
    """The body that it reads."""
    schema_field: str | None = None
    """The field of the body that may have the JSON Schema of the answer."""
    style: Style = "openai"
    """Whose words errors are in."""
    is_local: bool = False
    """Whether it is for commands of this machine alone, on the Unix socket."""

    def mount(self, app: FastAPI, service: Service) -> None:
        """Let an app answer at this address."""

        async def answer(http: HttpRequest) -> Response:
            return await _exchange(Exchange(service, http, self))

        app.add_api_route(
            self.path,
            answer,
            methods=[self.method],
            summary=self.summary,
            description=self.handle.__doc__,
            response_model=None,
            name=f"{self.method} {self.path}",
            openapi_extra=self._described(),
            include_in_schema=not self.is_local,
        )

    def _described(self) -> dict[str, Any]:
        """What the OpenAPI document says of the body, and of who may send it."""
        described: dict[str, Any] = {"security": [{"key": []}]}
        if "{name:path}" in self.path:
            name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
            described["parameters"] = [name]
        if self.body is not None:
            schema = {"$ref": f"#/components/schemas/{self.body.__name__}"}
            described["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
        return described


async def _exchange(exchange: Exchange) -> Response:
    """The response of a route, or what the client is told instead."""
    try:
        exchange.authenticate()
        await exchange.count()
        response = await exchange.route.handle(exchange)
        if not isinstance(response, EventStream):
            await exchange.record(response.status_code)
    except (Exception, asyncio.CancelledError) as error:
        # Cancelled: the service ends, and its time for answers is over.
        response = _told(exchange, error if isinstance(error, Exception) else _ENDED)
        try:
            await exchange.record(response.status_code)
        except Exception as unrecorded:  # such as a full disk: then nobody is told anything else
            response = _told(exchange, unrecorded)
    return response


def _told(exchange: Exchange, error: Exception) -> Response:
    problem = _explain(exchange, error)
    body = problem.body(exchange.route.style)
    return JSONResponse(body, problem.status, dict(problem.headers))


def _explain(exchange: Exchange, error: Exception) -> Problem:
    """What the client is told; what the service's own log should say goes there."""
    problem = explain_failure(error).with_field(SCHEMA, exchange.route.schema_field)
    problem = problem.with_field(LONGEST_ANSWER, exchange.tokens_field)
    if problem.status >= 500:
        cause = problem.cause
        wrong = cause.problems if isinstance(cause, ModelyardError) else ()
        words = "; ".join(map(str, (cause or problem.message, *wrong)))
        _log.error("%s: %s", exchange.draft.route, words, exc_info=cause)
    return problem


def marks_of(answer: Answer) -> dict[str, Any]:
    """What is said of an answer beyond what the APIs have: that no language model gave it."""
    return {"degraded": True} if answer.degraded else {}


def server_event(data: Mapping[str, Any] | str, *, name: str | None = None) -> str:
    """One event of a stream (`text/event-stream`)."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"
