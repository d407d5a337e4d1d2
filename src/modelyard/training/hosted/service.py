"""The files and fine-tuning jobs of an API like OpenAI's, one call at a time.

Calls go through the official client with its own retries off: they are repeated here, by the policy
that all calls of other people's services follow. A call that creates something is repeated only
after a search has shown that it did not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.wording import counted, visible_line
from modelyard.pacing import (
    Failure,
    GaveUp,
    Pacer,
    Pause,
    RetryPolicy,
    call_with_retries,
    is_temporary,
    read_asked_wait_s,
)
from modelyard.secrets.forms import find_secret_forms

if TYPE_CHECKING:
    from openai import OpenAI

T = TypeVar("T")

KEY_NAME = "modelyard_key"
"""The name of the key in a job's metadata."""
RETRIES = RetryPolicy(attempts=8, unreached_attempts=5)
_TIMEOUT_S = 60.0
_UPLOAD_TIMEOUT_S = 600.0
_PAGE = 100
_MOST_PAGES = 200
_SHOWN_CHARACTERS = 300
_QUOTA_USED_UP = "insufficient_quota"


class FineTuningUnavailable(ModelyardError):
    """The provider could not be reached, refused, or answered what is no answer."""


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

    def __init__(self, client: OpenAI, *, host: str, pause: Pause, retries: RetryPolicy) -> None:
        self._client, self._host = client, host
        self._pause, self._retries = pause, retries
        self._pacer = Pacer(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=1)

    def put_file(self, name: str, data: bytes) -> str:
        """The id of the file with this name and size, sent unless it is there already."""

        def send(_: float) -> str | Failure:
            return self._find_file(name, len(data)) or _text(
                self._read(
                    partial(
                        self._client.files.with_raw_response.create,
                        file=(name, data, "application/jsonl"),
                        purpose="fine-tune",
                        timeout=_UPLOAD_TIMEOUT_S,
                    )
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

        def create(_: float) -> str | Failure:
            return self._find_job(key, file_id) or _text(
                self._read(
                    partial(
                        self._client.fine_tuning.jobs.with_raw_response.create,
                        model=model,
                        training_file=file_id,
                        method={
                            "type": "supervised",
                            "supervised": {"hyperparameters": {"n_epochs": epochs}},
                        },
                        seed=seed,
                        suffix=suffix,
                        metadata={KEY_NAME: key, **metadata},
                        timeout=_TIMEOUT_S,
                    )
                ),
                "id",
            )

        return self._call(create)

    def find_job(self, key: str, file_id: str | None) -> str | None:
        """The id of the job with this key or of this file; None when there is none."""

        def find(_: float) -> tuple[str | None] | Failure:
            return (self._find_job(key, file_id),)

        return self._call(find)[0]

    def load_job(self, job_id: str) -> JobState:
        """The state of a job now."""
        retrieve = self._client.fine_tuning.jobs.with_raw_response.retrieve
        return self._call(lambda _: _job(self._read(partial(retrieve, job_id, timeout=_TIMEOUT_S))))

    def cancel_job(self, job_id: str) -> JobState:
        """Have a job stop; its state after that."""
        cancel = self._client.fine_tuning.jobs.with_raw_response.cancel
        return self._call(lambda _: _job(self._read(partial(cancel, job_id, timeout=_TIMEOUT_S))))

    def load_events(self, job_id: str, known: set[str]) -> list[JobEvent]:
        """The events of a job whose ids are not known, oldest first."""

        def load(_: float) -> list[JobEvent] | Failure:
            list_events = self._client.fine_tuning.jobs.with_raw_response.list_events
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
        listed = partial(self._client.files.with_raw_response.list, purpose="fine-tune")
        for row in self._listed(listed):
            if row.get("filename") == name and row.get("bytes") in (None, size_bytes):
                return _text(row, "id")
        return None

    def _find_job(self, key: str, file_id: str | None) -> str | None:
        """Also by its file, which has the key in its name: some services keep no metadata."""
        list_jobs = self._client.fine_tuning.jobs.with_raw_response.list
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
            page = self._read(partial(list_page, limit=_PAGE, timeout=_TIMEOUT_S, **after))
            rows = page.get("data")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise _Broken("a list without `data`")
            yield from rows
            more = page.get("has_more")
            if not rows or more is False:
                return
            last = {"after": _text(rows[-1], "id")}
            if last == after and more is None:
                return  # a service that knows no pages gives the same one again
            after = last
        raise _Broken("a list whose pages do not end")

    def _read(self, send: Callable[[], Any]) -> dict[str, Any]:
        """The JSON object that a call of the client answers with."""
        try:
            document = parse_json(send().content)
        except InvalidJson as error:
            raise _Broken("what is not JSON") from error
        if not isinstance(document, dict):
            raise _Broken("JSON that is no object")
        return document

    def _call(self, attempt: Callable[[float], T | Failure]) -> T:
        result = call_with_retries(
            partial(_failures_of, attempt), self._retries, self._pacer, tokens=0, pause=self._pause
        )
        if not isinstance(result, GaveUp):
            return result
        failure = result.failure
        tried = f" ({counted(result.attempts, 'attempt')})" if failure.is_temporary else ""
        raise FineTuningUnavailable(
            f"fine-tuning at {self._host}: {failure.reason}{tried}",
            hint=_hint_for(failure),
        )


class _Broken(Exception):
    """The service answered with something that is no answer."""


def _failures_of(attempt: Callable[[float], T | Failure], left_s: float) -> T | Failure:
    """One attempt; what goes wrong in the client is a Failure."""
    import openai

    try:
        return attempt(left_s)
    except openai.APIStatusError as error:
        header = error.response.headers.get
        return Failure(
            reason=f"HTTP {error.status_code}: {_readable(error)}",
            is_temporary=is_temporary(error.status_code, header) and error.code != _QUOTA_USED_UP,
            status=error.status_code,
            asked_wait_s=read_asked_wait_s(header),
        )
    except openai.APITimeoutError:
        return Failure(reason="it did not answer in time", is_temporary=True)
    except openai.APIConnectionError as error:
        cause = type(error.__cause__ or error).__name__
        return Failure(reason=f"it cannot be reached: {cause}", is_temporary=True)
    except _Broken as error:
        return Failure(reason=f"it answered with {error}", is_temporary=True, status=200)


def _readable(error: Any) -> str:
    """What the service said, in one line; nothing for a refused key, since it may quote it."""
    if error.status_code in (401, 403):
        return "it refuses the key"
    body = error.body
    said = str(body.get("message") or body) if isinstance(body, dict) else str(body or "")
    for _, start, end in reversed(find_secret_forms(said)):
        said = f"{said[:start]}***{said[end:]}"
    return visible_line(" ".join(said.split())[:_SHOWN_CHARACTERS])


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
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise _Broken(f"what lacks `{key}`")
    return value


def _job(row: Mapping[str, Any]) -> JobState:
    tokens, error = row.get("trained_tokens"), row.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    tuned = row.get("fine_tuned_model")
    return JobState(
        id=_text(row, "id"),
        status=_text(row, "status"),
        tuned_model=tuned if isinstance(tuned, str) and tuned else None,
        trained_tokens=tokens if isinstance(tokens, int) and tokens >= 0 else None,
        error=visible_line(str(said)[:_SHOWN_CHARACTERS]) if said else None,
    )


def _event(row: Mapping[str, Any]) -> JobEvent:
    created = row.get("created_at")
    known = isinstance(created, (int, float)) and math.isfinite(created)
    return JobEvent(
        id=_text(row, "id"),
        created_at=float(created) if known and created is not None else 0.0,
        level=str(row.get("level") or "info"),
        message=visible_line(str(row.get("message") or "")[:_SHOWN_CHARACTERS]),
        data=row.get("data"),
    )
