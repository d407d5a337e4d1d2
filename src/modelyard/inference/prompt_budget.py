"""How many prompt tokens a step computes beside running answers.

A step that computes a whole long prompt lets every running answer wait; one token at a time lets
the prompt wait. The budget is the most prompt tokens with which a step takes at most `gap_ratio`
times what the running answers take alone, by the times of the last steps: no table of machines.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from statistics import median

_LEAST_TOKENS = 16
"""Fewer hardly cost less: most of the first ones' time is that of reading the weights."""
_FIRST_TOKENS = 64
_STEPS_BETWEEN_PROBES = 64


class PromptBudget:
    """Chooses from the times of past steps.

    A step's time is that of its decoding rows and that of its prompt tokens. The former is seen
    in steps without prompt tokens, by the number of rows: the first with so many is one, and while
    prompts never cease, one in 64. The latter is what a step with them takes longer.
    """

    def __init__(self, *, most_tokens: int, gap_ratio: float | None) -> None:
        self._most_tokens = most_tokens
        self._gap_ratio = gap_ratio
        self._decoding_s: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=9))
        """Seconds of steps that only decode, by the bit length of the number of rows."""
        self._token_s: deque[float] = deque(maxlen=5)
        """Seconds that each prompt token added to the last steps that took about the budget."""
        self._budget = min(_FIRST_TOKENS, most_tokens)
        self._since_probe = 0

    def tokens(self, decoding_rows: int) -> int:
        """The most prompt tokens of a step that decodes this many rows; 0 now and then."""
        if not decoding_rows or self._gap_ratio is None:
            return self._most_tokens
        alone = self._decoding_s.get(decoding_rows.bit_length())
        if alone is None or self._since_probe >= _STEPS_BETWEEN_PROBES:
            return 0
        if self._token_s:
            # A token costs more, the more it attends to: the last step tells first.
            token_s = max(median(self._token_s), self._token_s[-1], 1e-9)
            fitting = int((self._gap_ratio - 1) * median(alone) / token_s)
            if fitting > self._budget:
                # Some tokens hide behind the reading of the weights, more do not: grow with care.
                fitting = min((self._budget + fitting + 1) // 2, self._budget * 5 // 4)
            self._budget = min(max(fitting, self._budget // 2, _LEAST_TOKENS), self._most_tokens)
        return self._budget

    def record(self, decoding_rows: int, prompt_tokens: int, seconds: float) -> None:
        """Remember how long a step took."""
        alone = self._decoding_s.get(decoding_rows.bit_length())
        if not prompt_tokens:
            self._decoding_s[decoding_rows.bit_length()].append(seconds)
            self._since_probe = 0
        elif alone is not None:
            self._since_probe += 1
            if 2 * prompt_tokens >= self._budget:  # a few tokens cost more each than many
                self._token_s.append(max(0.0, seconds - median(alone)) / prompt_tokens)


def share_out(budget: int, lengths: Sequence[int]) -> list[int]:
    """How many tokens of each prompt are computed, of prompts in the order in which they joined.

    Half of the budget is for the one that joined first, so that no prompt waits for ever; the rest
    goes to the shortest ones, so that short prompts do not wait for a long one.
    """
    shares = [0] * len(lengths)
    if lengths:
        shares[0] = min(lengths[0], (budget + 1) // 2)
    left = budget - sum(shares)
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        more = min(left, lengths[place] - shares[place])
        shares[place] += more
        left -= more
    return shares
