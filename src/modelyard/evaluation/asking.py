"""What base and adapter answer to rows that say what is right, generating no more than it takes.

Three rules leave every answer's score as it would be with each one generated to the end:

- A row's own answer is not generated where the loss already shows that every token of it, with the
  one that ends it, is the likeliest: greedy decoding gives just these. It is how speculative
  decoding accepts a draft (Leviathan et al., Fast Inference from Transformers via Speculative
  Decoding, 2023), with the row's answer as the draft.
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
from modelyard.evaluation.rows import EvaluationRows
from modelyard.evaluation.scoring import answer_meets, labels_exact, may_become_label
from modelyard.inference.engine import LoadedModel
from modelyard.inference.generation import Generation
from modelyard.inference.losses import RowLoss
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
    def kind(self) -> Kind:
        """How its answers are scored."""
        return "facts" if "expect" in self.row.fields else "labels"

    @property
    def label(self) -> str:
        """The answer that is right, where the kind is `labels`."""
        return str(self.row.fields["label"])

    def is_right(self, answer: str) -> bool:
        """Whether this answer is right."""
        if self.kind == "facts":
            return answer_meets(answer, self.row.fields["expect"])
        return labels_exact(answer, self.label)


def choose_questions(
    rows: EvaluationRows, tokenizer: ChatTokenizer, limit: int
) -> tuple[Question, ...]:
    """At most `limit` of the rows that say what is right, evenly spread."""
    scorable = [
        place
        for place, row in enumerate(rows.conversations)
        if "expect" in row.fields or "label" in row.fields
    ]
    count = min(limit, len(scorable))
    chosen = [scorable[index * len(scorable) // count] for index in range(count)]
    return tuple(
        Question(row, rows.tokens[place], place, tokenizer.bound_to(row).encode_prompt(row.prompt))
        for place, row in zip(chosen, (rows.conversations[place] for place in chosen), strict=True)
    )


def ask(
    models: Sequence[LoadedModel],
    questions: Sequence[Question],
    losses: Sequence[Sequence[RowLoss]],
    *,
    progress: Progress,
) -> list[list[str]]:
    """Each model's greedy answers, in the order of the questions; all are computed together.

    `losses` are each model's, of all evaluation rows.
    """
    tokenizer = models[0].tokenizer
    longest = max((len(tokenizer.encode(each.row.answer)) for each in questions), default=0)
    limit = min(_LONGEST_ANSWER, longest + _SPARE_TOKENS)
    labels = {each.label for each in questions if each.kind == "labels"}
    needed = 1 + max((len(tokenizer.encode(label)) for label in labels), default=0)
    limits: dict[Kind, int] = {"facts": limit, "labels": min(limit, needed)}

    answers: dict[_Asked, str] = {}
    unknown: dict[_Asked, int] = {}
    for asked in product(range(len(models)), range(len(questions))):
        question = questions[asked[1]]
        own = _known_answer(question, losses[asked[0]][question.place], tokenizer)
        if own is None:
            unknown[asked] = limits[question.kind]
        else:
            answers[asked] = tokenizer.decode(own[:limit]).strip()
    made = _generate(models, questions, unknown, progress)
    again = {
        asked: limit
        for asked, generation in made.items()
        if generation.finish == "length"
        and unknown[asked] < limit
        and may_become_label(generation.text.strip(), questions[asked[1]].label)
    }
    made |= _generate(models, questions, again, progress)
    answers |= {asked: generation.text.strip() for asked, generation in made.items()}
    return [
        [answers[model, question] for question in range(len(questions))]
        for model in range(len(models))
    ]


_Asked = tuple[int, int]
"""The numbers of a model and a question."""


def _generate(
    models: Sequence[LoadedModel],
    questions: Sequence[Question],
    limits: Mapping[_Asked, int],
    progress: Progress,
) -> dict[_Asked, Generation]:
    """Greedy answers of at most so many tokens."""
    if not limits:
        return {}
    longest = models[0].engine.longest
    requests = []
    for (model, question), limit in limits.items():
        prompt = questions[question].prompt
        room = max(1, longest - len(prompt))
        requests.append(models[model].request(prompt, Sampling(max_new_tokens=min(limit, room))))
    made = models[0].engine.answer(requests, progress=progress, label="answers")
    return dict(zip(limits, made, strict=True))


def _known_answer(
    question: Question, loss: RowLoss, tokenizer: ChatTokenizer
) -> Sequence[int] | None:
    """The row's own answer as tokens, when its loss shows that greedy decoding gives just that.

    It must follow the very prompt that would be asked, and be whole: `max_length` may have cut it.
    """
    start, ids = len(question.prompt), question.tokens.input_ids.tolist()
    answer, last = ids[start:-1], ids[-1]
    whole = last in tokenizer.eos_ids and tokenizer.eos_ids.isdisjoint(answer)
    asked = len(ids) > start and ids[:start] == list(question.prompt)
    likeliest = loss.last_miss < start and bool(question.tokens.trained[start:].all())
    return answer if whole and asked and likeliest else None
