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

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow
from modelyard.core.progress import Progress
from modelyard.evaluation.rows import EvaluationRows
from modelyard.evaluation.scoring import answer_meets, labels_exact, may_become_label
from modelyard.inference.engine import Engine, RowLoss
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
    engine: Engine,
    questions: Sequence[Question],
    losses: Sequence[RowLoss],
    *,
    use_adapter: bool,
    progress: Progress,
) -> list[str]:
    """The greedy answers of the base or of the adapter, in the order of the questions.

    `losses` are this model's, of all evaluation rows.
    """
    tokenizer = engine.tokenizer
    longest = max((len(tokenizer.encode(each.row.answer)) for each in questions), default=0)
    limit = min(_LONGEST_ANSWER, longest + _SPARE_TOKENS)
    answers: dict[int, str] = {}

    def generate(places: Sequence[int], max_new_tokens: int) -> Mapping[int, bool]:
        """Answer these questions; says which answers came to their end."""
        if not places:
            return {}
        made = engine.generate(
            [questions[place].prompt for place in places],
            Sampling(max_new_tokens=max_new_tokens),
            use_adapter=use_adapter,
            progress=progress,
            label="adapter" if use_adapter else "base",
        )
        answers.update((place, each.text) for place, each in zip(places, made, strict=True))
        return {place: each.ended for place, each in zip(places, made, strict=True)}

    unknown: dict[Kind, list[int]] = {"facts": [], "labels": []}
    for place, question in enumerate(questions):
        own = _known_answer(question, losses[question.place], tokenizer)
        if own is None:
            unknown[question.kind].append(place)
        else:
            answers[place] = tokenizer.decode(own[:limit]).strip()
    generate(unknown["facts"], limit)
    labels = {each.label for each in questions if each.kind == "labels"}
    needed = 1 + max((len(tokenizer.encode(label)) for label in labels), default=0)
    ended = generate(unknown["labels"], min(limit, needed))
    again = [
        place
        for place in unknown["labels"]
        if not ended[place] and may_become_label(answers[place], questions[place].label)
    ]
    if needed < limit:
        generate(again, limit)
    return [answers[place] for place in range(len(questions))]


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
