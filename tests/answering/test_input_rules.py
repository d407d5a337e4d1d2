"""What a domain takes: the length and the languages of a request."""

from __future__ import annotations

import pytest

from answer_samples import make_effective, make_request
from modelyard.answering.input_rules import check_input, code_languages
from modelyard.answering.prompt import build_messages
from modelyard.configs.kinds.specialized_models import InputRules
from modelyard.core.errors import InvalidInput

CODE = ("python", "bash", "go")
PROSE = ("de", "en")


def check(question: str, rules: InputRules, **more: str) -> None:
    effective, request = make_effective(input=rules), make_request(question, **more)
    check_input(effective, request, build_messages(effective, request, ()))


@pytest.mark.parametrize(
    ("question", "languages", "language"),
    [
        ("Why?", CODE, None),
        ("Why?", CODE, "Python"),
        ("Why?", CODE, "py"),
        ("Why?", PROSE, "de-AT"),
        ("Why?\n```sh\nls\n```", CODE, None),
        ("Why?\n```console\n$ ls\n```", CODE, None),
        ("Why?\n```\nfn main() {}\n```", CODE, None),
        ("Why?\n````python\n```rust\n````", CODE, None),
        ("Translate:\n```rust\nfn main() {}\n```", PROSE, None),
        ("Why?\n```rust\nfn main() {}\n```", (), None),
    ],
)
def test_a_request_in_a_language_of_the_domain_is_taken(
    question: str, languages: tuple[str, ...], language: str | None
) -> None:
    check(question, InputRules(languages=languages), **({"language": language} if language else {}))


@pytest.mark.parametrize(
    ("question", "languages", "language", "said"),
    [
        ("Why?", CODE, "rust", "support takes no rust"),
        ("Why?", PROSE, "fr", "support takes no fr"),
        ("Why?\n```rust\nfn main() {}\n```", CODE, None, "support takes no rust"),
        ("Why?\n~~~ {.python}\n~~~\n   ```js title=x\n", CODE, None, "support takes no js"),
        ("Why?", CODE, "pyton", "did you mean 'python'"),
    ],
)
def test_a_request_in_another_language_is_refused(
    question: str, languages: tuple[str, ...], language: str | None, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        check(
            question,
            InputRules(languages=languages),
            **({"language": language} if language else {}),
        )


def test_a_request_that_is_too_long_is_refused_with_both_lengths() -> None:
    check("word " * 100, InputRules(max_tokens=300))
    with pytest.raises(InvalidInput, match="at most 300"):
        check("word " * 1000, InputRules(max_tokens=300))


def test_the_end_of_a_block_names_no_language() -> None:
    assert list(code_languages("```go\n```\n``` rust\nx\n```")) == ["go", "rust"]
