"""Continuous batching: which tokens of which requests each step of a decoder computes.

A request joins at the next step for which it finds a row, room for its keys and values, and a slot
for its adapter, and it leaves in the step in which it ends. Prompts are computed in chunks, in the
same steps in which other answers get their next token.

Any thread may submit, cancel and retire; one thread at a time calls `step`.
"""

from __future__ import annotations

import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

from torch import Tensor

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.inference.admission import Admission
from modelyard.inference.constraint import allowed_next, restrict
from modelyard.inference.generation import Finish, Generation, Request
from modelyard.inference.in_flight import InFlight
from modelyard.inference.interfaces import LoadedAdapter, TokenDecoder
from modelyard.inference.prefix_cache import PrefixCache
from modelyard.inference.prompt_budget import PromptBudget, share_out
from modelyard.inference.sampler import choose_tokens
from modelyard.inference.sizes import ANSWERS_TOGETHER


class QueueFull(ModelyardError):
    """As many requests wait as may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a scheduler keeps to."""

    rows: int = ANSWERS_TOGETHER
    """The most answers that are computed at once."""
    waiting: int = 1024
    """The most requests that wait for a row; another is refused."""
    waiting_each: int | None = None
    """The most of one organisation, so that it cannot fill the line; None for as many as of all."""
    prompt_tokens: int = 2048
    """The most prompt tokens that one step computes; they bound the memory of a step."""
    gap_ratio: float | None = 2.5
    """The most a step with prompt tokens may take, as a multiple of one without; None for no bound,
    where nobody reads the answers as they come."""
    wait_s: float = 2.0
    """How long others may pass a request that finds no slot or no room, before it goes first."""
    prefix_cache_bytes: int = 256 * 1024**2
    """The memory for keys and values of shared beginnings; 0 for none."""


class Scheduler:
    """Requests in, answers out, one step of the decoder at a time."""

    def __init__(
        self,
        decoder: TokenDecoder,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._decoder = decoder
        self._limits = limits or Limits()
        self._clock = clock
        self._line = Admission(
            decoder, rows=self._limits.rows, wait_s=self._limits.wait_s, clock=clock
        )
        self._budget = PromptBudget(
            most_tokens=self._limits.prompt_tokens, gap_ratio=self._limits.gap_ratio
        )
        self._prefixes = PrefixCache(decoder.kv, limit_bytes=self._limits.prefix_cache_bytes)
        self._unfinished: dict[int, InFlight] = {}
        self._running: dict[int, InFlight] = {}
        """Those with a row, in the order in which they got it."""
        self._users: Counter[str] = Counter()
        """Unfinished requests by the digest of their adapter."""
        self._retired: dict[str, LoadedAdapter] = {}
        """Adapters to unload as soon as nothing uses them, by digest."""
        self._submitted = self._ended = 0
        self._in_line: Counter[str] = Counter()
        """Requests that wait for a row, by organisation."""
        self.input_tokens = 0
        """Tokens of the prompts that were begun, those from the prefix cache included."""
        self.output_tokens = 0
        """Tokens of answers."""
        self._submitting = Lock()
        # What other threads want is done at the beginning of the next step, in their order.
        self._inbox: deque[Callable[[], None]] = deque()

    @property
    def running(self) -> int:
        """How many requests have a row."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many requests wait for a row."""
        return self._submitted - self._ended - len(self._running)

    @property
    def prefix_cache_bytes(self) -> int:
        """The memory for keys and values of shared beginnings."""
        return self._prefixes.size_bytes

    def submit(self, request: Request) -> Generation:
        """Take a request in. It is cancelled when the handle that is returned is dropped.

        Raises InvalidInput when it can never be computed, QueueFull when too many wait.
        """
        self._require_possible(request)
        with self._submitting:
            if self.waiting >= self._limits.waiting:
                raise QueueFull(
                    f"{self.waiting:,} requests wait already, and no more may",
                    hint="ask again later",
                )
            own, most = self._in_line[request.organisation], self._limits.waiting_each
            if most is not None and own >= most:
                raise QueueFull(
                    f"{own:,} requests of this organisation wait already, and no more of it may",
                    hint="ask again later, or fewer at a time",
                )
            self._in_line[request.organisation] += 1
            self._submitted += 1
            number = self._submitted
        answer, generation = self._in_flight(number, request)
        answer.in_line = True
        self._inbox.append(partial(self._take_in, answer))
        return generation

    def resume(
        self, request: Request, *, row: int, slot: int | None, answer: Sequence[int]
    ) -> Generation:
        """Take in a request whose prompt is computed, and go on from there at the next step.

        row, slot: where it is computed, with room for the answer; given back when the answer ends.
        answer: what it begins with, perhaps nothing; all but its last token are computed, and what
        the row has behind them is written over. Only the thread that calls `step` may resume.
        """
        with self._submitting:
            self._submitted += 1
            number = self._submitted
        resumed, generation = self._in_flight(number, request)
        resumed.row, resumed.slot = row, slot
        self._count_in(resumed)
        self._running[number] = resumed
        resumed.computed = len(request.prompt) - 1
        for token in answer:
            resumed.computed += 1
            self._give(resumed, token)
            if generation.finish:
                break
        return generation

    def _in_flight(self, number: int, request: Request) -> tuple[InFlight, Generation]:
        cancel = partial(self._inbox.append, partial(self._cancel, number))
        generation = Generation(request, cancel)
        weakref.finalize(generation, cancel).atexit = False
        return InFlight(number, request, weakref.ref(generation)), generation

    def _require_possible(self, request: Request) -> None:
        if not request.prompt:
            raise InvalidInput("the prompt has no tokens", where="prompt")
        vocabulary = self._decoder.vocabulary
        if not (min(request.prompt) >= 0 and max(request.prompt) < vocabulary):
            raise InvalidInput(
                f"a token of the prompt is none of the {vocabulary:,} that the base reads",
                where="prompt",
                hint="the tokenizer and the base do not belong together",
            )
        prompt, answer = len(request.prompt), request.sampling.max_new_tokens
        longest = self._decoder.kv.longest
        if prompt + answer > longest:
            raise InvalidInput(
                f"{prompt:,} tokens of the prompt and {answer:,} new ones are more than the "
                f"{longest:,} that the model can hold",
                where="prompt",
                hint="shorten the prompt, or ask for fewer new tokens",
            )

    def retire(self, adapter: LoadedAdapter) -> None:
        """Unload an adapter, such as a replaced version, once nobody uses it.

        Requests that were submitted with it are answered with it.
        """
        self._inbox.append(partial(self._retire, adapter))

    def end_all(self, error: ModelyardError) -> None:
        """End every request with an error. Only the thread that calls `step` may do that."""
        while self._inbox:
            self._inbox.popleft()()
        for answer in list(self._unfinished.values()):
            if answer.number not in self._running:
                self._line.remove(answer)
            self._end(answer, "error", error=error)

    def step(self) -> bool:
        """Compute the next token of every running answer, and chunks of prompts; False: no work.

        What fails for one request ends that request with its error. When the decoder fails, all
        running ones end with an error, and what the decoder raised is raised.
        """
        started = self._clock()
        while self._inbox:
            self._inbox.popleft()()
        for answer in list(self._unfinished.values()):
            if answer.is_cancelled:
                self._end(answer, "cancelled")
        self._admit()
        decoding = [answer for answer in self._running.values() if answer.prompt_left <= 0]
        prompts = [answer for answer in self._running.values() if answer.prompt_left > 0]
        chunks = share_out(
            self._budget.tokens(len(decoding)), [answer.prompt_left for answer in prompts]
        )
        work = [(answer, 1) for answer in decoding]
        work += [(answer, count) for answer, count in zip(prompts, chunks, strict=True) if count]
        if work:
            self._compute(work)
            self._budget.record(len(decoding), sum(chunks), self._clock() - started)
        return bool(self._unfinished or self._inbox)

    def _take_in(self, answer: InFlight) -> None:
        self._line.add(answer)
        self._count_in(answer)

    def _count_in(self, answer: InFlight) -> None:
        self._unfinished[answer.number] = answer
        if answer.digest is not None:
            self._users[answer.digest] += 1
            self._retired.pop(answer.digest, None)

    def _retire(self, adapter: LoadedAdapter) -> None:
        self._retired[adapter.digest] = adapter
        self._unload_unused(adapter.digest)

    def _cancel(self, number: int) -> None:
        if answer := self._unfinished.get(number):
            self._end(answer, "cancelled")

    def _admit(self) -> None:
        for left in self._line.admit(self._running.values()):
            answer = left.answer
            self._leave_line(answer)
            if left.error:  # such as an adapter whose files have changed since it was loaded
                self._end(answer, "error", error=left.error)
                continue
            self._running[answer.number] = answer
            self.input_tokens += len(answer.request.prompt)
            if answer.request.use_prefix_cache:
                answer.computed = self._prefixes.restore(answer.scope, answer.tokens, answer.row)
            if generation := answer.generation():
                generation.cached_tokens = answer.computed
            self._line.charge(answer.organisation, answer.prompt_left)

    def _compute(self, work: Sequence[tuple[InFlight, int]]) -> None:
        """One step of the decoder: of each request, as many of its next tokens as are said."""
        try:
            logits = self._decoder.step([answer.next_segment(count) for answer, count in work])
            for answer, count in work:
                answer.computed += count
            ready = [answer for answer, _ in work if answer.computed == len(answer.tokens)]
            tokens = self._choose(logits, ready) if ready else []
        except BaseException as error:
            self._fail_running(error)
            raise
        for answer, token in zip(ready, tokens, strict=True):
            if answer.number in self._unfinished:
                self._give(answer, token)

    def _choose(self, logits: Tensor, ready: Sequence[InFlight]) -> list[int | None]:
        """The next token of each answer; those whose constraint fails end here."""
        allowed: list[Tensor | None] = []
        for answer in ready:
            try:
                allowed.append(allowed_next(answer.request.constraint))
            except ModelyardError as error:
                allowed.append(None)
                self._end(answer, "error", error=error)
        return choose_tokens(restrict(logits, allowed), [answer.draws for answer in ready])

    def _give(self, answer: InFlight, token: int | None) -> None:
        """Add the token that was chosen for an answer, and end it where it ends."""
        if token is None:
            error = ModelyardError(
                "the model computed something that is not a number",
                where=f"adapter {answer.digest}" if answer.digest else "the base",
                hint="`models adapters verify --deep` checks an adapter, "
                "`models base show --verify` a base",
            )
            self._end(answer, "error", error=error)
            return
        if answer.computed == len(answer.request.prompt):
            self._keep_prefix(answer)
        self._line.charge(answer.organisation, 1)
        if token in answer.request.tokenizer.eos_ids:
            self._end(answer, "stop")
            return
        if constraint := answer.request.constraint:
            try:
                constraint.advance(token)
            except ModelyardError as caught:
                self._end(answer, "error", error=caught)
                return
        self.output_tokens += 1
        answer.tokens.append(token)
        text = answer.text.add(token)
        if generation := answer.generation():
            generation.put(token, text)
        if answer.text.stopped_by is not None:
            self._end(answer, "stop")
        elif len(answer.tokens) == answer.most_tokens:
            self._end(answer, "length")

    def _keep_prefix(self, answer: InFlight) -> None:
        if answer.request.use_prefix_cache:
            self._prefixes.keep(answer.scope, answer.tokens[: answer.computed], answer.row)

    def _end(
        self, answer: InFlight, finish: Finish, *, error: ModelyardError | None = None
    ) -> None:
        """Say why an answer has ended, and give back what it held."""
        self._ended += 1
        self._leave_line(answer)
        del self._unfinished[answer.number]
        if answer.number in self._running:
            del self._running[answer.number]
            if finish in ("stop", "length"):
                self._keep_prefix(answer)
            self._decoder.kv.release(answer.row)
            if answer.slot is not None:
                self._decoder.bank.release(answer.slot)
        elif not error:
            self._line.remove(answer)
        if answer.digest is not None:
            self._users[answer.digest] -= 1
            self._unload_unused(answer.digest)
        if generation := answer.generation():
            rest = answer.text.finish()  # in which a stop string may yet be
            if finish == "length" and answer.text.stopped_by is not None:
                finish = "stop"
            generation.end(finish, rest, error, stopped_by=answer.text.stopped_by)

    def _leave_line(self, answer: InFlight) -> None:
        if not answer.in_line:
            return
        answer.in_line = False
        with self._submitting:
            self._in_line[answer.organisation] -= 1
            if not self._in_line[answer.organisation]:
                del self._in_line[answer.organisation]

    def _unload_unused(self, digest: str) -> None:
        if self._users[digest]:
            return
        del self._users[digest]
        if adapter := self._retired.pop(digest, None):
            self._decoder.bank.unload(adapter)
            self._prefixes.drop(digest)

    def _fail_running(self, cause: BaseException) -> None:
        for answer in list(self._running.values()):
            error = ModelyardError(
                f"the step that computed this answer failed: {cause!r}", hint="ask again"
            )
            error.__cause__ = cause
            self._end(answer, "error", error=error)
