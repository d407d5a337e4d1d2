"""Losses of base and adapter, and their answers to rows that say what is right.

No more is computed than it takes. Three rules leave every answer's score as it would be with each
one generated to the end:

- An answer goes on from where the loss was computed: as long as the row's own tokens are the
  likeliest, greedy decoding gives just these, and then the likeliest one instead.
- An answer that is compared with a label gets as many tokens as the longest label needs, and one
  that ends it. One that goes on is wrong.
- Unless it may still be right, as `CARD. ARRIVAL.` is for `card arrival`: that one is asked again,
  with the limit that other answers have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow
from modelyard.core.progress import Progress
from modelyard.evaluation.right_answers import kind_of, label_of, says_what_is_right
from modelyard.evaluation.rows import EvaluationRows
from modelyard.evaluation.scoring import may_become_label
from modelyard.inference.answering import Start
from modelyard.inference.engine import LoadedModel
from modelyard.inference.generation import Generation, Request
from modelyard.inference.losses import RowLoss, ScoredRow
from modelyard.inference.sampling import Sampling
from modelyard.records.evaluation import Kind

_SPARE_TOKENS = 16
_LONGEST_ANSWER = 256


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A row that says what a right answer is: `expect` or `label`."""

    row: Conversation
    """The question with its own answer."""
    tokens: TokenRow
    """Both as tokens."""
    place: int
    """Its place among the evaluation rows."""
    prompt: Sequence[int]
    """The tokens of the question, up to where the answer begins."""

    @property
    def leads_its_row(self) -> bool:
        """Whether the row begins with the very prompt, so that an answer can go on from it."""
        ids = self.tokens.input_ids[: len(self.prompt)]
        return ids.tolist() == list(self.prompt) and len(self.tokens.input_ids) > len(ids)

    @property
    def kind(self) -> Kind:
        """How its answers are scored."""
        return kind_of(self.row)

    @property
    def label(self) -> str:
        """The answer that is right, where the kind is `labels`."""
        return label_of(self.row)


def choose_questions(
    rows: EvaluationRows, tokenizer: ChatTokenizer, limit: int
) -> tuple[Question, ...]:
    """At most `limit` of the rows that say what is right, evenly spread."""
    scorable = [place for place, row in enumerate(rows.conversations) if says_what_is_right(row)]
    count = min(limit, len(scorable))
    chosen = [scorable[index * len(scorable) // count] for index in range(count)]
    return tuple(
        Question(row, rows.tokens[place], place, tokenizer.bound_to(row).encode_prompt(row.prompt))
        for place, row in zip(chosen, (rows.conversations[place] for place in chosen), strict=True)
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model makes of the evaluation rows."""

    losses: tuple[RowLoss, ...]
    """Of all rows."""
    answers: tuple[str, ...]
    """Its greedy answers, in the order of the questions."""


def measure(
    models: Sequence[LoadedModel],
    rows: Sequence[TokenRow],
    questions: Sequence[Question],
    *,
    progress: Progress,
) -> list[Measured]:
    """Each model's losses of the rows and answers to the questions; all are computed together."""
    asking = _Asking(models, rows, questions, progress)
    losses, answers = asking.score()
    answers |= asking.generate({asked: asking.limit_of(asked) for asked in asking.left(answers)})
    answers |= asking.generate(asking.undecided(answers))
    count = len(rows)
    return [
        Measured(
            losses=tuple(losses[number * count : (number + 1) * count]),
            answers=tuple(answers[number, at].text.strip() for at in range(len(questions))),
        )
        for number in range(len(models))
    ]


_Asked = tuple[int, int]
"""The numbers of a model and a question."""


class _Asking:
    """The questions, and how many tokens their answers may have."""

    def __init__(
        self,
        models: Sequence[LoadedModel],
        rows: Sequence[TokenRow],
        questions: Sequence[Question],
        progress: Progress,
    ) -> None:
        self._models, self._rows, self._questions = models, rows, questions
        self._progress = progress
        self._tokenizer = models[0].tokenizer
        longest = max((self._length(each.row.answer) for each in questions), default=0)
        self._limit = min(_LONGEST_ANSWER, longest + _SPARE_TOKENS)
        labels = {each.label for each in questions if each.kind == "labels"}
        needed = 1 + max((self._length(label) for label in labels), default=0)
        self._limits: dict[Kind, int] = {"facts": self._limit, "labels": min(self._limit, needed)}

    def _length(self, text: str) -> int:
        return len(self._tokenizer.encode(text))

    def limit_of(self, asked: _Asked) -> int:
        """How many tokens an answer gets at first."""
        return self._limits[self._questions[asked[1]].kind]

    def left(self, answers: Mapping[_Asked, Generation]) -> list[_Asked]:
        """Which answers are still wanted."""
        every = product(range(len(self._models)), range(len(self._questions)))
        return [asked for asked in every if asked not in answers]

    def undecided(self, answers: Mapping[_Asked, Generation]) -> dict[_Asked, int]:
        """Answers that were cut and may still become right, with the limit they get instead."""
        return {
            asked: self._limit
            for asked, generation in answers.items()
            if generation.finish == "length"
            and self.limit_of(asked) < self._limit
            and may_become_label(generation.text.strip(), self._questions[asked[1]].label)
        }

    def score(self) -> tuple[list[RowLoss], dict[_Asked, Generation]]:
        """The losses of all rows, model by model, and answers to the questions that lead theirs."""
        count = len(self._rows)
        at = {each.place: at for at, each in enumerate(self._questions) if each.leads_its_row}
        scored = []
        for model, place in product(range(len(self._models)), range(count)):
            room = 0
            if place in at:
                request = self._request((model, at[place]), self.limit_of((model, at[place])))
                room = len(request.prompt) + request.sampling.max_new_tokens
            scored.append(ScoredRow(self._rows[place], self._models[model].adapter, room))
        self._progress.begin("rows", len(scored), "rows")
        done = 0

        def wanted(number: int, loss: RowLoss) -> Start | None:
            nonlocal done
            done += 1
            self._progress.advance(done)
            model, place = divmod(number, count)
            return self._start((model, at[place]), loss) if place in at else None

        losses, made = self._models[0].engine.score_and_answer(scored, wanted)
        self._progress.end()
        return losses, {
            (number // count, at[number % count]): answer for number, answer in made.items()
        }

    def _start(self, asked: _Asked, loss: RowLoss) -> Start:
        question = self._questions[asked[1]]
        answer = loss.greedy_beginning(question.tokens, len(question.prompt))
        ends = bool(answer) and answer[-1] in self._tokenizer.eos_ids
        limit = self._limit if ends else self.limit_of(asked)
        return Start(self._request(asked, limit), tuple(answer))

    def _request(self, asked: _Asked, limit: int) -> Request:
        model, prompt = self._models[asked[0]], self._questions[asked[1]].prompt
        room = max(1, model.engine.longest - len(prompt))
        return model.request(prompt, Sampling(max_new_tokens=min(limit, room)))

    def generate(self, limits: Mapping[_Asked, int]) -> dict[_Asked, Generation]:
        """Greedy answers of at most so many tokens."""
        if not limits:
            return {}
        requests = [self._request(asked, limit) for asked, limit in limits.items()]
        engine = self._models[0].engine
        made = engine.answer(requests, progress=self._progress, label="answers")
        return dict(zip(limits, made, strict=True))
