"""Encoding: texts in, unit vectors out.

Owns what an encoder is, its network and its tokens, the engines that run it, and what identifies
its vectors. It does not know files, chunks or indexes, nor how weights are fetched.
"""

from modelyard.encoders.encoder import (
    Charge,
    Encoders,
    OnProgress,
    TextEncoder,
    Vectors,
    encoder_fingerprint,
    open_encoder,
)
from modelyard.weights.encoders import EncoderUnavailable

__all__ = [
    "Charge",
    "EncoderUnavailable",
    "Encoders",
    "OnProgress",
    "TextEncoder",
    "Vectors",
    "encoder_fingerprint",
    "open_encoder",
]
