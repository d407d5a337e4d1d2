"""What an update did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Counts:
    """Files or chunks, by what became of them."""

    added: int = 0
    """New."""
    changed: int = 0
    """With other content in the same place."""
    moved: int = 0
    """With the same content in another place."""
    removed: int = 0
    """Gone."""
    reused: int = 0
    """As they were."""

    @property
    def total(self) -> int:
        """How many there are now."""
        return self.added + self.changed + self.moved + self.reused


@dataclass(slots=True, kw_only=True)
class IndexUpdate:
    """What an update of one index did, or would do."""

    index: str
    """GROUP/NAME."""
    dry_run: bool
    """Whether nothing was written."""
    built: str | None = None
    """Why the index was built anew; None: it was changed in place."""
    files: Counts = field(default_factory=Counts)
    """Its files."""
    chunks: Counts = field(default_factory=Counts)
    """Their chunks."""
    embedded: int = 0
    """Texts that the encoder was given."""
    from_cache: int = 0
    """Texts whose vector was known from before."""
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """Files that were left out, or from which something was, by the reason."""
    unknown: str | None = None
    """Why a dry run could not count chunks; None: it could."""
    took_s: float = 0.0
    """How long it took."""

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to do."""
        return (
            self.built is None
            and self.files.reused == self.files.total
            and not (self.files.removed)
        )

    def skip(self, reason: str, path: str) -> None:
        """Leave a file out."""
        self.skipped.setdefault(reason, []).append(path)

    def start_over(self) -> None:
        """Forget what was counted of files and chunks; what was skipped stays skipped."""
        self.files, self.chunks = Counts(), Counts()
