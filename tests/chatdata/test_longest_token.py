"""A text has at least as many tokens as its bytes divided by those of the longest token."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from modelyard.chatdata.longest_token import least_tokens_by
from modelyard.chatdata.template import ChatTokenizer

SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
KINDS = ("byte-level", "byte-level, composed", "SentencePiece", "SentencePiece, in words")


def made(kind: str, folder: Path) -> Tokenizer:
    """A tokenizer of a kind, with a control token."""
    if kind.startswith("byte-level"):
        tokenizer = ChatTokenizer.load(folder).tokenizer
        if kind.endswith("composed"):  # as of Qwen
            tokenizer.normalizer = normalizers.NFC()
        return tokenizer
    names = [*BYTES, "<unk>", SPACE, *"abi", "ab", f"{SPACE}ab"]  # as of Mistral
    merges = [("a", "b"), (SPACE, "ab")]
    bpe = models.BPE(dict(zip(names, range(300), strict=False)), merges, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    before = [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    if kind.endswith("in words"):
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer.normalizer = normalizers.Sequence(before)
    tokenizer.add_special_tokens(["<|im_end|>"])
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=300) | st.text(alphabet="ab \n0<|im_end>é€e\u0301", max_size=300))
@settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_text_has_fewer_tokens_than_the_bound(
    tiny_base_folder: Path, kind: str, text: str
) -> None:
    tokenizer = _MADE.setdefault(kind, made(kind, tiny_base_folder))
    least = least_tokens_by(tokenizer)
    assert least is not None
    assert least("a" * 1000) > 10
    assert least(text) <= len(tokenizer.encode(text, add_special_tokens=False).ids)


_MADE: dict[str, Tokenizer] = {}


def test_it_is_not_known_of_tokenizers_that_drop_text(tiny_base_folder: Path) -> None:
    def tokenizer(kind: str = "byte-level") -> Tokenizer:
        return made(kind, tiny_base_folder)

    assert least_tokens_by(tokenizer()) is not None
    stripping = tokenizer()
    stripping.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
    replacing = tokenizer()
    replacing.normalizer = normalizers.Replace("ab", "")
    dropping = tokenizer()
    dropping.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(use_regex=False)]
    )
    greedy = tokenizer()
    greedy.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    lacking = Tokenizer(models.BPE({"a": 0, "<0x00>": 1}, [], byte_fallback=True))
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0))
    for changed in (stripping, replacing, dropping, greedy, words, lacking, pieces):
        assert least_tokens_by(changed) is None


def test_a_control_token_may_be_the_longest(tiny_base_folder: Path) -> None:
    longer = made("byte-level", tiny_base_folder)
    longer.add_special_tokens(["<|" + "x" * 300 + "|>"])
    least = least_tokens_by(longer)
    assert least is not None
    assert (least("a" * 303), least("a" * 304)) == (0, 1)
