"""Loading a model that was found: the one place where a named model becomes an engine."""

from __future__ import annotations

from modelyard.inference.engine import Engine
from modelyard.inference.machine import probe_machine
from modelyard.inference.weights import Precision
from modelyard.modelrefs.local_model import LocalModel


def open_model(model: LocalModel, *, precision: Precision | None = None) -> Engine:
    """The engine of a model whose files are here and were checked, as `require_model` gives it.

    Without a precision it is loaded in the one that suits this machine.
    """
    return Engine.load(
        model.base,
        model.version.path if model.version else None,
        machine=probe_machine(),
        precision=precision,
    )
