"""One base in memory, perhaps with one adapter, and what is asked of it.

Generates answers and measures the loss of given rows, with the adapter or without it. Does not know
versions, organisations or whether an adapter's files may be trusted: `adapters.verify` says that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow
from modelyard.core.progress import Progress, Silent
from modelyard.inference.machine import Machine
from modelyard.inference.sampling import Sampling
from modelyard.inference.waiting import share_cores
from modelyard.inference.weights import Precision, Quantization, load_weights
from modelyard.weights.local import LocalBase

_LOSS_TOKENS = 1024
_ANSWERS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class RowLoss:
    """The loss of a row's trained tokens."""

    total: float
    """Sum of their negative log-likelihoods, in nats."""
    tokens: int
    """How many there are."""
    last_miss: int
    """The place in the row of the last of them that is not the likeliest token; -1 for none."""

    @property
    def mean(self) -> float:
        return self.total / self.tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """A generated answer."""

    text: str
    """Its text, without the token that ends it."""
    ended: bool
    """Whether the model ended it; else it was cut off at the limit."""


@dataclass(slots=True, eq=False)
class Engine:
    """A base model, perhaps with an adapter, on this machine's device."""

    model: Any
    """The transformers model, or the PeftModel around it."""
    tokenizer: ChatTokenizer
    adapted: bool
    """Whether it has an adapter."""

    @classmethod
    def load(
        cls,
        base: LocalBase,
        adapter_folder: Path | None,
        *,
        machine: Machine,
        precision: Precision | None = None,
        quantize: Quantization = "none",
    ) -> Engine:
        """Load the base, and the adapter in `adapter_folder` in the base's precision."""
        torch.set_num_threads(machine.threads)
        share_cores()
        chosen: Any = precision or machine.precision
        model = load_weights(base.path, precision=chosen, quantize=quantize, device=machine.device)
        if adapter_folder is not None:
            model = PeftModel.from_pretrained(
                model, adapter_folder, autocast_adapter_dtype=False, local_files_only=True
            )
        model.eval()
        tokenizer = ChatTokenizer.load(adapter_folder or base.path)
        return cls(model, tokenizer, adapted=adapter_folder is not None)

    @torch.inference_mode()
    def row_losses(self, rows: Sequence[TokenRow], *, use_adapter: bool = True) -> list[RowLoss]:
        """The loss of each row's trained tokens, in the order given."""
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_ids))
        found: dict[int, RowLoss] = {}
        with self.use_adapter(use_adapter):
            start = 0
            while start < len(order):
                longest = len(rows[order[start]].input_ids)
                chosen = order[start : start + max(1, _LOSS_TOKENS // longest)]
                start += len(chosen)
                losses = self._padded_losses([rows[index] for index in chosen])
                found.update(zip(chosen, losses, strict=True))
        return [found[index] for index in range(len(rows))]

    def _padded_losses(self, rows: Sequence[TokenRow]) -> list[RowLoss]:
        tokens = [torch.from_numpy(row.input_ids).long() for row in rows]
        ids = pad_sequence(tokens, batch_first=True, padding_value=self.tokenizer.pad_id)
        mask = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
        trained = pad_sequence([torch.from_numpy(row.trained) for row in rows], batch_first=True)
        trained[:, 0] = False
        device = self.model.device
        logits = self.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).logits
        places = trained.nonzero()
        before = logits[places[:, 0], places[:, 1] - 1].float()
        losses = F.cross_entropy(before, ids[trained].to(device), reduction="none").double().cpu()
        totals = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, places[:, 0], losses)
        missed = torch.zeros_like(trained)
        missed[trained] = before.argmax(1).cpu() != ids[trained]
        last_misses = torch.where(missed, torch.arange(ids.shape[1]), -1).amax(1)
        counts = trained.sum(1)
        return [
            RowLoss(total, count, last_miss)
            for total, count, last_miss in zip(
                totals.tolist(), counts.tolist(), last_misses.tolist(), strict=True
            )
        ]

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        use_adapter: bool = True,
        progress: Progress | None = None,
        label: str = "answers",
    ) -> list[Completion]:
        """Answers to tokenized prompts, in the order given."""
        reporter = progress or Silent()
        reporter.begin(label, len(prompts), "answers")
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        answers: dict[int, Completion] = {}
        torch.manual_seed(sampling.seed)
        with self.use_adapter(use_adapter):
            for start in range(0, len(order), _ANSWERS_AT_ONCE):
                chosen = order[start : start + _ANSWERS_AT_ONCE]
                made = self._answer_together([prompts[index] for index in chosen], sampling)
                answers.update(zip(chosen, made, strict=True))
                reporter.advance(start + len(chosen))
        reporter.end()
        return [answers[index] for index in range(len(prompts))]

    def _answer_together(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[Completion]:
        tokens = [torch.tensor(prompt) for prompt in prompts]
        ids = pad_sequence(
            tokens, batch_first=True, padding_value=self.tokenizer.pad_id, padding_side="left"
        )
        mask = pad_sequence(
            [torch.ones_like(prompt) for prompt in tokens], batch_first=True, padding_side="left"
        )
        device = self.model.device
        made = self.model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=self._settings(sampling),
        )
        return [self._completion(row, sampling) for row in made[:, ids.shape[1] :].tolist()]

    def _completion(self, tokens: Sequence[int], sampling: Sampling) -> Completion:
        """The answer in generated tokens, which a batch fills up after the one that ends it."""
        answer = list(takewhile(lambda token: token not in self.tokenizer.eos_ids, tokens))
        text = self.tokenizer.decode(answer)
        stop = sampling.find_stop(text)
        return Completion(text[:stop].strip(), stop is not None or len(answer) < len(tokens))

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, *, use_adapter: bool = True
    ) -> AnswerStream:
        """One answer, in pieces of text as they come."""
        ids = torch.tensor([list(prompt)], device=self.model.device)

        def compute(answer: AnswerStream) -> None:
            torch.manual_seed(sampling.seed)
            with torch.inference_mode(), self.use_adapter(use_adapter):
                self.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=self._settings(sampling),
                    streamer=answer,
                )

        return AnswerStream(self.tokenizer, sampling, compute)

    def _settings(self, sampling: Sampling) -> GenerationConfig:
        drawn = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=sorted(self.tokenizer.eos_ids),
            pad_token_id=self.tokenizer.pad_id,
            do_sample=not sampling.is_greedy,
            **({} if sampling.is_greedy else drawn),
            # What is left out, transformers takes from the base's generation_config.json.
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
        )

    def use_adapter(self, use: bool) -> Any:
        """A context in which the adapter counts, or the bare base answers."""
        return nullcontext() if use or not self.adapted else self.model.disable_adapter()


class _NotWanted(Exception):
    """Nobody takes the rest of the answer."""


class _Stopped(Exception):
    """The answer has come to a text that ends it."""


class AnswerStream(BaseStreamer):  # type: ignore[misc]
    """Turns tokens from generate() into pieces of text that never split a character.

    The answer is computed in a thread of its own while it is iterated over, which is possible once.
    Close the iterator when not all of it is wanted: that stops the thread, and a process that ends
    while torch computes in a thread is aborted.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        sampling: Sampling,
        compute: Callable[[AnswerStream], None],
    ) -> None:
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._compute = compute
        self._queue: SimpleQueue[str | BaseException | None] = SimpleQueue()
        self._tokens: list[int] = []
        self._text = ""
        self._given = 0
        self._prompt_seen = False
        self._wanted = True
        self._ended = False

    @property
    def output_tokens(self) -> int:
        """The tokens computed so far, without the one that ends the answer."""
        return len(self._tokens)

    @property
    def ended(self) -> bool:
        """Whether the answer came to its end; else it was cut off, or is not complete yet."""
        return self._ended

    def put(self, value: torch.Tensor) -> None:
        if not self._wanted:
            raise _NotWanted
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token in value.view(-1).tolist():
            if token in self._tokenizer.eos_ids:
                self._ended = True
            else:
                self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return
        stop = self._sampling.find_stop(text)
        self._text = text[:stop]
        if stop is not None:
            self._ended = True
            raise _Stopped
        self._give(self._sampling.settled(text))

    def _give(self, end: int) -> None:
        """Hand out the text up to this character."""
        self._queue.put(self._text[self._given : end])
        self._given = max(self._given, end)

    def end(self) -> None:
        """Nothing to do: `_work` says when the answer ends, also by an error."""

    def _work(self) -> None:
        ended: BaseException | None = None
        try:
            with suppress(_Stopped):
                self._compute(self)
            self._give(len(self._text))
        except BaseException as error:
            ended = error
        self._queue.put(ended)

    def __iter__(self) -> Generator[str, None, None]:
        thread = Thread(target=self._work, daemon=True)
        thread.start()
        try:
            while isinstance(piece := self._queue.get(), str):
                yield piece
        finally:
            self._wanted = False
            thread.join()
        if piece is not None:
            raise piece
