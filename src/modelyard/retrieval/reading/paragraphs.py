"""Plain text, by paragraph."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.retrieval.reading.lines import Document, Piece, paragraph_starts


def paragraph_pieces(document: Document) -> Iterator[Piece]:
    """The whole text as one piece that is cut between paragraphs."""
    end = len(document.lines)
    yield Piece(
        start=0,
        end=end,
        title="",
        kind="text",
        breaks=(paragraph_starts(document, 0, end),),
    )
