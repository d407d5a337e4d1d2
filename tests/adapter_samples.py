"""What the tests register: the facts, figures and small files of a version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.adapters.manifest import Manifest
from modelyard.adapters.training_info import TrainingInfo, card_front
from modelyard.records.evaluation import Evaluation, ModelFigures, PairedDifference
from modelyard.records.provenance import Origin, Provenance
from modelyard.settings.cards import write_card

BETTER = Evaluation(
    rows=60,
    fingerprint="sha256:eval",
    base=ModelFigures(loss=3.1, perplexity=22.2, facts_recalled=0.0),
    tuned=ModelFigures(loss=1.2, perplexity=3.32, facts_recalled=0.9),
    difference=PairedDifference(-1.9, -2.1, -1.7),
)
"""Figures of a version that passes the promotion gate."""


def facts(run_key: str = "run-1", **changes: Any) -> Provenance:
    """How the version of one run was made."""
    given = {
        "org": "techcorp",
        "base": Origin(name="tiny", fingerprint="sha256:base"),
        "data": Origin(name="techcorp", fingerprint="sha256:data"),
        "template_hash": "sha256:template",
        "spec": {"lora": {"rank": 8}},
        "packages": {"peft": "0.21.2"},
        "machine": {"device": "cpu"},
    }
    return Provenance(run_key=run_key, **{**given, **changes})


def fill_with(evaluation: Evaluation | None = None) -> Callable[[Path, Manifest], None]:
    """A `fill` that writes small files and a card with these figures."""

    def fill(staged: Path, manifest: Manifest) -> None:
        (staged / "adapter_model.safetensors").write_bytes(b"weights %d" % manifest.version)
        (staged / "adapter_config.json").write_text("{}")
        write_card(
            staged / "TRAINING_INFO.md",
            card_front(manifest, TrainingInfo(evaluation=evaluation), spec={}),
            "# demo",
        )

    return fill
