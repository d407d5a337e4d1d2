"""How answers are drawn and where they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from answering_base import answering
from modelyard.core.errors import InvalidInput
from modelyard.inference.engine import LoadedModel
from modelyard.inference.sampling import Sampling

PROMPT = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"


def ask(model: LoadedModel, **settings: object) -> tuple[list[str], str, bool, int]:
    """The pieces of a streamed answer, the same answer unstreamed, whether it ended, its tokens."""
    sampling = Sampling(**{"max_new_tokens": 24, **settings})
    prompt = model.tokenizer.encode(PROMPT)
    answer = model.stream(prompt, sampling)
    pieces = list(answer)
    (whole,) = model.engine.answer([model.request(prompt, sampling)], label="answers")
    assert (whole.finish == "stop") == answer.ended
    return pieces, whole.text, answer.ended, answer.output_tokens


def test_everything_that_is_out_of_range_is_said_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        Sampling(max_new_tokens=0, temperature=-1, top_p=0, top_k=-1, stop=("x", ""), seed=-1)
    assert refused.value.message.split("; ") == [
        "max_new_tokens must be at least 1, not 0",
        "temperature must be 0 to 5, not -1",
        "top_p must be above 0 and at most 1, not 0",
        "top_k must be at least 1, or 0 for all tokens, not -1",
        "stop must be texts that are not empty, not ('x', '')",
        "seed must be 0 to 9,223,372,036,854,775,807, not -1",
    ]
    for settings in ({"temperature": float("nan")}, {"top_p": float("nan")}, {"seed": 2**63}):
        with pytest.raises(InvalidInput):
            Sampling(max_new_tokens=1, **settings)


def test_only_what_may_begin_a_stop_text_is_held_back() -> None:
    sampling = Sampling(max_new_tokens=1, stop=("\n\n", "User:"))
    assert [sampling.settled(text) for text in ("one", "one\n", "one Us", "Us er", "")] == [
        3, 3, 4, 5, 0
    ]  # fmt: skip
    assert sampling.find_stop("one User: two\n\n") == (4, "User:")
    assert sampling.find_stop("one User two\n") is None


def test_an_answer_ends_before_its_stop_text(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "the lazy dog jumps")
    pieces, whole, ended, tokens = ask(model, stop=("fox", "y d"))
    assert "".join(pieces) == whole == "the laz"
    assert ended
    assert tokens < len(model.tokenizer.encode("the lazy dog jumps"))
    assert ask(model, stop=("dog jumps over",))[1:3] == ("the lazy dog jumps", True)
    assert "".join(ask(model, stop=("dog jumps over",))[0]) == "the lazy dog jumps"
    assert ask(model, max_new_tokens=2)[2:] == (False, 2)


def test_so_low_a_temperature_that_one_token_always_wins_is_greedy(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "the lazy dog")
    assert ask(model)[1] == ask(model, temperature=1e-9)[1] == "the lazy dog"


def test_draws_follow_from_the_seed_and_stay_among_the_likeliest(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "the lazy dog")
    first, again, other = (ask(model, temperature=5.0, seed=seed)[1] for seed in (1, 1, 2))
    assert first == again != other
    assert "the lazy dog" not in (first, other)
    assert ask(model, temperature=5.0, top_k=1)[1] == "the lazy dog"
    assert ask(model, temperature=5.0, top_p=1e-6)[1] == "the lazy dog"
