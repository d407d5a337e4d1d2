"""An encoder behind an OpenAI-compatible API: POST {endpoint}/embeddings.

The key is read at each call, sent to this host only (redirects are refused), and never shown.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.client import HTTPException, HTTPMessage
from typing import IO

import numpy as np

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.configs.kinds.language_models import is_loopback
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.encoders.embeddings_answer import read_answer
from modelyard.encoders.encoder import OnProgress, Vectors
from modelyard.pacing import (
    Failure,
    GaveUp,
    Pacer,
    Pause,
    RetryPolicy,
    call_with_retries,
    is_temporary,
    pause,
    read_asked_wait_s,
)
from modelyard.secrets.forms import find_secret_forms
from modelyard.secrets.references import read_key
from modelyard.weights.encoders import EncoderUnavailable

CHUNK_RETRIES = RetryPolicy(attempts=12, unreached_attempts=7)
"""For chunks, tried for about two minutes: providers count by the minute."""
QUERY_RETRIES = RetryPolicy(
    attempts=4, unreached_attempts=4, longest_asked_wait_s=20, deadline_s=120
)
"""For a query, for which somebody waits; a minute of it may be its turn in a long evaluation."""
_TIMEOUT_S = 60.0
_SHORTEST_TIMEOUT_S = 1.0
_BYTES_PER_TOKEN = 3
"""A low estimate, since the provider's tokenizer is not known: prose has more, code about this."""
_SHOWN_CHARACTERS = 200
_QUOTA_USED_UP = "insufficient_quota"
"""A code beside HTTP 429 that means money, not speed."""


class EndpointEncoder:
    """A TextEncoder whose vectors come over HTTP. Tokens are estimated, three bytes each."""

    def __init__(self, project: Project, settings: Encoder, *, fingerprint: str) -> None:
        url = settings.url
        if url is None:
            raise InvalidInput(
                f"the encoder {settings.model} has `source: endpoint` and no endpoint",
                hint="write `endpoint: https://HOST/v1` beside it",
            )
        self.fingerprint = fingerprint
        self.dimensions = settings.dimensions
        self.charged_tokens = 0
        self._counting = threading.Lock()
        self._url = url.rstrip("/") + "/embeddings"
        self._project, self._settings = project, settings
        self._pacer = Pacer(
            requests_per_minute=settings.limits.requests_per_minute,
            tokens_per_minute=settings.limits.tokens_per_minute,
            concurrent_requests=settings.limits.at_once,
        )
        # A proxy of the environment is for other machines, and would take the texts to one.
        direct = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
        self._opener = urllib.request.build_opener(_NoRedirect, *direct)

    def encode(self, texts: Sequence[str], *, on_progress: OnProgress | None = None) -> Vectors:
        """Chunks as float32 [texts, dimensions], unit rows, in the order given."""
        sent = [self._truncate(self._settings.document_prefix + text) for text in texts]
        size = self._settings.batch_size
        batches = [sent[start : start + size] for start in range(0, len(sent), size)]
        parts: list[Vectors] = [np.empty((0, self.dimensions), np.float32)]
        pool = ThreadPoolExecutor(self._settings.limits.at_once)
        stop = threading.Event()
        request = partial(self._request, retries=CHUNK_RETRIES, pause=stop.wait)
        try:
            for part in pool.map(request, batches):
                parts.append(part)
                if on_progress is not None:
                    on_progress(len(part))
        finally:
            stop.set()  # threads that wait to try again need not: one of them has given up
            pool.shutdown(cancel_futures=True)
        return np.concatenate(parts)

    def encode_query(self, text: str, *, within_s: float | None = None) -> Vectors:
        """A query as float32 [dimensions], of length one."""
        sent = self._truncate(self._settings.query_prefix + text)
        most_s = QUERY_RETRIES.deadline_s if within_s is None else within_s
        vector: Vectors = self._request([sent], retries=replace(QUERY_RETRIES, deadline_s=most_s))[
            0
        ]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """An estimate of how long each text is in tokens."""
        return [2 + len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN for text in texts]

    def _truncate(self, text: str) -> str:
        """As many bytes as surely fit; an API refuses longer texts, and empty ones."""
        data = text.encode("utf-8", "replace")[: self._settings.max_tokens * _BYTES_PER_TOKEN]
        return data.decode("utf-8", "ignore") or " "

    def _request(
        self, texts: Sequence[str], *, retries: RetryPolicy, pause: Pause = pause
    ) -> Vectors:
        body = json.dumps(
            {"model": self._settings.model, "input": list(texts), "encoding_format": "float"}
        ).encode()
        result = call_with_retries(
            partial(self._attempt, body),
            retries,
            self._pacer,
            tokens=sum(self.count_tokens(texts)),
            pause=pause,
        )
        if not isinstance(result, GaveUp):
            return self._vectors(result, texts)
        failure = result.failure
        if not failure.is_temporary:
            raise self._unavailable(failure.reason, hint=_hint_for(failure.status))
        asked = failure.asked_wait_s
        raise self._unavailable(
            f"{failure.reason} ({counted(result.attempts, 'attempt')})",
            hint="run the same command again "
            f"{f'in {asked:,.0f} seconds' if asked else 'later'}; what was embedded is kept",
        )

    def _attempt(self, body: bytes, left_s: float) -> bytes | Failure:
        """The answer to one request, or why there is none."""
        key = self._key()
        try:
            return self._post(body, key, max(min(_TIMEOUT_S, left_s), _SHORTEST_TIMEOUT_S))
        except urllib.error.HTTPError as error:
            said = _without(_body_of(error), key)
            temporary = is_temporary(error.code, error.headers.get)
            return Failure(
                reason=f"HTTP {error.code}: {_readable(error.code, said, has_key=bool(key))}",
                is_temporary=temporary and _QUOTA_USED_UP not in said,
                status=error.code,
                asked_wait_s=read_asked_wait_s(error.headers.get),
            )
        except (OSError, HTTPException) as error:
            reason = _without(f"it cannot be reached: {error}", key)
            return Failure(reason=reason, is_temporary=True)

    def _post(self, body: bytes, key: str | None, timeout_s: float) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "modelyard"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        with self._opener.open(request, timeout=timeout_s) as answer:
            return bytes(answer.read())

    def _vectors(self, answer: bytes, texts: Sequence[str]) -> Vectors:
        tokens = None
        try:
            read = read_answer(answer, count=len(texts))
            vectors, tokens = read.vectors, read.tokens
        except EncoderUnavailable as error:
            raise self._unavailable(error.message) from error
        finally:  # an answer that is of no use is charged all the same
            with self._counting:
                self.charged_tokens += sum(self.count_tokens(texts)) if tokens is None else tokens
        size = vectors.shape[1]
        if size != self.dimensions:
            raise InvalidInput(
                f"the encoder {self._settings.model} gives vectors of {counted(size, 'number')}, "
                f"and the config says {self.dimensions}",
                where=self._url,
                hint=f"write `dimensions: {size}`",
            )
        return vectors

    def _key(self) -> str | None:
        if self._settings.api_key is None:
            return None
        of = f"the encoder {self._settings.model}"
        return read_key(self._settings.api_key, self._project, of=of)

    def _unavailable(self, reason: str, *, hint: str | None = None) -> EncoderUnavailable:
        return EncoderUnavailable(
            f"the encoder {self._settings.model} does not answer: {reason}",
            where=self._url,
            hint=hint,
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would take the key to another host: they are raised as errors."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _body_of(error: urllib.error.HTTPError) -> str:
    """The beginning of what the server said with its status; nothing where that breaks off."""
    try:
        with error:
            return error.read(4096).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""


def _readable(status: int, said: str, *, has_key: bool) -> str:
    """What the server answered, in one line; nothing for a refused key, since it may quote it."""
    if status in (401, 403):
        return "it refuses the key" if has_key else "it asks for a key"
    for _, start, end in reversed(find_secret_forms(said)):
        said = f"{said[:start]}***{said[end:]}"
    return " ".join(said.split())[:_SHOWN_CHARACTERS]


def _without(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text


def _hint_for(status: int | None) -> str:
    match status:
        case 401 | 403:
            return "check `api_key` of the encoder, and what the key may do"
        case 404:
            return "check `endpoint` (it ends before /embeddings) and `model`"
        case 429:
            return "check the provider's plan and what is left of it; trying again does not help"
        case 301 | 302 | 303 | 307 | 308:
            return "name the address that it leads to as `endpoint`; redirects are not followed"
        case _:
            return "check `model`, `max_tokens` and `batch_size` of the encoder"
