"""Encoding: texts in, unit vectors out.

Owns where an encoder comes from (a wheel, a folder, the hub, an endpoint), its graph, its tokens
and what identifies its vectors. It does not know files, chunks or indexes.
"""

from modelyard.encoders.encoder import Embedded, TextEncoder, Vectors
from modelyard.encoders.opening import encoder_fingerprint, open_encoder
from modelyard.weights.encoders import EncoderUnavailable

__all__ = [
    "Embedded",
    "EncoderUnavailable",
    "TextEncoder",
    "Vectors",
    "encoder_fingerprint",
    "open_encoder",
]
