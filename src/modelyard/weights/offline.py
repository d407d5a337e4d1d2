"""Whether this process may use the network, as the environment says."""

from __future__ import annotations

import os

_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is set to yes."""
    answers = {os.environ.get(variable, "").upper() for variable in _VARIABLES}
    return bool(answers & {"1", "ON", "YES", "TRUE"})
