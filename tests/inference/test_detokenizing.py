"""The pieces of an answer's text are its whole text, and never half a character."""

from __future__ import annotations

import random
from itertools import product

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models

from modelyard.chatdata.template import ChatTemplate, ChatTokenizer
from modelyard.inference.detokenizing import AnswerText, Detokenizer
from modelyard.inference.sampling import Sampling

WORDS = [
    "▁",
    "▁▁",
    "▁the",
    "▁a",
    "he",
    "ld",
    ".",
    "é",
    "▁ü",
    "字",
    "👍",
    "x1",
    "▁▁▁▁",
    "<0x",
    "\ufffd",
]


def with_specials(tokenizer: Tokenizer) -> ChatTokenizer:
    tokenizer.add_special_tokens(["<|end|>", "<|start|>"])
    tokenizer.add_tokens([AddedToken("<plain added>", special=False)])
    return ChatTokenizer(
        tokenizer=tokenizer,
        template=ChatTemplate("", name="none", special_tokens={}),
        eos_ids=frozenset({tokenizer.token_to_id("<|end|>")}),
        stop_ids=frozenset(),
        stops_file="none",
        pad_id=0,
        special_texts=("<|end|>", "<|start|>"),
    )


def byte_level() -> ChatTokenizer:
    """As GPT-2, SmolLM, Qwen and Llama 3 have it: every token is some bytes, also parts of two
    characters."""
    letters = bytes_as_letters()
    parts = dict.fromkeys(letters.values())
    chosen = random.Random(4)
    joined = "abé字👍👍🏽 the\n\ufffde\u0301".encode()
    for _ in range(300):
        start = chosen.randrange(len(joined))
        parts["".join(letters[byte] for byte in joined[start : start + chosen.randint(1, 5)])] = (
            None
        )
    tokenizer = Tokenizer(models.BPE({part: number for number, part in enumerate(parts)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    return with_specials(tokenizer)


def bytes_as_letters() -> dict[int, str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {
        **{byte: chr(byte) for byte in plain},
        **{byte: chr(256 + number) for number, byte in enumerate(others)},
    }


def vocabulary() -> dict[str, int]:
    tokens = [f"<0x{byte:02X}>" for byte in range(256)] + WORDS
    return {token: number for number, token in enumerate(tokens)}


def byte_fallback() -> ChatTokenizer:
    """As Llama 2, Mistral and Gemma have it."""
    tokenizer = Tokenizer(models.BPE(vocabulary(), [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    return with_specials(tokenizer)


def metaspace() -> ChatTokenizer:
    tokenizer = Tokenizer(models.BPE(vocabulary(), []))
    tokenizer.decoder = decoders.Metaspace()
    return with_specials(tokenizer)


TOKENIZERS = {
    "byte level": byte_level(),
    "byte fallback": byte_fallback(),
    "metaspace": metaspace(),
}


def some_tokens(chosen: random.Random, tokenizer: ChatTokenizer, count: int) -> list[int]:
    """Random tokens; among them runs of one token, of control tokens and of the numbers above the
    vocabulary that fill up a base's output layer, and of true UTF-8."""
    size = tokenizer.tokenizer.get_vocab_size()
    tokens: list[int] = []
    while len(tokens) < count:
        kind = chosen.random()
        if kind < 0.6:
            tokens.append(chosen.randrange(size))
        elif kind < 0.7:
            tokens += [chosen.randrange(size)] * chosen.randint(2, 40)
        elif kind < 0.8:
            tokens += [chosen.choice((size - 2, size - 3, size + 5))] * chosen.randint(1, 30)
        else:
            text = "".join(chosen.choices("é字👍a\ufffd", k=chosen.randint(1, 20)))
            forms = {0: "<0x{:02X}>".format, 1: lambda byte: bytes_as_letters()[byte]}
            for byte in text.encode():
                found = [tokenizer.tokenizer.token_to_id(form(byte)) for form in forms.values()]
                tokens += [token for token in found if token is not None]
    return tokens


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_pieces_are_the_whole_text_for_any_tokens(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    chosen = random.Random(7)
    for _ in range(60):
        tokens = some_tokens(chosen, tokenizer, chosen.randint(0, 60))
        pieces = Detokenizer(tokenizer)
        text = "".join(map(pieces.add, tokens)) + pieces.finish()
        assert text == tokenizer.decode(tokens), tokens


def test_a_character_of_several_tokens_comes_whole_and_as_soon_as_it_is() -> None:
    tokenizer = TOKENIZERS["byte level"]
    letters = bytes_as_letters()
    pieces = Detokenizer(tokenizer)
    given = [
        pieces.add(tokenizer.tokenizer.token_to_id(letters[byte])) for byte in "aé字👍".encode()
    ]
    assert given == ["a", "", "é", "", "", "字", "", "", "", "👍"]


def test_a_run_of_byte_tokens_comes_when_it_has_ended() -> None:
    tokenizer = TOKENIZERS["byte fallback"].tokenizer
    pieces = Detokenizer(TOKENIZERS["byte fallback"])
    tokens = ["▁the", "<0xC3>", "<0xA9>", "<0xC3>", "he", "<0xC3>", "<0xA9>"]
    given = [pieces.add(tokenizer.token_to_id(token)) for token in tokens]
    assert given == ["the", "", "", "", "\ufffd\ufffd\ufffdhe", "", ""]
    assert pieces.finish() == "é"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_token_costs_the_same_in_a_long_answer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = TOKENIZERS[name]
    chosen = random.Random(3)
    decoded: list[int] = []
    decode = ChatTokenizer.decode

    def counting(self: ChatTokenizer, ids: list[int]) -> str:
        decoded.append(len(ids))
        return decode(self, ids)

    monkeypatch.setattr(ChatTokenizer, "decode", counting)
    wrong = tokenizer.tokenizer.token_to_id(bytes_as_letters()[0xFF])
    control = next(iter(tokenizer.special_ids))
    runs = [[control] * 2000, some_tokens(chosen, tokenizer, 2000)]
    for tokens in runs if wrong is None else [*runs, [wrong] * 2000]:
        decoded.clear()
        pieces = Detokenizer(tokenizer)
        for token in tokens:
            pieces.add(token)
        pieces.finish()
        assert sum(decoded) <= 30 * len(tokens)


def of_texts(texts: list[str]) -> ChatTokenizer:
    """A tokenizer whose nth token is the nth text, in ASCII without blanks."""
    tokenizer = Tokenizer(models.BPE({text: number for number, text in enumerate(texts)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    return with_specials(tokenizer)


def stopping_at(*stops: str) -> Sampling:
    return Sampling(max_new_tokens=1000, stop=stops)


def test_the_text_ends_before_the_stop_string_that_is_complete_first() -> None:
    chosen = random.Random(1)
    texts = ["".join(letters) for n in (1, 2, 3) for letters in product("abc", repeat=n)]
    tokenizer = of_texts(texts)
    for _ in range(2000):
        stops = {"".join(chosen.choices("ab", k=chosen.randint(1, 4))) for _ in range(3)}
        tokens = chosen.choices(range(len(texts)), k=chosen.randint(0, 12))
        whole = "".join(texts[token] for token in tokens)
        ends = [
            (end, -len(stop))
            for end in range(len(whole) + 1)
            for stop in stops
            if whole[:end].endswith(stop)
        ]
        end, length = min(ends, default=(len(whole), 0))
        answer = AnswerText(tokenizer, stopping_at(*stops))
        given = "".join(map(answer.add, tokens)) + answer.finish()
        assert (given, answer.stopped_by is not None) == (whole[: end + length], bool(ends)), (
            whole,
            stops,
        )


def test_only_a_possible_beginning_of_a_stop_string_is_held_back() -> None:
    pieces = ["one,", "EN", "D", ",two;", "three,E", "N", "D.,four"]
    answer = AnswerText(of_texts(pieces), stopping_at("END.", ";;"))
    given = [answer.add(token) for token in range(len(pieces))]
    assert given == ["one,", "", "", "END,two", ";three,", "", ""]
    assert (answer.stopped_by is not None, answer.finish()) == (True, "")


def test_a_stop_string_spans_tokens_and_characters_of_several_tokens() -> None:
    tokenizer = TOKENIZERS["byte level"]
    letters = bytes_as_letters()
    answer = AnswerText(tokenizer, stopping_at("字👍"))
    given = ""
    for byte in "a字b字👍c".encode():
        given += answer.add(tokenizer.tokenizer.token_to_id(letters[byte]))
        if answer.stopped_by is not None:
            break
    assert given + answer.finish() == "a字b"
    assert byte == "👍".encode()[-1]


def test_a_stop_string_ends_a_run_of_byte_tokens() -> None:
    tokenizer = TOKENIZERS["byte fallback"].tokenizer
    text = AnswerText(TOKENIZERS["byte fallback"], Sampling(max_new_tokens=99, stop=("\n", "é")))
    tokens = ["▁the", "<0x41>", "<0xC3>", "<0xA9>"]
    given = [text.add(tokenizer.token_to_id(token)) for token in tokens]
    assert (given, text.stopped_by) == (["the", "", "", "A"], "é")
    assert text.finish() == ""


def test_a_held_back_end_is_given_when_the_answer_ends() -> None:
    tokenizer = TOKENIZERS["byte fallback"]
    answer = AnswerText(tokenizer, stopping_at("he END"))
    given = "".join(
        answer.add(tokenizer.tokenizer.token_to_id(token)) for token in ("▁the", "he", "<0x20>")
    )
    assert (given, answer.finish()) == ("the", "he ")
