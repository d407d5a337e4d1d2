"""One call of a model behind an API, whichever: sent, read as it comes, and ended in time."""

from __future__ import annotations

import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project
from modelyard.providers.adapting import REFUSING, refused_parameter
from modelyard.providers.bounds import Bounds, CallEnded, bounded
from modelyard.providers.call import Call, CallFailure, OnText, Reply, Usage
from modelyard.providers.failures import (
    Said,
    broken,
    error_in_answer,
    no_access,
    read_said,
    refusal,
    unreachable,
    with_advice,
)
from modelyard.providers.heard import Heard
from modelyard.providers.masking import MaskedText, mask_said
from modelyard.providers.usage import estimate_usage, reported_usage
from modelyard.secrets.references import NoUsableKey, read_key

_MOST_BYTES = 1 << 20
_MOST_BYTES_PER_TOKEN = 2048
"""An event of one token is about 300 bytes long, and 700 where filters report on it."""
_REST_S = 2.0
"""Longest wait for the usage, once the answer has ended."""
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id")
_PAGES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml")


class Refused(Exception):
    """An API answered with an HTTP error."""

    def __init__(self, status: int, headers: Any, said: Said) -> None:
        super().__init__(status)
        self.status, self.headers, self.said = status, headers, said


class HostedModel(ABC):
    """A Provider of one model behind an API; threads share it, and its connections are kept."""

    client_module: ClassVar[str]
    """The module of the official client, which is loaded with the first call."""
    client_class: ClassVar[str]
    """Its class."""
    client_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What else it is opened with."""
    default_endpoint: ClassVar[str]
    """Where the API is unless the config names a place."""

    def __init__(self, settings: LanguageModel, project: Project) -> None:
        self.settings, self._project = settings, project
        self.refused: frozenset[str] = frozenset()
        """Parameters that the API has refused."""
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] | None = None

    @abstractmethod
    def build_body(self, call: Call) -> dict[str, Any]:
        """The body of the request, without the parameters that the API refuses."""

    @abstractmethod
    def optional_in(self, body: dict[str, Any]) -> frozenset[str]:
        """The parameters in a body that a call can be made without."""

    @abstractmethod
    def start(self, client: Any, body: dict[str, Any]) -> Any:
        """Send it; the client's stream of the answer."""

    @abstractmethod
    def read_event(self, event: object, heard: Heard) -> str:
        """The text in an event of an answer. Raises CallEnded for what is no answer."""

    @abstractmethod
    def read_whole(self, answer: object, heard: Heard) -> str:
        """The text of an answer that came as one JSON document. Raises CallEnded too."""

    @property
    def endpoint(self) -> str:
        """The URL of the API."""
        return (self.settings.url or self.default_endpoint).rstrip("/")

    def read_key(self) -> str | None:
        """The key; None where the config names none. Raises NoUsableKey."""
        if self.settings.api_key is None:
            return None
        return read_key(self.settings.api_key, self._project, of=f"the model {self.settings.model}")

    def client(self) -> Any:
        """The official client, opened once in a process: connections are not shared by a fork."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), self._open()
            return self._opened[1]

    def load(self) -> float:
        """Load the client, as the first call would; the seconds that took, 0 where it was."""
        if self._opened is not None and self._opened[0] == os.getpid():
            return 0.0
        started = time.perf_counter()
        with suppress(CallEnded):  # said by the call
            self.client()
        return time.perf_counter() - started

    def _open(self) -> Any:
        from modelyard.providers.transport import PLACEHOLDER, open_http_client

        only_loopback = not self.settings.needs_network
        http_client = open_http_client(self.endpoint, only_loopback=only_loopback)
        weakref.finalize(self, http_client.close)
        return getattr(self._module(), self.client_class)(
            api_key=PLACEHOLDER,
            base_url=self.endpoint,
            max_retries=0,
            http_client=http_client,
            **self.client_options,
        )

    def send(self, call: Call, *, timeout_s: float, on_text: OnText | None) -> Reply | CallFailure:
        """Make one call, without repeating it, within `timeout_s` for the whole of it.

        Where the API refuses a parameter, the call is made without it; this is learned once in a
        process. Unless `load` did, the first call loads the client, which is not in `timeout_s`.
        """
        key = None
        try:
            key = self.read_key()
            client = self.client()
            until = time.monotonic() + timeout_s
            while True:
                body = self.build_body(call)
                bounds = Bounds(
                    until=until, most_bytes=_most_bytes(call), key=key, cancelled=call.cancelled
                )
                try:
                    with bounded(bounds):
                        return self._exchange(client, call, body, bounds, on_text)
                except Refused as error:
                    name = self._refused_in(body, error)
                    if name is None:
                        return _refused_reply(call, error, key)
                    self.refused |= {name}
        except NoUsableKey as error:
            return no_access(f"{error}; {error.hint}" if error.hint else str(error))
        except CallEnded as ended:
            return replace(ended.failure, reason=mask_said(ended.failure.reason, key))

    def _refused_in(self, body: dict[str, Any], error: Refused) -> str | None:
        return (
            refused_parameter(error.said, self.optional_in(body) - self.refused)
            if error.status in REFUSING
            else None
        )

    def _exchange(
        self,
        client: Any,
        call: Call,
        body: dict[str, Any],
        bounds: Bounds,
        on_text: OnText | None,
    ) -> Reply:
        heard, text = Heard(may_call=bool(call.tools)), MaskedText(bounds.key)
        show = None if call.must_call else on_text  # without a call, its text is no answer

        def take(piece: str) -> None:
            if piece:
                heard.parts.append(piece)
                if show is not None:
                    show(piece)

        with self.translated():
            stream = self.start(client, body)
        headers = stream.response.headers
        try:
            for piece in self._pieces(stream, heard):
                bounds.require_wanted()
                take(text.add(piece))
                if heard.finish is not None and not bounds.is_complete:
                    bounds.is_complete = True
                    bounds.end_within(_REST_S)
                if heard.is_over:
                    break
            if heard.finish is None:
                raise CallEnded(_ended_early(heard))
        except CallEnded as ended:
            if not bounds.is_complete:
                failure = self._cut(ended.failure, call, heard, was_shown=show is not None)
                request_id = _request_id(headers, heard, bounds.key)
                raise CallEnded(replace(failure, request_id=request_id)) from None
        finally:
            stream.close()
        take(text.end())
        reply = self._reply(call, heard, _request_id(headers, heard, bounds.key), bounds.key)
        if on_text is not show and on_text is not None and reply.text:
            on_text(reply.text)
        return reply

    def _pieces(self, stream: Any, heard: Heard) -> Iterator[str]:
        """The texts of an answer. Raises CallEnded where it is none."""
        kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _PAGES:
            raise CallEnded(broken("a web page, and no answer of an API"))
        if kind == "application/json":  # from a server that does not stream
            with self.translated():
                data = stream.response.read()
            heard.events = 1 if data.strip() else 0
            if heard.events:
                yield self.read_whole(_parse(data), heard)
            return
        events = iter(stream)
        while True:
            with self.translated():
                event = next(events, None)
            if event is None:
                return
            heard.events += 1
            yield self.read_event(event, heard)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what the client raises into Refused and CallEnded."""
        module: Any = self._module()
        try:
            yield
        except module.APIStatusError as error:
            if 200 <= error.status_code < 300:
                raise CallEnded(error_in_answer(read_said(error.body))) from None
            response = error.response
            said = read_said(response.content)
            raise Refused(response.status_code, response.headers, said) from None
        except module.APIError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, CallEnded):
                cause = cause.__cause__
            raise cause or CallEnded(unreachable(f"no answer: {type(error).__name__}")) from None
        except UnicodeError:
            raise CallEnded(broken("it is not UTF-8 text")) from None
        except (ValueError, RecursionError):
            raise CallEnded(broken("a part of it is not JSON")) from None

    def _module(self) -> ModuleType:
        return import_module(self.client_module)

    def _cut(
        self, failure: CallFailure, call: Call, heard: Heard, *, was_shown: bool
    ) -> CallFailure:
        """The failure of an answer that had begun: what came of it is billed."""
        if not heard.events:
            return failure
        text = "".join(heard.parts)
        estimate = estimate_usage(call.messages, text)
        if heard.usage is not None and heard.usage.input_tokens > 0:
            made = max(estimate.output_tokens, heard.usage.output_tokens)
            estimate = replace(heard.usage, output_tokens=made, is_estimated=True)
        cut = replace(failure, usage=estimate)
        if failure.kind == "cancelled" or not (was_shown and text.strip()):
            return cut
        reason = f"it broke off in the middle: {failure.reason}"
        return replace(cut, kind="cut_off", reason=reason, is_temporary=False)

    def _reply(self, call: Call, heard: Heard, request_id: str | None, key: str | None) -> Reply:
        assert heard.finish is not None
        text = "".join(heard.parts)
        written = "".join(each.name + each.arguments for each in heard.calls.values())
        estimate = estimate_usage(call.messages, text + written)
        most = self.settings.context_tokens + self.settings.max_output_tokens
        most += 3 * (estimate.input_tokens + estimate.output_tokens)
        usage = reported_usage(heard.usage, estimate, most_tokens=most)
        tool_calls = heard.tool_calls
        if any(not each.name for each in tool_calls):
            raise CallEnded(
                replace(broken("a call of no tool", usage=usage), request_id=request_id)
            )
        says_else = text.strip() or heard.finish == "stop"
        if call.must_call and says_else and not tool_calls and heard.finish != "refused":
            raise CallEnded(_no_call(usage, request_id))
        is_stopped = bool(call.generation.stop) and heard.finish == "stop"
        may_be_empty = call.takes_empty or is_stopped
        if not (text.strip() or may_be_empty or heard.finish == "refused" or tool_calls):
            what = "an empty text"
            if heard.finish == "length":
                tokens = call.generation.max_output_tokens
                what = f"no text within its {tokens} tokens, which it used to reason"
            failure = replace(broken(what, usage=usage), request_id=request_id)
            raise CallEnded(failure)
        return Reply(
            text=text,
            finish="tool_calls" if tool_calls and heard.finish == "stop" else heard.finish,
            stop_sequence=heard.stop_sequence,
            tool_calls=tool_calls,
            usage=usage,
            model=_shown(heard.model, key),
            request_id=request_id,
            not_taken=tuple(sorted(self.not_taken(call))),
        )

    def not_taken(self, call: Call) -> frozenset[str]:
        """The settings of a call that the API refuses or does not have."""
        names = self.refused & {"temperature", "top_p", "top_k", "stop", "seed"}
        return frozenset(name for name in names if getattr(call.generation, name) is not None)


def _refused_reply(call: Call, error: Refused, key: str | None) -> Reply:
    """The refusal of a content filter, which is an outcome. Raises CallEnded for any other."""
    request_id = _request_id(error.headers, Heard(), key)
    if error.status == 400 and error.said.is_filtered:
        usage = estimate_usage(call.messages, "")  # Azure bills the prompt of a filtered call
        return Reply(text="", finish="refused", usage=usage, request_id=request_id)
    failure = refusal(error.status, error.headers.get, error.said, has_key=key is not None)
    raise CallEnded(replace(with_advice(failure), request_id=request_id))


def _no_call(usage: Usage, request_id: str | None) -> CallFailure:
    """No fault of the model, whose template may know no tools: others may ask it other things."""
    return CallFailure(
        kind="invalid",
        reason="it answered without a call of a tool, which the request says it must make",
        is_temporary=False,
        usage=usage,
        request_id=request_id,
        field="tool_choice",
    )


def _ended_early(heard: Heard) -> CallFailure:
    if heard.events:
        return unreachable("the connection ended before the answer did")
    return broken("no text and no end in it")


def _parse(data: bytes) -> Any:
    try:
        return parse_json(data)
    except InvalidJson as error:
        raise CallEnded(broken(f"it {error.message}")) from None


def _most_bytes(call: Call) -> int:
    return _MOST_BYTES + _MOST_BYTES_PER_TOKEN * (call.generation.max_output_tokens or 0)


def _request_id(headers: Any, heard: Heard, key: str | None) -> str | None:
    named = next((value for name in _REQUEST_IDS if (value := headers.get(name))), heard.id)
    return _shown(named, key)


def _shown(text: object, key: str | None) -> str | None:
    """A name that a server gives, fit to be kept and shown."""
    return mask_said(text, key) if isinstance(text, str) and text else None
