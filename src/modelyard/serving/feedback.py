"""`POST /v1/feedback`: what a person says of an answer that their organisation got."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.answering.rated_answers import complete_feedback
from modelyard.chatdata.feedback import check_feedback, record_feedback
from modelyard.monitoring.samples import find_answers
from modelyard.serving.bodies import Body
from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.problems import Problem

_PREFIXES = ("chatcmpl-", "cmpl-", "msg_", "resp_")
"""What stands before an answer's id in each API."""
_LongText = Annotated[str, Field(min_length=1, max_length=100_000)]


class FeedbackBody(Body):
    """The body of feedback on an answer."""

    answer_id: Annotated[str, Field(min_length=1, max_length=100)]
    """The id of the answer, as its response gave it."""
    rating: Literal["good", "bad"] | None = None
    correction: _LongText | None = None
    """What the answer should have been."""
    prompt: _LongText | None = None
    """What was asked, with a correction, where prompts are not recorded."""


async def give_feedback(exchange: Exchange) -> Response:
    """Record a rating or a correction of an answer that the organisation of the key got."""
    body = await exchange.read(FeedbackBody)
    recorded = await asyncio.to_thread(_record, exchange, body)
    return JSONResponse({"object": "feedback", "answer_id": body.answer_id, "added": recorded})


def _record(exchange: Exchange, body: FeedbackBody) -> int:
    project, organisation = exchange.service.project, exchange.caller.organisation
    answer_id = body.answer_id
    for prefix in _PREFIXES:
        answer_id = answer_id.removeprefix(prefix)
    sample = find_answers(project, [answer_id]).get(answer_id)
    if sample is None or (organisation is not None and sample.organisation != organisation):
        raise Problem(
            status=404,
            message=f"there is no answer {body.answer_id!r} for this key",
            code="answer_not_found",
            param="answer_id",
        )
    values = body.model_dump(exclude_none=True) | {"answer_id": answer_id}
    row, problems = check_feedback(values, lambda path: ".".join(map(str, path)))
    if row is None:
        raise Problem(
            status=400,
            message="; ".join(problem.message for problem in problems),
            code="invalid_value",
        )
    return record_feedback(project, complete_feedback(project, [row])).added


ROUTES = (
    Route(
        method="POST",
        path="/v1/feedback",
        handle=give_feedback,
        scope="feedback",
        summary="A rating or a correction of an answer",
        body=FeedbackBody,
    ),
)
