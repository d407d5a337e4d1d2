"""What is asked of a scheduler, and the answer as it is being computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Literal

from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.errors import ModelyardError
from modelyard.inference.constraint import Constraint
from modelyard.inference.engine_limits import BatchShare
from modelyard.inference.interfaces import LoadedAdapter
from modelyard.inference.sampling import Sampling

Finish = Literal["stop", "length", "cancelled", "error"]
"""Why an answer ended: the model or a stop string ended it, `max_new_tokens` were reached, nobody
wanted the rest, or it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answer that is wanted."""

    prompt: tuple[int, ...]
    """Its token ids, at least one."""
    sampling: Sampling
    """How tokens are chosen, and where the answer ends."""
    tokenizer: ChatTokenizer
    """That of the adapter, or of the base: its control tokens end the answer, and it decodes."""
    adapter: LoadedAdapter | None = None
    """Loaded by the decoder's bank; None for the bare base."""
    organisation: str = ""
    """Who asks: the unit of fairness, and of what the prefix cache shares."""
    share: BatchShare | None = None
    """How many answers like this one are computed at once; None: as many as there are rows."""
    cancelled: Event | None = None
    """Is set by whoever asked when it wants no more: the answer leaves at the next step."""
    use_prefix_cache: bool = True
    """Whether the keys and values of an earlier prompt's beginning may be used and kept.

    Off where figures must not depend on what was asked before: evaluation.
    """
    constraint: Constraint | None = None
    """What the answer must keep to, of this request alone; None for any text."""


class Generation:
    """An answer that is being computed. Any thread may read and cancel it.

    When it is dropped before its end, so that nobody can read the rest, it is cancelled.
    """

    def __init__(self, request: Request, leave: Callable[[], None]) -> None:
        self.request = request
        self.finish: Finish | None = None
        """Why it ended; None while it has not. It is set after the last text."""
        self.stopped_by: str | None = None
        """The stop string that ended it, where one did."""
        self.error: ModelyardError | None = None
        """What failed, where `finish` is `error`."""
        self.cached_tokens = 0
        """How many tokens of the prompt were not computed: the prefix cache had them."""
        self._leave = leave
        self._tokens: list[int] = []
        self._pieces: list[str] = []
        self._taken = 0
        self._changed = Event()

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens so far, without a control token that ended the answer."""
        return tuple(self._tokens)

    @property
    def text(self) -> str:
        """The text so far. It ends before a stop string, and in no part of a character."""
        return "".join(self._pieces)

    def take_text(self) -> str:
        """The text that has come since this was last asked."""
        pieces = self._pieces[self._taken :]
        self._taken += len(pieces)
        return "".join(pieces)

    def wait_for_text(self, timeout_s: float) -> str:
        """The text that has come since it was last taken, waited for when there is none.

        Empty when the answer has ended, or after `timeout_s`. One thread at a time may wait; only
        what comes of this answer wakes it.
        """
        self._changed.clear()
        if not (text := self.take_text()) and self.finish is None:
            self._changed.wait(timeout_s)
            text = self.take_text()
        return text

    def cancel(self) -> None:
        """Want no more of it: it leaves at the next step. Nothing, when it has ended."""
        self._leave()

    # Only the scheduler calls what follows, in the thread that computes.

    def put(self, token: int, text: str) -> None:
        """Add a token, and the text that has become certain with it."""
        self._tokens.append(token)
        if text:
            self._pieces.append(text)
            self._changed.set()

    def end(
        self,
        finish: Finish,
        text: str = "",
        error: ModelyardError | None = None,
        *,
        stopped_by: str | None = None,
    ) -> None:
        """Add the last text and say why there is no more."""
        if text:
            self._pieces.append(text)
        self.error = error
        self.stopped_by = stopped_by
        self.finish = finish
        self._changed.set()
