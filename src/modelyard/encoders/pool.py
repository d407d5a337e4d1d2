"""The encoders of one update: each is opened once, and only when a text is there for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import TextEncoder

_BULK = 2_000
"""Texts from which it pays to start what is slow to start and fast to run."""


@dataclass(slots=True, kw_only=True)
class Encoders:
    """Opens encoders and keeps them, for all indexes that share one."""

    project: Project
    """Whose caches they come from."""
    progress: Progress
    """Told when one is fetched."""
    _opened: dict[tuple[Encoder, bool], TextEncoder] = field(default_factory=dict, init=False)

    def fingerprint(self, settings: Encoder) -> str:
        """What decides the vectors; only an encoder that must be fetched is opened for that."""
        return self.known_fingerprint(settings) or self.open(settings).fingerprint

    def known_fingerprint(self, settings: Encoder) -> str | None:
        """The same without fetching anything; None: only the encoder itself would tell."""
        from modelyard.encoders.opening import encoder_fingerprint
        from modelyard.weights.encoders import EncoderUnavailable

        try:
            return encoder_fingerprint(self.project, settings)
        except EncoderUnavailable:
            return None

    def is_here(self, settings: Encoder) -> bool:
        """Whether it can be opened without fetching anything."""
        from modelyard.weights.encoders import local_encoder_folder

        if settings.source == "endpoint":
            return True
        return local_encoder_folder(self.project, settings.source, settings.model) is not None

    def open(self, settings: Encoder, *, texts: int = 0) -> TextEncoder:
        """The encoder, in the form that is right for that many texts."""
        for_bulk = texts >= _BULK
        key = (settings, for_bulk)
        if key not in self._opened:
            self._opened[key] = self._load(settings, for_bulk=for_bulk)
        return self._opened[key]

    def _load(self, settings: Encoder, *, for_bulk: bool) -> TextEncoder:
        from modelyard.encoders.opening import open_encoder

        return open_encoder(self.project, settings, for_bulk=for_bulk, progress=self.progress)
