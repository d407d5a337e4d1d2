"""What of a project a snapshot holds: chosen by options, and recorded in the snapshot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was chosen; configs, deployments, cards and `state.db` are in every snapshot."""

    models: tuple[str, ...] | None = None
    """Adapters whose versions and links are stored; None: those of every adapter."""
    include_embeddings: bool = False
    """Whether the search indexes are stored."""
    include_datasets: bool = False
    """Whether `datasets/` is stored."""
    include_experiments: bool = False
    """Whether `experiments/` is stored, with its checkpoints."""
    include_telemetry: bool = False
    """Whether the records of answers are stored, and the prompts that were recorded."""
