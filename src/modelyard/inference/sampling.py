"""How an answer's tokens are chosen, and where it ends. Knows no model; does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.core.errors import InvalidInput

HOTTEST = 5.0
"""The highest temperature; at it the draws are close to even."""
_COLDEST = 1e-3
LARGEST_SEED = 2**63 - 1
"""The largest seed that torch's generators take as a signed number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings of one answer, with the names and meanings of the OpenAI API where it has them.

    Raises InvalidInput with every value that is out of range.
    """

    max_new_tokens: int
    """The longest answer, in tokens; the one that ends it counts."""
    temperature: float = 0.0
    """What logits are divided by before a token is drawn; 0 takes the likeliest one."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""
    top_k: int = 0
    """Only this many of the likeliest tokens are drawn from; 0 is all of them."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer, and are not part of it."""
    seed: int = 0
    """What the draws follow from: the same seed gives the same answer on the same machine."""

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken: with so low a temperature it always wins."""
        return self.temperature < _COLDEST

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (0 <= self.temperature <= HOTTEST, f"0 to {HOTTEST:g}"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "at least 1, or 0 for all tokens"),
            "stop": ("" not in self.stop, "texts that are not empty"),
            "seed": (0 <= self.seed <= LARGEST_SEED, f"0 to {LARGEST_SEED:,}"),
        }
        wrong = [
            f"{name} must be {bounds}, not {getattr(self, name)!r}"
            for name, (is_valid, bounds) in checks.items()
            if not is_valid
        ]
        if wrong:
            raise InvalidInput("; ".join(wrong))

    def find_stop(self, text: str) -> tuple[int, str] | None:
        """Where in `text` what ends an answer begins, and what it is; None when there is none.

        Of several it is the one that is complete first, and of those that end at one place the
        longest: so it does not matter in which pieces the text came.
        """
        found = [
            (place + len(each), place, each)
            for each in self.stop
            if (place := text.find(each)) >= 0
        ]
        return min(found)[1:] if found else None

    def settled(self, text: str) -> int:
        """How many characters of `text` belong to the answer, whatever follows.

        Those behind them may begin a text that ends it.
        """
        begun = (
            size
            for each in self.stop
            for size in range(1, min(len(each), len(text) + 1))
            if text.endswith(each[:size])
        )
        return len(text) - max(begun, default=0)
