"""A text has at least as many tokens as its bytes divided by those of the longest token."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from modelyard.chatdata.longest_token import longest_token_bytes
from modelyard.chatdata.template import ChatTokenizer


@given(text=st.text(max_size=300) | st.text(alphabet="ab \n0<|im_end>é€", max_size=300))
@settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_text_has_fewer_tokens_than_the_bound(tiny_base_folder: Path, text: str) -> None:
    tokenizer = ChatTokenizer.load(tiny_base_folder)
    assert tokenizer.least_tokens("a" * 1000) > 10
    assert tokenizer.least_tokens(text) <= len(tokenizer.encode(text))


def test_it_is_not_known_of_tokenizers_that_change_or_drop_text(tiny_base_folder: Path) -> None:
    def tokenizer() -> Tokenizer:
        return ChatTokenizer.load(tiny_base_folder).tokenizer

    known = longest_token_bytes(tokenizer())
    assert known is not None and known > 1
    normalising = tokenizer()
    normalising.normalizer = normalizers.NFKC()
    dropping = tokenizer()
    dropping.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(use_regex=False)]
    )
    greedy = tokenizer()
    greedy.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    for changed in (normalising, dropping, greedy, words):
        assert longest_token_bytes(changed) is None
    longer = tokenizer()
    longer.add_special_tokens(["<|" + "x" * 300 + "|>"])
    assert longest_token_bytes(longer) == 304
