"""Bodies of requests: read within a limit, and checked field by field.

A field that would change the answer is honoured or refused; nothing is read past. Those that change
nothing are named in each body, and taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from modelyard.configs.kinds.parts import Generation
from modelyard.serving.problems import CLIENT_GONE, SCHEMA, Problem

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=2**31)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
_StopText = Annotated[str, Field(min_length=1, max_length=1000)]
Stop = _StopText | Annotated[list[_StopText], Field(max_length=16)]
"""Texts that end an answer, and are not part of it."""


def _nothing(value: Any) -> Any:
    """Let pass what asks for nothing: null, 0, false, an empty list or object."""
    if value:
        raise ValueError("is not supported by this service: leave it out")
    return value


Unsupported = Annotated[Any, BeforeValidator(_nothing)]
"""A field of the API that would change the answer, and that only a value that asks for nothing may
have."""
Ignored = Annotated[Any, Field(description="Taken, and without effect.")]


class Body(BaseModel):
    """The body of a request: unknown fields are refused, since they might change the answer."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


BodyType = TypeVar("BodyType", bound=Body)


class StreamOptions(Body):
    """How an answer is streamed."""

    include_usage: bool = False
    """Whether the last piece has the number of tokens."""
    include_obfuscation: Ignored = None


class Sampled(Body):
    """The fields that decide how tokens are chosen, as every route for texts has them."""

    model: str = Field(max_length=200)
    """The model, as GET /v1/models lists it."""
    temperature: Temperature | None = None
    top_p: Share | None = None
    stream: bool = False

    def generation(self, **more: Any) -> Generation:
        """What the request sets, to be laid over the configs."""
        return Generation(temperature=self.temperature, top_p=self.top_p, **more)


def stops_of(stop: str | list[str] | None) -> tuple[str, ...] | None:
    """Texts that end an answer, of a field that may hold one or several."""
    if stop is None:
        return None
    return (stop,) if isinstance(stop, str) else tuple(stop)


async def read_body(
    request: Request, kind: type[BodyType], *, limit_bytes: int, limit_s: float
) -> BodyType:
    """The body of a request, which must be JSON, whatever its type is called.

    Raises Problem: 400 with every field that is wrong, 408, 413, 499.
    """
    try:
        async with asyncio.timeout(limit_s):
            content = await _read_bytes(request, limit_bytes)
    except TimeoutError:
        message = f"the body did not come within {limit_s:.0f} s"
        raise Problem(status=408, message=message, code="timeout") from None
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _refuse(error) from None


async def _read_bytes(request: Request, limit_bytes: int) -> bytes:
    too_large = Problem(
        status=413, message=f"the body has more than {limit_bytes:,} bytes", code="body_too_large"
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit_bytes:
        raise too_large
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit_bytes:
                raise too_large
    except ClientDisconnect:
        raise Problem(status=CLIENT_GONE, message="the client went away") from None
    return bytes(content)


_MOST_SHOWN = 5


def _refuse(error: ValidationError) -> Problem:
    """Every field that is wrong, without what it holds: that may be a secret."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_place(each['loc'])}{_words(each)}" for each in problems[:_MOST_SHOWN]]
    if len(problems) > _MOST_SHOWN:
        shown.append(f"and {len(problems) - _MOST_SHOWN} more")
    first = problems[0]
    unknown = first["type"] == "extra_forbidden"
    return Problem(
        status=400,
        message="; ".join(shown),
        code="unknown_parameter" if unknown else "invalid_value",
        param=_place(first["loc"]).removesuffix(": ") or None,
    )


def _words(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "this service does not know this field: leave it out"
    return str(problem["msg"]).removeprefix("Value error, ")


def _place(location: tuple[int | str, ...]) -> str:
    """`messages[2].content: `, without the names of the alternatives that pydantic adds."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int", "float", "bool"):
            text += f".{part}" if text else part
    return f"{text}: " if text else ""


class ResponseFormat(Body):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    """With `json_schema`: the schema that the answer meets."""


class NamedSchema(Body):
    """A JSON Schema with a name."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: Ignored = None


ResponseFormat.model_rebuild()


def form_of(wanted: ResponseFormat | None) -> dict[str, Any]:
    """The fields of `answering.Request` that a response format decides."""
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.type == "json_object":
        return {"json_mode": True}
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        raise Problem(
            status=400,
            message="a response format of the type json_schema needs a schema",
            code="invalid_value",
            param=SCHEMA,
        )
    return {"json_schema": wanted.json_schema.schema_}
