"""A Progress for tests."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RecordedProgress:
    """A Progress that records stages and warnings."""

    stages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def begin(self, label: str, total: float, unit: str) -> None:
        pass

    def advance(self, done: float, figures: str = "") -> None:
        pass

    def end(self) -> None:
        pass
