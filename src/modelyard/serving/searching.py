"""`POST /v1/search`: what the search domains of a key hold on a question."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.deployments.effective import load_effective
from modelyard.results.json_form import to_json
from modelyard.retrieval.results import SearchResults
from modelyard.serving.bodies import Body
from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.permitted import find_permitted
from modelyard.serving.problems import Problem

_LONGEST_WAIT_S = 30.0


class SearchBody(Body):
    """The body of a search."""

    query: Annotated[str, Field(min_length=1, max_length=20_000)]
    """What is looked for."""
    domains: list[str] | None = None
    """Search domains, GROUP/DOMAIN; left out: all that the key may search."""
    top: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many chunks."""
    filters: dict[str, str] | None = None
    """`path` (a glob), `kind`, or any fact of a chunk; all must match."""
    rerank: bool = True


async def search(exchange: Exchange) -> Response:
    """The best chunks of the search domains that the key may search."""
    body = await exchange.read(SearchBody)
    permitted = find_permitted(exchange.service, exchange.caller).search_domains
    wanted = permitted if body.domains is None else frozenset(body.domains)
    unknown = sorted(wanted - permitted)
    if unknown or not wanted:
        raise Problem(
            status=404,
            message=f"there is no search domain {unknown[0]!r} for this key"
            if unknown
            else "there is no search domain for this key",
            code="domain_not_found",
            param="domains",
        )
    service = exchange.service
    effective = load_effective(service.environment, None, project=service.project)

    def find() -> SearchResults:
        searchers = service.answerer.searchers
        with searchers.borrow(effective, _LONGEST_WAIT_S) as searcher:
            return searcher.search(
                body.query,
                indexes=sorted(wanted),
                top=body.top,
                filters=body.filters,
                rerank=body.rerank,
            )

    return JSONResponse(to_json(await asyncio.to_thread(find)))


ROUTES = (
    Route(
        method="POST",
        path="/v1/search",
        handle=search,
        scope="search",
        summary="What the search indexes hold on a question",
        body=SearchBody,
    ),
)
