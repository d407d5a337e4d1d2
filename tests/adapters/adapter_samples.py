"""What the tests register: the facts, figures and small files of a version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.adapters.manifest import Manifest
from modelyard.settings.cards import write_card

BETTER = {
    "rows": 60,
    "fingerprint": "sha256:eval",
    "base": {"loss": 3.1, "perplexity": 22.2, "facts_recalled": 0.0},
    "tuned": {"loss": 1.2, "perplexity": 3.32, "facts_recalled": 0.9},
    "difference": {"mean": -1.9, "low": -2.1, "high": -1.7},
}
"""Figures of a version that passes the promotion gate."""


def facts(run_key: str = "run-1", **changes: Any) -> dict[str, Any]:
    """The manifest's facts of one run."""
    return {
        "run_key": run_key,
        "org": "techcorp",
        "base": {"name": "tiny", "fingerprint": "sha256:base"},
        "data": {"name": "techcorp", "fingerprint": "sha256:data"},
        "template_hash": "sha256:template",
        "spec": {"lora": {"rank": 8}},
        "packages": {"peft": "0.21.2"},
        "code_commit": None,
        "machine": {"device": "cpu"},
        **changes,
    }


def fill_with(evaluation: dict[str, Any] | None = None) -> Callable[[Path, Manifest], None]:
    """A `fill` that writes small files and a card with these figures."""

    def fill(staged: Path, manifest: Manifest) -> None:
        (staged / "adapter_model.safetensors").write_bytes(b"weights %d" % manifest.version)
        (staged / "adapter_config.json").write_text("{}")
        write_card(staged / "TRAINING_INFO.md", {"evaluation": evaluation or {}}, "# demo")

    return fill
