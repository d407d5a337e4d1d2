"""An encoder behind an OpenAI-compatible API: POST {endpoint}/embeddings.

The key is read at each call, sent to this host only (redirects are refused), and never shown.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

import numpy as np

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.configs.kinds.language_models import RateLimits
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.encoders.encoder import OnProgress, Vectors
from modelyard.secrets.forms import find_secret_forms
from modelyard.weights.encoders import EncoderUnavailable

ATTEMPTS = 12
"""Attempts of a request for chunks, over about two minutes: providers count by the minute."""
UNREACHED_ATTEMPTS = 6
"""Attempts where nobody answers, over a quarter of a minute: the address may be wrong."""
QUERY_ATTEMPTS = 4
"""Attempts of a query, for which somebody waits."""
_FIRST_WAIT_S, _LONGEST_WAIT_S, _LONGEST_ASKED_WAIT_S = 0.5, 20.0, 120.0
_TIMEOUT_S = 60.0
_WINDOW_S = 60.0
_BYTES_PER_TOKEN = 3
"""A low estimate, since the provider's tokenizer is not known: prose has more, code about this."""
_SHOWN_CHARACTERS = 200


class EndpointEncoder:
    """A TextEncoder whose vectors come over HTTP. Tokens are estimated, three bytes each."""

    def __init__(self, project: Project, settings: Encoder, *, fingerprint: str) -> None:
        if settings.endpoint is None:
            raise InvalidInput(
                f"the encoder {settings.model} has `source: endpoint` and no endpoint",
                hint="write `endpoint: https://HOST/v1` beside it",
            )
        self.fingerprint = fingerprint
        self.dimensions = settings.dimensions
        self._url = settings.endpoint.rstrip("/") + "/embeddings"
        self._project, self._settings = project, settings
        self._limiter = RateLimiter(settings.limits)
        self._opener = urllib.request.build_opener(_NoRedirect)

    def encode(self, texts: Sequence[str], *, on_progress: OnProgress | None = None) -> Vectors:
        """Chunks as float32 [texts, dimensions], unit rows, in the order given."""
        sent = [self._truncate(self._settings.document_prefix + text) for text in texts]
        size = self._settings.batch_size
        batches = [sent[start : start + size] for start in range(0, len(sent), size)]
        parts: list[Vectors] = [np.empty((0, self.dimensions), np.float32)]
        pool = ThreadPoolExecutor(self._settings.limits.concurrent_requests)
        try:
            for part in pool.map(self._request, batches):
                parts.append(part)
                if on_progress is not None:
                    on_progress(len(part))
        finally:
            pool.shutdown(cancel_futures=True)
        return np.concatenate(parts)

    def encode_query(self, text: str) -> Vectors:
        """A query as float32 [dimensions], of length one."""
        sent = self._truncate(self._settings.query_prefix + text)
        vector: Vectors = self._request([sent], attempts=QUERY_ATTEMPTS)[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """An estimate of how long each text is in tokens."""
        return [2 + len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN for text in texts]

    def _truncate(self, text: str) -> str:
        """As many bytes as surely fit; an API refuses longer texts, and empty ones."""
        data = text.encode("utf-8", "replace")[: self._settings.max_tokens * _BYTES_PER_TOKEN]
        return data.decode("utf-8", "ignore") or " "

    def _request(self, texts: Sequence[str], *, attempts: int = ATTEMPTS) -> Vectors:
        body = json.dumps(
            {"model": self._settings.model, "input": list(texts), "encoding_format": "float"}
        ).encode()
        for attempt in range(1, attempts + 1):
            self._limiter.wait(sum(self.count_tokens(texts)))
            key = self._key()
            try:
                answer = self._post(body, key)
            except urllib.error.HTTPError as error:
                with error:
                    said = _readable(error, key)
                reason = f"HTTP {error.code}: {said}"
                if error.code not in (408, 409, 429) and error.code < 500:
                    raise self._unavailable(reason, hint=_hint_for(error.code)) from None
                asked_s = _retry_after_s(error.headers)
            except (OSError, HTTPException) as error:
                reason, asked_s = _without(f"it cannot be reached: {error}", key), None
                attempts = min(attempts, max(attempt, UNREACHED_ATTEMPTS))
            else:
                return self._vectors(answer, len(texts))
            if attempt >= attempts:
                break
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
            time.sleep(asked_s if asked_s is not None else wait_s * random.uniform(0.75, 1.25))
        raise self._unavailable(
            f"{reason} ({attempt} attempts)",
            hint="run the same command again later; what was embedded is kept",
        )

    def _post(self, body: bytes, key: str | None) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "modelyard"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read())

    def _vectors(self, answer: bytes, count: int) -> Vectors:
        try:
            rows = sorted(json.loads(answer)["data"], key=lambda row: int(row["index"]))
            found = np.array([row["embedding"] for row in rows], np.float32)
            places = [row["index"] for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unavailable("its answer is not that of an embeddings API") from error
        if places != list(range(count)):
            raise self._unavailable(_miscounted(places, count))
        if found.shape != (count, self.dimensions):
            raise InvalidInput(
                f"the encoder {self._settings.model} gives vectors of {found.shape[-1]} numbers, "
                f"and the config says {self.dimensions}",
                where=self._url,
                hint=f"write `dimensions: {found.shape[-1]}`",
            )
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths)) or not np.all(lengths > 0):
            raise self._unavailable("it gave a vector without a direction")
        unit: Vectors = found / lengths
        return unit

    def _key(self) -> str | None:
        reference = self._settings.api_key
        if reference is None:
            return None
        kind, _, name = reference.partition(":")
        if kind == "env":
            key = os.environ.get(name, "").strip()
        else:
            try:
                path = self._project.written_path(name)
                key = path.read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise InvalidInput(
                    f"the key of the encoder {self._settings.model} cannot be read: "
                    f"{type(error).__name__}",
                    where=reference,
                ) from None
        if not key or not key.isascii() or not key.isprintable():
            raise InvalidInput(
                f"there is no usable key for the encoder {self._settings.model}",
                where=reference,
                hint="set it; a key is one line of plain characters",
            )
        return key

    def _unavailable(self, reason: str, *, hint: str | None = None) -> EncoderUnavailable:
        return EncoderUnavailable(
            f"the encoder {self._settings.model} does not answer: {reason}",
            where=self._url,
            hint=hint,
        )


class RateLimiter:
    """Keeps the requests and tokens of each minute within what the provider allows; thread-safe."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._sent: deque[tuple[float, int]] = deque()

    def wait(self, tokens: int) -> None:
        """Wait until a request of so many tokens may be sent, and count it."""
        while True:
            with self._lock:
                delay_s = self._delay_s(tokens, time.monotonic())
                if delay_s <= 0:
                    self._sent.append((time.monotonic(), tokens))
                    return
            time.sleep(delay_s)

    def _delay_s(self, tokens: int, now: float) -> float:
        while self._sent and self._sent[0][0] <= now - _WINDOW_S:
            self._sent.popleft()
        requests, allowed = self._limits.requests_per_minute, self._limits.tokens_per_minute
        full = requests is not None and len(self._sent) >= requests
        used = sum(count for _, count in self._sent)
        # One request that is larger than the allowance goes alone.
        full = full or (allowed is not None and bool(self._sent) and used + tokens > allowed)
        return self._sent[0][0] + _WINDOW_S - now + 0.001 if full else 0.0


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


def _readable(error: urllib.error.HTTPError, key: str | None) -> str:
    """What the server answered, in one line; nothing for a refused key, since it may quote it."""
    if error.code in (401, 403):
        return "it refuses the key" if key else "it asks for a key"
    said = _without(error.read(4096).decode("utf-8", "replace"), key)
    for _, start, end in sorted(find_secret_forms(said), reverse=True, key=lambda form: form[1]):
        said = f"{said[:start]}***{said[end:]}"
    return " ".join(said.split())[:_SHOWN_CHARACTERS]


def _without(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text


def _miscounted(places: Sequence[int], count: int) -> str:
    if len(places) != count:
        return f"it gave {len(places)} vectors for {count} texts"
    wrong = [place for place in places if place not in range(count)] or [
        place for place, expected in zip(places, range(count), strict=True) if place != expected
    ]
    return f"it numbered a vector {wrong[0]}, where {count} texts are numbered 0 to {count - 1}"


def _hint_for(status: int) -> str:
    match status:
        case 401 | 403:
            return "check `api_key` of the encoder, and what the key may do"
        case 404:
            return "check `endpoint` (it ends before /embeddings) and `model`"
        case 301 | 302 | 303 | 307 | 308:
            return "name the address that it leads to as `endpoint`; redirects are not followed"
        case _:
            return "check `model`, `max_tokens` and `batch_size` of the encoder"


def _retry_after_s(headers: Any) -> float | None:
    """The seconds that the server asked to wait, up to two minutes; None where it did not."""
    asked = str(headers.get("Retry-After", "")) if headers is not None else ""
    return min(float(asked), _LONGEST_ASKED_WAIT_S) if asked.isdigit() else None
