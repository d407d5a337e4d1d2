"""The files and fine-tuning jobs of an API like OpenAI's, one call at a time.

Calls go through the official client with its own retries off: they are repeated here, by the policy
that all calls of other people's services follow. A call that creates something is repeated only
after a search has shown that it did not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project
from modelyard.core.wording import counted, visible_line
from modelyard.pacing import Failure, GaveUp, Pacer, Pause, RetryPolicy, call_with_retries, pause
from modelyard.providers.bounds import Bounds, CallEnded, bounded
from modelyard.providers.failures import broken, refusal
from modelyard.providers.hosted import Refused
from modelyard.providers.masking import mask_said
from modelyard.providers.openai_chat import OpenAIChat
from modelyard.secrets.references import NoUsableKey
from modelyard.training.hosted.tunable import HostedBase

T = TypeVar("T")

KEY_NAME = "modelyard_key"
"""The name of the key in a job's metadata."""
RETRIES = RetryPolicy(attempts=8, unreached_attempts=5)
_TIMEOUT_S = 60.0
_UPLOAD_TIMEOUT_S = 600.0
_PAGE = 100
_MOST_PAGES = 200
_MOST_BYTES = 16 << 20
"""The longest answer: a page of a hundred jobs."""
_SHOWN_CHARACTERS = 300
_LONGEST_NAME = 256
_LARGEST_NUMBER = 10**15
"""A larger one, of seconds since 1970 or of tokens, is none."""


class NoKey(ModelyardError):
    """The provider needs a key, and there is none where the config says."""


class FineTuningUnavailable(ModelyardError):
    """The provider could not be reached, refused, or answered what is no answer."""

    is_temporary = False
    """Whether the same call may succeed later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job as its provider describes it."""

    id: str
    """Its id."""
    status: str
    """Its state, such as `running`."""
    tuned_model: str | None
    """The model that it made."""
    trained_tokens: int | None
    """The tokens that are charged, once it ended."""
    error: str | None
    """Why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One event of a job."""

    id: str
    """Its id."""
    created_at: float
    """When, in seconds since 1970."""
    level: str
    """info, warn or error."""
    message: str
    """In the provider's words."""
    data: Any = None
    """Its figures, where it has any."""


class FineTuningService:
    """The calls that a hosted job needs.

    pause: waits between attempts.
    """

    def __init__(self, model: OpenAIChat, *, pause: Pause, retries: RetryPolicy) -> None:
        self._model, self._host = model, urlsplit(model.endpoint).netloc
        self._pause, self._retries = pause, retries
        self._pacer = Pacer(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=1)

    def put_file(self, name: str, data: bytes) -> str:
        """The id of the file with this name and size, sent unless it is there already."""

        def send() -> str:
            return self._find_file(name, len(data)) or _text(
                self._read(
                    partial(
                        self._model.client().files.with_raw_response.create,
                        file=(name, data, "application/jsonl"),
                        purpose="fine-tune",
                    ),
                    timeout_s=_UPLOAD_TIMEOUT_S,
                ),
                "id",
            )

        return self._call(send)

    def put_job(
        self,
        *,
        key: str,
        file_id: str,
        model: str,
        epochs: int,
        seed: int,
        suffix: str,
        metadata: Mapping[str, str],
    ) -> str:
        """The id of the job with this key, created unless there is one already."""

        def create() -> str:
            return self._find_job(key, file_id) or _text(
                self._read(
                    partial(
                        self._model.client().fine_tuning.jobs.with_raw_response.create,
                        model=model,
                        training_file=file_id,
                        method={
                            "type": "supervised",
                            "supervised": {"hyperparameters": {"n_epochs": epochs}},
                        },
                        seed=seed,
                        suffix=suffix,
                        metadata={KEY_NAME: key, **metadata},
                    )
                ),
                "id",
            )

        return self._call(create)

    def find_job(self, key: str, file_id: str | None) -> str | None:
        """The id of the job with this key or of this file; None when there is none."""
        return self._call(lambda: self._find_job(key, file_id))

    def load_job(self, job_id: str) -> JobState:
        """The state of a job now."""
        retrieve = self._model.client().fine_tuning.jobs.with_raw_response.retrieve
        return self._call(lambda: _job(self._read(partial(retrieve, job_id))))

    def cancel_job(self, job_id: str) -> JobState:
        """Have a job stop; its state after that."""
        cancel = self._model.client().fine_tuning.jobs.with_raw_response.cancel
        return self._call(lambda: _job(self._read(partial(cancel, job_id))))

    def load_events(self, job_id: str, known: set[str]) -> list[JobEvent]:
        """The events of a job whose ids are not known, oldest first."""

        def load() -> list[JobEvent]:
            list_events = self._model.client().fine_tuning.jobs.with_raw_response.list_events
            new: dict[str, JobEvent] = {}
            for row in self._listed(partial(list_events, job_id)):  # the newest come first
                event = _event(row)
                if event.id in known:
                    break
                new.setdefault(event.id, event)
            events = list(reversed(new.values()))
            events.sort(key=lambda event: event.created_at)
            return events

        return self._call(load)

    def _find_file(self, name: str, size_bytes: int) -> str | None:
        listed = partial(self._model.client().files.with_raw_response.list, purpose="fine-tune")
        for row in self._listed(listed):
            if row.get("filename") == name and row.get("bytes") in (None, size_bytes):
                return _text(row, "id")
        return None

    def _find_job(self, key: str, file_id: str | None) -> str | None:
        """Also by its file, which has the key in its name: some services keep no metadata."""
        list_jobs = self._model.client().fine_tuning.jobs.with_raw_response.list
        for row in self._listed(list_jobs):
            metadata = row.get("metadata")
            own = metadata.get(KEY_NAME) if isinstance(metadata, dict) else None
            if own == key or (file_id is not None and row.get("training_file") == file_id):
                return _text(row, "id")
        return None

    def _listed(self, list_page: Callable[..., Any]) -> Iterator[dict[str, Any]]:
        """Every row of a list, page after page."""
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = self._read(partial(list_page, limit=_PAGE, **after))
            rows = page.get("data")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise _odd("a list without `data`")
            yield from rows
            more = page.get("has_more")
            if not rows or more is False:
                return
            last = {"after": _text(rows[-1], "id")}
            if last == after and more is None:
                return  # a service that knows no pages gives the same one again
            after = last
        raise _odd("a list whose pages do not end")

    def _read(self, send: Callable[[], Any], *, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """The JSON object that a call of the client answers with."""
        key = self._model.read_key()
        bounds = Bounds(until=time.monotonic() + timeout_s, most_bytes=_MOST_BYTES, key=key)
        try:
            with bounded(bounds), self._model.translated():
                data = send().content
            document = parse_json(data)
        except Refused as error:
            failure = refusal(error.status, error.headers.get, error.said, has_key=key is not None)
            raise CallEnded(replace(failure, reason=mask_said(failure.reason, key))) from None
        except CallEnded as ended:
            reason = mask_said(ended.failure.reason, key)
            raise CallEnded(replace(ended.failure, reason=reason)) from None
        except InvalidJson as error:
            raise _odd("what is not JSON") from error
        if not isinstance(document, dict):
            raise _odd("JSON that is no object")
        return document

    def _call(self, attempt: Callable[[], T]) -> T:
        """The result of an attempt, repeated while the policy allows it."""

        def attempted(_: float) -> T | Failure:
            try:
                return attempt()
            except CallEnded as ended:
                if ended.failure.kind != "broken":
                    return ended.failure
                # An answer that is none is asked for again: nothing here is done twice.
                return replace(ended.failure, is_temporary=True, status=200)

        try:
            result = call_with_retries(
                attempted, self._retries, self._pacer, tokens=0, pause=self._pause
            )
        except NoUsableKey as error:
            raise NoKey(
                f"{self._host} needs a key: {error.message}", where=error.where, hint=error.hint
            ) from None
        if not isinstance(result, GaveUp):
            return result
        failure = result.failure
        tried = f" ({counted(result.attempts, 'attempt')})" if failure.is_temporary else ""
        unavailable = FineTuningUnavailable(
            f"fine-tuning at {self._host}: {failure.reason}{tried}", hint=_hint_for(failure)
        )
        unavailable.is_temporary = failure.is_temporary
        raise unavailable


def open_service(
    project: Project, base: HostedBase, *, pause: Pause = pause, retries: RetryPolicy = RETRIES
) -> FineTuningService:
    """The calls of the API that tunes this model. Raises NoKey when its key cannot be read."""
    model = OpenAIChat(base.settings, project)
    try:
        model.read_key()
    except NoUsableKey as error:
        raise NoKey(
            f"{base.name} is tuned by its provider, which needs a key: {error.message}",
            where=error.where,
            hint=error.hint,
        ) from None
    return FineTuningService(model, pause=pause, retries=retries)


def _odd(what: str) -> CallEnded:
    return CallEnded(broken(what))


def _hint_for(failure: Failure) -> str:
    match failure.status:
        case 401 | 403:
            return "check `api_key` of the language model, and what the key may do"
        case 404:
            return "check `endpoint` and `fine_tuning.model` of the language model"
        case 429 if not failure.is_temporary:
            return "check the provider's plan and what is left of it"
        case status if status is not None and 300 <= status < 400:
            return "name the address that it leads to as `endpoint`; redirects are not followed"
        case status if status is not None and 400 <= status < 500 and not failure.is_temporary:
            return "the provider says why; correct that, and run the same command again"
        case _:
            return "run the same command again later; it goes on from here"


def _text(row: Mapping[str, Any], key: str) -> str:
    """A name or a state in a row, which is one line."""
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise _odd(f"it lacks `{key}`")
    if len(value) > _LONGEST_NAME or not value.isprintable():
        raise _odd(f"its `{key}` is no name")
    return value


def _job(row: Mapping[str, Any]) -> JobState:
    tokens, error = row.get("trained_tokens"), row.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return JobState(
        id=_text(row, "id"),
        status=_text(row, "status"),
        tuned_model=_text(row, "fine_tuned_model") if row.get("fine_tuned_model") else None,
        trained_tokens=tokens
        if isinstance(tokens, int) and 0 <= tokens <= _LARGEST_NUMBER
        else None,
        error=visible_line(str(said)[:_SHOWN_CHARACTERS]) if said else None,
    )


def _event(row: Mapping[str, Any]) -> JobEvent:
    created = row.get("created_at")
    known = isinstance(created, (int, float)) and 0 <= created <= _LARGEST_NUMBER
    return JobEvent(
        id=_text(row, "id"),
        created_at=float(created) if known and created is not None else 0.0,
        level=str(row.get("level") or "info"),
        message=visible_line(str(row.get("message") or "")[:_SHOWN_CHARACTERS]),
        data=row.get("data"),
    )
