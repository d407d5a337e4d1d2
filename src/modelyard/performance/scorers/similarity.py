"""The scorer similarity: the cosine of an answer and the right one, by the project's encoder."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelyard.configs.kinds.embedding_models import EmbeddingGroup, Encoder
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective import load_integration
from modelyard.deployments.running import running_settings
from modelyard.performance.cases import Case
from modelyard.performance.scorers.scored import Scored, unknown

if TYPE_CHECKING:
    from modelyard.encoders import TextEncoder

_PACKAGED = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
"""The encoder of a project that configures none."""


class Similarity:
    """Compares texts by one encoder, opened when it is first needed; threads may share it."""

    def __init__(self, project: Project, environment: str) -> None:
        self._project, self._environment = project, environment
        self._lock = threading.Lock()
        self._encoder: TextEncoder | None = None

    def score(self, case: Case, answer: str) -> Scored:
        """Right when the cosine is at least the check's; the score is the cosine, from 0."""
        least = case.check.least_similarity
        try:
            wanted = case.right.answer or ""
            cosine = self.cosine(answer, wanted, stays_here=case.local_only)
        except ModelyardError as error:
            return unknown(f"the encoder cannot be used: {error.message}")
        score = min(1.0, max(0.0, cosine))
        if score >= least:
            return Scored(score=score, right=True)
        why = f"it is like the right answer to {score:.0%}, and {least:.0%} are demanded"
        return Scored(score=score, right=False, why=why)

    def cosine(self, one: str, other: str, *, stays_here: bool = False) -> float:
        """The cosine of two texts.

        stays_here: whether they may not leave this machine.
        Raises what opening the encoder raises.
        """
        with self._lock:
            if self._encoder is None:
                from modelyard.encoders import open_encoder

                settings = project_encoder(self._project, self._environment)
                if stays_here and settings.needs_network:
                    raise ModelyardError("it is an API, and these rows may not leave this machine")
                self._encoder = open_encoder(self._project, settings, progress=Silent())
            first, second = self._encoder.encode([one, other])
        return float(first @ second)


def project_encoder(project: Project, environment: str) -> Encoder:
    """The encoder of the index that the integration names, else of the first group, else the one
    that comes with modelyard."""
    groups: Mapping[str, EmbeddingGroup]
    groups = running_settings(project, environment, "embedding_models")
    integration = load_integration(environment, project=project)
    named = integration.model_integration.primary_models.embeddings if integration else None
    wanted = (named or "").partition("/")[0]
    encoders = {name: group.encoder for name, group in groups.items() if group.encoder}
    holders = [name for name, group in groups.items() if named in group.domains]
    chosen = next((name for name in (wanted, *holders, *encoders) if name in encoders), None)
    return encoders[chosen] if chosen else _PACKAGED
