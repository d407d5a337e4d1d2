"""One base in memory that answers for any of its adapters at once, and scores given tokens.

A `LoadedModel` is the base with one adapter, or without one. The answers of several are computed in
one batch. Does not know versions or whether an adapter's files may be trusted: `adapters.verify`
says that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow
from modelyard.core.freed_memory import trim_heap
from modelyard.core.progress import Progress, Silent
from modelyard.inference.adapter_weights import AdapterNotCarried
from modelyard.inference.answering import Answering, Start
from modelyard.inference.built_in import built_in_tokens
from modelyard.inference.decoder import Decoder
from modelyard.inference.engine_limits import EngineLimits
from modelyard.inference.four_bit import BaseGrid
from modelyard.inference.generation import Generation, Request
from modelyard.inference.interfaces import LoadedAdapter, TokenDecoder
from modelyard.inference.losses import RowLogits, RowLoss, ScoredRow, label_logits, row_losses
from modelyard.inference.machine import Machine
from modelyard.inference.proof import open_decoder, prove_adapter
from modelyard.inference.sampling import Sampling
from modelyard.inference.scheduler import Limits, Scheduler
from modelyard.inference.stock import StockDecoder
from modelyard.inference.waiting import share_cores
from modelyard.inference.weights import Precision, Quantization, load_weights
from modelyard.weights.local import LocalBase

_WAITING = 256
_LEAST_KV_BYTES = 2 << 30

Note = Callable[[str], None]
"""Is told, in a sentence, what a person should know."""


class Engine:
    """A base on this machine's device, its adapters, and the answers that are being computed."""

    def __init__(
        self,
        decoder: TokenDecoder,
        tokenizer: ChatTokenizer,
        limits: Limits = Limits(gap_ratio=None),  # noqa: B008 (frozen)
    ) -> None:
        self.decoder = decoder
        self.scheduler = Scheduler(decoder, limits)
        self.base = LoadedModel(self, None, tokenizer)
        """The base without an adapter."""

    @classmethod
    def load(
        cls,
        base: LocalBase,
        *,
        machine: Machine,
        adapters: Sequence[Path] = (),
        precision: Precision | None = None,
        quantize: Quantization = "none",
        use_grid: bool = False,
        limits: EngineLimits | None = None,
        note: Note,
    ) -> Engine:
        """The base in memory, computed by the decoder where it is proven to give the same.

        adapters: folders of those that will be used; where one is of a kind that the decoder does
        not compute, transformers and PEFT compute everything, so that base and adapter are
        comparable, and `note` is told.
        use_grid: whether few rows at a time may be computed from the
        integers that the base's weights were made from, where it has them: faster, and rounded
        otherwise than many rows, so figures that are compared are measured without.
        limits: what it keeps to where answers are read as they come; None: nobody reads them, and
        the whole is to be done soonest.
        Raises what loading weights and adapters raises.
        """
        torch.set_num_threads(machine.threads)
        share_cores()
        chosen: Any = precision or machine.precision
        model = load_weights(base.path, precision=chosen, quantize=quantize, device=machine.device)
        model.eval()
        tokenizer = ChatTokenizer.load(base.path)
        rows = built_in_tokens(tokenizer)
        grid = BaseGrid.load(base.path) if use_grid and base.has_grid else None
        kv_bytes = max(_LEAST_KV_BYTES, machine.usable_bytes // 4)
        memory = limits or EngineLimits()
        decoder = open_decoder(
            model,
            rows,
            grid=grid,
            note=note,
            kv_bytes=kv_bytes,
            slots=memory.slots,
            host_bytes=memory.adapter_bytes,
        )
        if isinstance(decoder, Decoder):
            reason = _not_computed(decoder, model, adapters, rows)
            if reason is not None:
                note(f"answers are computed by transformers, which is slower: {reason}")
                decoder = StockDecoder(model, kv_bytes=kv_bytes, slots=memory.slots)
        trim_heap()  # the proofs held logits in sizes that do not come again
        if limits is None:
            return cls(decoder, tokenizer)
        kept_to = Limits(
            rows=limits.max_batch, waiting=limits.waiting, waiting_each=limits.waiting_each
        )
        return cls(decoder, tokenizer, kept_to)

    @property
    def longest(self) -> int:
        """The most tokens that a prompt and its answer may have together."""
        return self.decoder.kv.longest

    def load_adapter(self, folder: Path, tokenizer: ChatTokenizer | None = None) -> LoadedModel:
        """The base with the adapter in `folder`; any thread may load one.

        tokenizer: the one in the folder, where it is loaded already.

        Raises AdapterMismatch when its files are damaged or of another base, AdapterNotCarried when
        it is of a kind that this engine's decoder does not compute.
        """
        tokenizer = tokenizer or ChatTokenizer.load(folder)
        return LoadedModel(self, self.decoder.bank.load(folder), tokenizer)

    def answer(
        self, requests: Sequence[Request], *, progress: Progress | None = None, label: str
    ) -> list[Generation]:
        """The whole answers, computed together, in the order of the requests.

        Raises the error of the first one that failed.
        """
        reporter = progress or Silent()
        reporter.begin(label, len(requests), "answers")
        running: list[Generation] = []
        try:
            for request in requests:
                while self.scheduler.waiting >= _WAITING:
                    self._advance(running, reporter)
                running.append(self.scheduler.submit(request))
            while any(each.finish is None for each in running):
                self._advance(running, reporter)
        finally:
            for each in running:
                each.cancel()
        reporter.end()
        _raise_first(running)
        return running

    def _advance(self, running: Sequence[Generation], reporter: Progress) -> None:
        self.scheduler.step()
        reporter.advance(sum(each.finish is not None for each in running))

    def row_losses(self, rows: Sequence[tuple[LoadedModel, TokenRow]]) -> list[RowLoss]:
        """What each model makes of a row's trained tokens, in the order given."""
        return row_losses(self.decoder, [ScoredRow(row, model.adapter) for model, row in rows])

    def score_and_answer(
        self, rows: Sequence[ScoredRow], wanted: Callable[[int, RowLoss], Start | None]
    ) -> tuple[list[RowLoss], dict[int, Generation]]:
        """The losses of the rows, in the order given, and whole answers to those that want one.

        wanted: is asked for each row, by its number, when its loss is known; its prompt is not
        computed again. Raises the error of the first answer that failed.
        """
        answering = Answering(self.scheduler, wanted)
        made = answering.generations
        try:
            losses = row_losses(self.decoder, rows, answering)
            while any(each.finish is None for each in made.values()):
                self.scheduler.step()
        finally:
            for each in made.values():
                each.cancel()
        _raise_first(list(made.values()))
        return losses, made

    def label_logits(self, rows: Sequence[tuple[LoadedModel, TokenRow]]) -> Iterator[RowLogits]:
        """The logits before the trained tokens of rows; see `losses.label_logits`."""
        return label_logits(self.decoder, [ScoredRow(row, model.adapter) for model, row in rows])


def _raise_first(answers: Sequence[Generation]) -> None:
    """Raise the error of the first answer that failed, if one did."""
    if failed := next((each for each in answers if each.error), None):
        assert failed.error is not None
        raise failed.error


def _not_computed(
    decoder: Decoder, model: Any, adapters: Sequence[Path], rows: Sequence[Sequence[int]]
) -> str | None:
    """Why the decoder must not be used with these adapters; the first is compared with PEFT's."""
    for number, folder in enumerate(adapters):
        try:
            decoder.bank.load(folder)
        except AdapterNotCarried as error:
            return error.message
        if number == 0:
            proof = prove_adapter(decoder, model, folder, rows)
            if not proof.holds:
                return str(proof)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A base in memory, with one of its adapters or without."""

    engine: Engine
    adapter: LoadedAdapter | None
    """None for the bare base."""
    tokenizer: ChatTokenizer
    """The adapter's own, or that of the base."""

    @property
    def without_adapter(self) -> LoadedModel:
        """The bare base behind the same tokenizer: what the adapter is compared with."""
        return replace(self, adapter=None)

    def request(
        self, prompt: Sequence[int], sampling: Sampling, *, use_prefix_cache: bool = False
    ) -> Request:
        """An answer of this model to token ids."""
        return Request(
            prompt=tuple(prompt),
            sampling=sampling,
            tokenizer=self.tokenizer,
            adapter=self.adapter,
            use_prefix_cache=use_prefix_cache,
        )

    def stream(self, prompt: Sequence[int], sampling: Sampling) -> AnswerStream:
        """One answer to token ids, in pieces of text as they come.

        What is computed of the prompt is kept for the next one that begins alike, as each turn of a
        conversation does.
        """
        request = self.request(prompt, sampling, use_prefix_cache=True)
        return AnswerStream(self.engine.scheduler, request)


class AnswerStream:
    """One answer in pieces of text, computed while it is iterated over, which is possible once.

    Close the iterator when not all of it is wanted.
    """

    def __init__(self, scheduler: Scheduler, request: Request) -> None:
        self._scheduler = scheduler
        self._request = request
        self._generation: Generation | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """End the iteration by KeyboardInterrupt, after the step that is being computed.

        For a signal handler: one that raises may leave a step half done.
        """
        self._interrupted = True

    @property
    def output_tokens(self) -> int:
        """The tokens computed so far, without the one that ends the answer."""
        return len(self._generation.tokens) if self._generation else 0

    @property
    def ended(self) -> bool:
        """Whether the answer came to its end; else it was cut off, or is not complete yet."""
        return self._generation is not None and self._generation.finish == "stop"

    def __iter__(self) -> Generator[str, None, None]:
        self._generation = generation = self._scheduler.submit(self._request)
        try:
            while generation.finish is None:
                if self._interrupted:
                    raise KeyboardInterrupt
                self._scheduler.step()
                if piece := generation.take_text():
                    yield piece
        finally:
            generation.cancel()
        if piece := generation.take_text():
            yield piece
        if generation.error is not None:
            raise generation.error
