"""What `models search` prints of results, of what is near a place, and of how a query was read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.cli.render import bold_marks, print_lines, print_note
from modelyard.core.wording import counted, visible_line, visible_text

if TYPE_CHECKING:
    from modelyard.retrieval.nearby import NearChunks
    from modelyard.retrieval.results import Result, SearchResults

_SHOWN_LINES = 3
_ALSO = 3
"""Other places of a text that are named with it; --json has all."""
_STATES = {"same": "", "changed": "  (changed since)", "gone": "  (gone since)"}


def print_results(found: SearchResults, *, explain: bool) -> None:
    """Results, with how the query was understood where that is asked for."""
    for note in found.notes:
        print_note(f"note: {note}")
    if explain:
        print_lines(_understood(found))
    if not found.results:
        print_note("nothing found")
    bold = bold_marks()
    for place, result in enumerate(found.results, 1):
        print_lines(_result_lines(place, result, explain, bold))


def print_nearby(found: NearChunks) -> None:
    """The chunk at a place on stderr, and those near it on stdout."""
    for note in found.notes:
        print_note(f"note: {note}")
    chunk = found.chunk
    print_note(
        visible_line(
            f"near {chunk.path}:{chunk.first_line}-{chunk.last_line}  {_first_line(chunk.title)}"
        )
    )
    for number, near in enumerate(found.results, 1):
        chunk = near.chunk
        where = f"{chunk.path}:{chunk.first_line}-{chunk.last_line}"
        head = "  ".join(part for part in (where, _first_line(chunk.title)) if part)
        state = _STATES[near.state]
        print_lines([f"{number}. {visible_line(head)}  [{near.index}]  {near.cosine:.3f}{state}"])
        print_lines(f"     {visible_line(line)}" for line in chunk.text.split("\n")[:_SHOWN_LINES])


def _understood(found: SearchResults) -> Iterator[str]:
    query = found.query
    yield f"terms    {' '.join(query.terms) or '(none)'}"
    if query.phrases:
        yield "phrases  " + visible_line(", ".join(f'"{phrase}"' for phrase in query.phrases))
    if query.names:
        yield "names    " + visible_line(", ".join(query.names))
    for index in found.asked:
        allowed = (
            "" if index.allowed == index.chunks else f", {index.allowed:,} of them let through"
        )
        yield (
            f"asked    {index.index}: {counted(index.chunks, 'chunk')}{allowed}; "
            f"dense {index.dense_weight:.0%} ({visible_line(index.because)})"
        )
    if found.reranker is not None:
        read = sum(result.scores.reranked is not None for result in found.results)
        yield visible_line(f"reranked {read} of the results below, by {found.reranker}")
    yield ""


def _result_lines(
    place: int, result: Result, explain: bool, bold: tuple[str, str] | None
) -> Iterator[str]:
    chunk = result.chunk
    where = f"{chunk.path}:{chunk.first_line}-{chunk.last_line}"
    head = visible_line("  ".join(part for part in (where, _first_line(chunk.title)) if part))
    start, end = bold or ("", "")
    state = _STATES[result.state]
    yield f"{place}. {start}{head}{end}  [{result.index}]  {result.scores.final:.3f}{state}"
    start, end = bold or ("‹", "›")
    text = "".join(
        f"{start}{visible_text(piece)}{end}" if matched else visible_text(piece)
        for piece, matched in result.snippet.pieces()
    )
    yield from (f"     {line}" for line in text.split("\n"))
    if explain:
        yield from (f"     {line}" for line in _explained(result))
    if result.also:
        more = len(result.also) - _ALSO
        places = ", ".join(visible_line(also) for also in result.also[:_ALSO])
        yield f"     also {places}" + (f" and {more:,} more" if more > 0 else "")
    if result.more:
        yield f"     more of this file: lines {', '.join(result.more)}"
    for link in result.related:
        target = f"{link.path}:{link.first_line}  {_first_line(link.title)}".rstrip()
        yield f"     → {visible_line(target)}  [{link.index}]  {visible_line(link.why)}"
    yield ""


def _first_line(title: str) -> str:
    return title.partition("\n")[0]


def _explained(result: Result) -> Iterator[str]:
    from modelyard.retrieval.candidates import FACTORS
    from modelyard.retrieval.ranking import CROWDING_WEIGHT

    scores = result.scores
    boosts = "".join(
        f"; {name} {'x' if name in FACTORS else '+'} {value:.2f}"
        for name, value in scores.boosts.items()
    )
    rest = 1 - scores.dense_weight
    crowding = CROWDING_WEIGHT * scores.crowding
    yield (
        f"{scores.fused:.3f} = {scores.dense_weight:.2f} x (dense {scores.dense:.3f} "
        f"{'-' if crowding >= 0 else '+'} crowding {abs(crowding):.3f}) "
        f"+ {rest:.2f} x lexical {scores.lexical:.2f}/{scores.lexical_scale:.2f}{boosts}"
    )
    if scores.reranked is not None:
        yield f"logistic(reranked {scores.reranked:.2f}){boosts} = {scores.final:.3f}"
