"""Telling a command or a URL that alerts began or ended, in their order, until they took it.

What is to be told, and what was, is kept in traffic.db (`alerts.py`): what could not be delivered
is delivered by the next call. A process that is killed after a delivery delivers it again, with the
same number.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from modelyard.configs.kinds.language_models import is_loopback
from modelyard.core.errors import InvalidInput
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.monitoring.alerts import mark_told, untold_events
from modelyard.monitoring.monitor import MonitorReport
from modelyard.pacing import (
    Failure,
    GaveUp,
    Pacer,
    Pause,
    RetryPolicy,
    call_with_retries,
    pause,
)
from modelyard.secrets.references import read_key

POLICY = RetryPolicy(
    attempts=3,
    unreached_attempts=3,
    first_wait_s=1.0,
    longest_wait_s=5.0,
    longest_asked_wait_s=15.0,
    deadline_s=30.0,
)
"""For one alert: cron calls again in a minute."""
_ATTEMPT_S = 10.0
_DELIVERIES_S = 120.0
"""After this, the next call goes on."""
_SHOWN_CHARACTERS = 200
_REFERENCE = re.compile(r"(env|file):")
_URL = re.compile(r"https?://", re.IGNORECASE)
_CANNOT_RUN = (126, 127)
"""Exit codes by which a shell says that a command cannot be run, or is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is told."""

    channel: str
    """Identifies it, without saying what it is."""
    name: str
    """What it is called in messages, without secrets."""
    send: Callable[[bytes, float], bool | Failure]
    """Gives it a document, within so many seconds: True, or why it did not take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of telling one target."""

    told: int
    """Events that it took."""
    untold: int
    """Events that are left."""
    problem: str | None
    """Why they are."""


def read_target(project: Project, text: str, *, token: str | None = None) -> Target:
    """The command or the URL that `text` is, or that it refers to (`env:NAME`, `file:PATH`).

    token: a reference to what is sent to the URL as `Authorization: Bearer`. References are read
    here, and nothing of them is shown.
    Raises InvalidInput for what is neither, and NoUsableKey for a reference that leads to nothing.
    """
    is_reference = bool(_REFERENCE.match(text))
    meant = read_key(text, project, of="--notify") if is_reference else text.strip()
    channel = hashlib.sha256(text.encode()).hexdigest()
    if _URL.match(meant):
        origin = _origin_of(meant, is_reference=is_reference)
        key = _token(project, token, meant)
        name = text if is_reference else origin
        return Target(channel=channel, name=name, send=partial(_post, meant, key))
    if token is not None:
        raise InvalidInput("--notify-token is for a URL, and --notify is a command")
    try:
        words = shlex.split(meant)
    except ValueError as error:
        raise InvalidInput(f"--notify: the command cannot be read: {error}") from error
    if not words:
        raise InvalidInput("--notify is empty", hint="give a command, or a URL")
    name = text if is_reference else words[0]
    return Target(channel=channel, name=name, send=partial(_run, words))


def deliver(
    project: Project, report: MonitorReport, target: Target, *, pause: Pause = pause
) -> Delivered:
    """Tell a target every event of the report's alerts that it was not told yet, oldest first.

    Ends with the first that it does not take, after the retries of POLICY. Where another process is
    telling it at this time, that one does. Raises ModelyardError when traffic.db is damaged or
    cannot be written.
    """
    lock = project.lock("alerts", target.channel[:16])
    pacer = Pacer(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=1)
    until = time.monotonic() + _DELIVERIES_S
    try:
        with exclusive_lock(lock, what="delivery of alerts"):
            events = untold_events(project, report, target.channel)
            for place, event in enumerate(events):
                left = len(events) - place
                if time.monotonic() > until:
                    return Delivered(told=place, untold=left, problem="there was no time for all")
                send = partial(_attempt, target, event.document.encode())
                result = call_with_retries(send, POLICY, pacer, tokens=0, pause=pause)
                if isinstance(result, GaveUp):
                    times = f"{result.attempts} attempts" if result.attempts > 1 else "one attempt"
                    problem = f"{result.failure.reason} ({times})"
                    return Delivered(told=place, untold=left, problem=problem)
                mark_told(project, report, target.channel, event.number)
            return Delivered(told=len(events), untold=0, problem=None)
    except LockHeld:
        return Delivered(told=0, untold=0, problem=None)


def _attempt(target: Target, document: bytes, left_s: float) -> bool | Failure:
    return target.send(document, min(_ATTEMPT_S, left_s))


def _origin_of(url: str, *, is_reference: bool) -> str:
    """Scheme and host of a URL. Raises InvalidInput for one that shows a password."""
    found = re.match(r"(https?://)([^/?#]*)", url, re.IGNORECASE)
    assert found is not None
    if "@" in found[2]:
        if not is_reference:
            raise InvalidInput(
                "--notify: a password in a URL is seen by everybody who lists processes",
                hint="put the URL into a variable or a file: `--notify env:NAME`",
            )
        raise InvalidInput(
            "--notify: the URL has a user and a password, which are not sent",
            hint="use `--notify-token`",
        )
    if not found[2]:
        raise InvalidInput("--notify: the URL has no host")
    return f"{found[1]}{found[2]}"


def _token(project: Project, token: str | None, url: str) -> str | None:
    if token is None:
        return None
    if not _REFERENCE.match(token):
        raise InvalidInput(
            "--notify-token is no reference, and a token on a command line is seen by others",
            hint="put it into a variable or a file: `--notify-token env:NAME`",
        )
    if not url.lower().startswith("https://") and not is_loopback(url):
        raise InvalidInput("--notify-token is only sent over https://")
    return read_key(token, project, of="--notify-token")


def _post(url: str, key: str | None, document: bytes, timeout_s: float) -> bool | Failure:
    from modelyard.providers.posting import post_json

    return post_json(url, document, key=key, timeout_s=timeout_s) or True


def _run(words: list[str], document: bytes, timeout_s: float) -> bool | Failure:
    """Run a command with the document on its stdin; it and its children end with the time."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            reason = f"it cannot be run: {error.strerror}"
            return Failure(reason=reason, is_temporary=False)
        with process:
            try:
                process.communicate(document + b"\n", timeout=timeout_s)
            except subprocess.TimeoutExpired:
                _end(process)
                reason = f"it did not end within {timeout_s:.0f} s"
                return Failure(reason=reason, is_temporary=True, status=-signal.SIGKILL)
            except BaseException:  # ^C
                _end(process)
                raise
        if process.returncode == 0:
            return True
        said.seek(0)
        words_said = " ".join(said.read(4096).decode("utf-8", "replace").split())
    return Failure(
        reason=f"it ended with exit code {process.returncode}"
        + (f": {words_said[:_SHOWN_CHARACTERS]}" if words_said else ""),
        is_temporary=process.returncode not in _CANNOT_RUN,
        status=process.returncode,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that is still there, and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
