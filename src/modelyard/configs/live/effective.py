"""The former place of `modelyard.deployments.effective`, which docs/deploying.md named in 2026-11.

Remove it, and the package around it, with the first version that may break programs.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_PRESENT = "modelyard.deployments.effective"


def __getattr__(name: str) -> Any:
    # Found when it is asked for: configs do not know deployments, which lie above them.
    found = getattr(import_module(_PRESENT), name)
    warnings.warn(
        f"import {name} from {_PRESENT}; {__name__} is its former place",
        DeprecationWarning,
        stacklevel=2,
    )
    return found
