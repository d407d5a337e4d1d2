"""Retrieval for a request: what is searched for it, and which chunks the model gets.

Chunks are taken whole, best first, while they fit the token budget of the domain. What is searched
never leaves this machine for a `local_only` domain: an index with an encoder elsewhere is then
searched by its terms, as it is when its encoder does not answer in time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from modelyard.answering.prompt import CountTokens, quote_chunk
from modelyard.answering.request import NothingFound, Request, UsedChunk
from modelyard.core.errors import ModelyardError
from modelyard.deployments.effective_settings import Effective, EffectiveRetrieval
from modelyard.retrieval.terms import query_terms

if TYPE_CHECKING:
    from modelyard.retrieval.results import Result, SearchResults
    from modelyard.retrieval.search import QueryLimits

LONGEST_WAIT_S = 10.0
"""How long an encoder behind an API is waited for, where the answer's time allows it."""

_FEW_TERMS = 4
"""Terms below which a question of a conversation is searched together with the one before."""

_CODE = re.compile(r"(`{3,}|~{3,}).*?(?:\1|\Z)|`[^`\n]*`", re.DOTALL)
_NUMBERS = re.compile(r"\[(\d{1,3}(?:[ \t]*[,;][ \t]*\d{1,3})*)\]")


class Search(Protocol):
    """What searches the project: `retrieval.search.Searcher`."""

    def search(
        self,
        text: str,
        *,
        indexes: Sequence[str] = (),
        top: int | None = None,
        filters: Mapping[str, str] | None = None,
        related: bool = True,
        rerank: bool = True,
        limits: QueryLimits | None = None,
    ) -> SearchResults:
        """The best chunks of these indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What was found for a request."""

    chunks: tuple[UsedChunk, ...] = ()
    """What the model gets, best first, numbered from 1."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as an index that could not be searched."""


def retrieve(
    search: Search,
    effective: Effective,
    request: Request,
    count: CountTokens,
    *,
    within_s: float = LONGEST_WAIT_S,
) -> Retrieved:
    """The chunks for a request; none where the domain retrieves nothing, or the search failed.

    count: tokens of a text for the model that gets the chunks, or an upper bound of them.
    within_s: how long an encoder behind an API is waited for; then terms alone are searched.
    Raises NothingFound where the domain answers only from what is found, and that is nothing.
    """
    wanted = effective.retrieval
    if wanted is None:
        return Retrieved()
    from modelyard.retrieval.search import QueryLimits

    failed = False
    try:
        found = search.search(
            _searched(request),
            indexes=wanted.domains,
            top=wanted.top,
            related=False,
            rerank=wanted.rerank,
            limits=QueryLimits(local_only=effective.local_only, within_s=within_s),
        )
        similar = [result for result in found.results if _is_similar(result, wanted)]
        chunks, notes = fit_chunks(similar, wanted, count), found.notes
    except ModelyardError as error:
        hint = f" ({error.hint})" if error.hint else ""
        chunks, notes, failed = (), (f"nothing was retrieved: {error}{hint}",), True
    if wanted.required and not failed and found.answered is False:
        chunks = ()
    if wanted.required and not chunks:
        raise NothingFound(
            f"nothing was found for this in {', '.join(wanted.domains)}, and the domain answers "
            "only from what is found",
            hint="; ".join(notes) or "ask in other words, or see `models search`",
            search_failed=failed,
        )
    return Retrieved(chunks=chunks, notes=notes)


def _searched(request: Request) -> str:
    """What is searched for: the question, after the one before it where it says little by itself.

    `And in production?` finds nothing without what it goes on from.
    """
    earlier = [
        turn.content for turn in request.messages[: request.question_place] if turn.role == "user"
    ]
    if earlier and len(query_terms(request.question)) < _FEW_TERMS:
        return f"{earlier[-1]}\n{request.question}"
    return request.question


def fit_chunks(
    results: Sequence[Result], wanted: EffectiveRetrieval, count: CountTokens
) -> tuple[UsedChunk, ...]:
    """The chunks that fit the token budget together, in their order.

    One that does not fit whole is passed over for a shorter one that follows; where none fits, the
    first is cut at the end of a line.
    """
    chunks: list[UsedChunk] = []
    left = wanted.max_tokens
    for result in results:
        chunk = _numbered(result, len(chunks) + 1)
        tokens = count(quote_chunk(chunk))
        if tokens <= left:
            chunks.append(chunk)
            left -= tokens
    if not chunks and results:
        chunks += _cut(_numbered(results[0], 1), left, count)
    return tuple(chunks)


def mark_named(chunks: Sequence[UsedChunk], answer: str) -> tuple[UsedChunk, ...]:
    """The chunks, each with whether the answer names it: as [1], in [1, 2], or by its place.

    Numbers in code are none: `rows[1]` names no chunk.
    """
    prose = _CODE.sub(" ", answer)
    numbers = {int(number) for run in _NUMBERS.findall(prose) for number in re.findall(r"\d+", run)}
    return tuple(
        replace(chunk, is_named=chunk.number in numbers or _names_place(answer, chunk.place))
        for chunk in chunks
    )


def _is_similar(result: Result, wanted: EffectiveRetrieval) -> bool:
    """Whether a chunk is as similar as the domain demands, or was found without vectors."""
    scores = result.scores
    has_cosine = scores.dense_weight > 0
    return not has_cosine or scores.dense >= (wanted.least_similarity or -1.0)


def _numbered(result: Result, number: int) -> UsedChunk:
    chunk = result.chunk
    return UsedChunk(
        number=number,
        index=result.index,
        place=f"{chunk.path}:{chunk.first_line}",
        title=chunk.title,
        text=chunk.text,
    )


def _cut(chunk: UsedChunk, most: int, count: CountTokens) -> list[UsedChunk]:
    """The chunk with as many of its first lines as fit; none where not even one does."""
    lines = chunk.text.split("\n")
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high + 1) // 2
        if count(quote_chunk(replace(chunk, text="\n".join(lines[:middle])))) <= most:
            low = middle
        else:
            high = middle - 1
    return [replace(chunk, text="\n".join(lines[:low]))] if low else []


def _names_place(answer: str, place: str) -> bool:
    return re.search(rf"(?<![\w/.-]){re.escape(place)}(?!\d)", answer) is not None
