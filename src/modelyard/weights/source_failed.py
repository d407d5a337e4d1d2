"""The reason why one source of a base did not give it; the next source is then tried."""

from __future__ import annotations

from modelyard.core.errors import ModelyardError


class SourceFailed(ModelyardError):
    """One source of a base cannot give it; the message is the reason."""
