"""The text of an answer while its tokens come: never half a character, never past a stop string.

Owns which text is certain. Its pieces together are the text that all tokens decode to, and each
token costs the decoding of a few tokens, however long the answer is.
"""

from __future__ import annotations

import re

from modelyard.chatdata.template import ChatTokenizer
from modelyard.inference.sampling import Sampling

_UNDECODED = "\N{REPLACEMENT CHARACTER}"
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_LONGEST_WINDOW = 16
_KEPT_TOKENS = 8


class Detokenizer:
    """Turns the tokens of one answer into pieces of text.

    It decodes a window of the last tokens again, and gives what was not given before:

    - A replacement character at the end may be a character that is not complete: it is held back.
      A token more decides.
    - Byte tokens (`<0xE2>` of SentencePiece) are decoded as a run: if one is wrong, all of them
      become replacement characters. They are held back until the run ends.
    - Control tokens, and numbers above the vocabulary, are no text and end no run.
    - The window's first token is context: decoders strip the blank before the first word. Eight
      tokens have at least four bytes, and no byte before these can change how the next is read.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._given = 0
        """How many characters of the window's text were given."""
        self.is_in_bytes = False
        """Whether the last token is one of a run of byte tokens."""

    def add(self, token: int) -> str:
        """The text that has become certain with this token, perhaps none."""
        name = self._tokenizer.tokenizer.id_to_token(token)
        if name is None or token in self._tokenizer.special_ids:
            return ""
        self._window.append(token)
        self.is_in_bytes = _BYTE_TOKEN.fullmatch(name) is not None
        if self.is_in_bytes:
            return ""
        text = self._tokenizer.decode(self._window)
        certain = len(text) - text.endswith(_UNDECODED)
        piece = text[self._given : certain]
        self._given = certain
        if len(self._window) > _LONGEST_WINDOW:
            self._shorten(len(text) - certain)
        return piece

    def _shorten(self, held_back: int) -> None:
        tokens = self._window[-_KEPT_TOKENS:]
        text = self._tokenizer.decode(tokens)
        if len(text) > held_back:
            self._window, self._given = tokens, len(text) - held_back

    def held_back(self) -> str:
        """What would be given if no more tokens came."""
        return self._tokenizer.decode(self._window)[self._given :]

    def finish(self) -> str:
        """What was held back, when there are no more tokens."""
        piece = self.held_back()
        self._given += len(piece)
        return piece


class AnswerText:
    """The text of one answer: that of its tokens, up to the first stop string.

    What may be the beginning of a stop string is held back.
    """

    def __init__(self, tokenizer: ChatTokenizer, sampling: Sampling) -> None:
        self._tokens = Detokenizer(tokenizer)
        self._sampling = sampling
        self._held = ""
        self.stopped_by: str | None = None
        """The stop string that has ended the answer."""

    def add(self, token: int) -> str:
        """The text that can be given with this token, perhaps none."""
        text = self._give(self._tokens.add(token))
        if self._sampling.stop and self._tokens.is_in_bytes:  # the run may end with a stop string
            held_back = self._tokens.held_back()
            if self._sampling.find_stop(self._held + held_back):
                text += self._give(self._tokens.finish())
        return text

    def finish(self) -> str:
        """The rest of the text, when there are no more tokens."""
        text = self._give(self._tokens.finish())
        rest, self._held = self._held, ""
        return text + rest

    def _give(self, piece: str) -> str:
        if self.stopped_by is not None or not piece:
            return ""
        text = self._held + piece
        if found := self._sampling.find_stop(text):
            end, self.stopped_by = found
            self._held = ""
            return text[:end]
        settled = self._sampling.settled(text)
        self._held = text[settled:]
        return text[:settled]
