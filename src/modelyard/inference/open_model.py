"""Loading a model that was found: the one place where a named model comes into memory."""

from __future__ import annotations

from modelyard.inference.engine import Engine, LoadedModel, Note
from modelyard.inference.engine_limits import EngineLimits
from modelyard.inference.machine import probe_machine
from modelyard.inference.weights import Precision
from modelyard.modelrefs.local_model import LocalModel


def open_model(
    model: LocalModel,
    *,
    precision: Precision | None = None,
    use_grid: bool = False,
    limits: EngineLimits | None = None,
    note: Note = lambda _: None,
) -> LoadedModel:
    """A model whose files are here and were checked, as `require_model` gives it.

    Without a precision it is loaded in the one that suits this machine; see `Engine.load` for
    `use_grid`, `limits` and `note`.
    """
    folders = [model.version.path] if model.version else []
    engine = Engine.load(
        model.base,
        machine=probe_machine(),
        adapters=folders,
        precision=precision,
        use_grid=use_grid,
        limits=limits,
        note=note,
    )
    return engine.load_adapter(folders[0]) if folders else engine.base
