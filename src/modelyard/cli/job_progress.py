"""How far a long job is, on stderr: a live bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modelyard.cli.render import err, print_warning, styled
from modelyard.core.progress import Progress
from modelyard.core.wording import visible_text

_LOG_EVERY_S = 10.0


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """A Progress for a long job: a live bar on a terminal, one line per stage elsewhere."""
    progress = TerminalProgress() if err().is_terminal else LogProgress()
    try:
        yield progress
    finally:
        progress.end()


class LogProgress(Progress):
    """One line per stage, and one every few seconds of a long piece of work."""

    _label, _total, _unit, _last_line = "", 0.0, "", ""
    _began_at = _last_line_at = 0.0

    def stage(self, text: str) -> None:
        err().print(styled(visible_text(text)))

    def warn(self, text: str) -> None:
        print_warning(text)

    def begin(self, label: str, total: float, unit: str) -> None:
        self._label, self._total, self._unit, self._last_line = label, total, unit, ""
        self._began_at = self._last_line_at = time.monotonic()

    def advance(self, done: float, figures: str = "") -> None:
        now = time.monotonic()
        if done >= self._total or now - self._last_line_at >= _LOG_EVERY_S:
            self._last_line_at = now
            amount = _amount(done, self._total, self._unit)
            if self._unit == "bytes" and 0 < done < self._total:
                left_s = (now - self._began_at) * (self._total / done - 1)
                amount += f", {left_s:,.0f} s left"
            tail = f" · {figures}" if figures else ""
            line = f"  {self._label} {amount}{tail}"
            if line != self._last_line:
                self._last_line = line
                err().print(styled(line))


class TerminalProgress(LogProgress):
    """A live bar with figures and the time left."""

    _bar: Any = None
    _task: Any = None

    def stage(self, text: str) -> None:
        err().print(styled(("▸ ", "cyan"), visible_text(text)))

    def begin(self, label: str, total: float, unit: str) -> None:
        from rich import progress

        super().begin(label, total, unit)
        self.end()
        self._bar = progress.Progress(
            progress.TextColumn("  {task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[amount]}"),
            progress.TextColumn("{task.fields[figures]}", style="dim"),
            progress.TimeRemainingColumn(compact=True),
            console=err(),
            transient=True,
        )
        self._task = self._bar.add_task(label, total=total, amount="", figures="")
        self._bar.start()

    def advance(self, done: float, figures: str = "") -> None:
        if self._bar is not None:
            amount = _amount(done, self._total, self._unit)
            self._bar.update(self._task, completed=done, amount=amount, figures=figures)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _amount(done: float, total: float, unit: str) -> str:
    if unit == "bytes":
        size, name, places = (1e6, "MB", int(total < 10e6)) if total >= 1e6 else (1e3, "kB", 0)
        return f"{done / size:,.{places}f}/{total / size:,.{places}f} {name}"
    return f"{done:,.0f}/{total:,.0f} {unit}"
