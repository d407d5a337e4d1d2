"""`models generate`: one answer, and conversations from a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from test_validate_config_command import Models

from answering_base import write_answering
from modelyard.chatdata.conversation import Message
from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.layout import Project
from modelyard.monitoring.samples import read_samples

CHAT = ("generate", "--chat", "--base-model", "tiny", "--max-tokens", "4")


class Asking:
    """Runs `models` with text on stdin; what it printed is read afterwards."""

    def __init__(self, models: Models, patch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._models, self._patch, self._capsys = models, patch, capsys

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        self._patch.setattr("sys.stdin", StringIO(stdin))
        code = self._models(*words)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def asking(
    models: Models, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Asking:
    return Asking(models, monkeypatch, capsys)


def test_each_line_of_a_pipe_goes_on_from_the_answers_before(
    project: Project, asking: Asking, tiny_base_folder: Path
) -> None:
    lines = "Who leads?\r\n\n//exit is a word\n/reset\nYes\n/exit\nNo\n"
    code, out, err = asking(*CHAT, "--json", "--system", "Be kind.", "Hello", stdin=lines)
    assert (code, err.splitlines()[-1]) == (0, "a new conversation")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [(each["turn"], each["prompt"]) for each in answers] == [
        (1, "Hello"),
        (2, "Who leads?"),
        (3, "/exit is a word"),
        (1, "Yes"),
    ]
    assert all(each["cut_off"] and each["model"] == "tiny" for each in answers)

    samples = list(read_samples(project))
    assert [sample.outcome for sample in samples] == ["answered"] * 4
    assert [sample.load_s == 0 for sample in samples] == [False, True, True, True]
    tokenizer = ChatTokenizer.load(tiny_base_folder)
    turns = [Message("system", "Be kind."), Message("user", "Hello")]
    assert samples[0].prompt_tokens == len(tokenizer.encode_prompt(turns))
    assert samples[3].prompt_tokens == len(
        tokenizer.encode_prompt([*turns[:1], Message("user", "Yes")])
    )
    # Four tokens of the answer, and what the template puts around it.
    turns += [Message("assistant", ""), Message("user", "Who leads?")]
    assert samples[1].prompt_tokens == len(tokenizer.encode_prompt(turns)) + 4


def test_a_pipe_prints_the_answers_alone(asking: Asking) -> None:
    words = ("--seed", "3", "--temperature", "1", "--top-k", "5", "--top-p", "0.9")
    code, out, err = asking(*CHAT, *words, stdin="One\nTwo\n")
    assert code == 0
    assert err.count("cut off after 4 tokens: --max-tokens allows longer answers") == 2
    assert asking(*CHAT, *words, stdin="One\nTwo\n")[1] == out
    assert asking(*CHAT, *words[2:], "--seed", "4", stdin="One\nTwo\n")[1] != out


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("/exit now\n", "/exit stands alone on its line"),
        ("/rest\n", "there is no command /rest (did you mean '/reset'?)"),
        ("Hello\n" + "team " * 600, "more than the model can take and answer (context length 512)"),
        ("\udcff\n", "stdin: the line is not UTF-8 text"),
    ],
)
def test_a_line_that_cannot_be_asked_ends_a_pipe(asking: Asking, stdin: str, said: str) -> None:
    code, out, err = asking(*CHAT, stdin=stdin)
    assert (code, bool(out)) == (2, "Hello" in stdin)
    assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("Hi", "--top-p", "0"), "top_p must be above 0 and at most 1, not 0.0"),
        (("Hi", "--top-p", "1.5"), "'--top-p': must be at most 1, not 1.5"),
        (("Hi", "--temperature", "-1"), "'--temperature': must be at least 0, not -1.0"),
        (("Hi", "--stop", ""), "stop must be texts that are not empty"),
        ((), "there is no question"),
        (("-", "--chat"), "both read stdin"),
        (("--chat", "--compare-base"), "--compare-base compares the answers to one prompt"),
        (("team " * 600,), "this question has 619 tokens: 108 more"),
    ],
)
def test_what_cannot_be_asked_is_refused(asking: Asking, words: tuple[str, ...], said: str) -> None:
    code, out, err = asking("generate", *words, "--base-model", "tiny")
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_an_answer_ends_before_a_stop_text_or_where_the_context_is_full(
    project: Project, asking: Asking, tiny_base_folder: Path
) -> None:
    write_answering(project, tiny_base_folder, "the lazy dog", endless=True)
    words = ("generate", "Who leads the team?", "--base-model", "talking", "--json")
    code, out, err = asking(*words, "--max-tokens", "8")
    (whole,) = json.loads(out)["answers"]
    assert (code, whole["cut_off"], whole["answer"][:12]) == (0, True, "the lazy dog")
    _, out, err = asking(*words, "--max-tokens", "8", "--stop", "\\n\\n", "--stop", "y d")
    (stopped,) = json.loads(out)["answers"]
    assert (stopped["answer"], stopped["cut_off"]) == ("the laz", False)
    _, out, err = asking(*words[:-1], "--max-tokens", "8")
    assert out.strip() == whole["answer"]
    assert "cut off after 8 tokens: --max-tokens allows longer answers" in err
    _, _, err = asking("generate", "yes " * 240, *words[2:-1], "--max-tokens", "400")
    assert re.search(r"cut off after \d+ tokens: the context is full", err)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
            env={**os.environ, "TERM": "dumb", "OMP_NUM_THREADS": "1"},
        )
        os.close(theirs)
        self._shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def read_to(self, pattern: str) -> str:
        """All that is shown until the pattern occurs in it; what follows is kept."""
        while not (found := re.search(pattern, self._shown)):
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # the command has ended
                piece = b""
            assert piece, self._shown
            self._shown += piece.decode(errors="replace").replace("\r\n", "\n")
        read, self._shown = self._shown[: found.end()], self._shown[found.end() :]
        return read


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_conversation_on_a_terminal_outlives_its_answers(
    project: Project, tiny_base_folder: Path
) -> None:
    write_answering(project, tiny_base_folder, "the lazy dog", endless=True)
    with Terminal(
        "generate", "--chat", "--base-model", "talking", "--max-tokens", "300"
    ) as terminal:
        terminal.read_to("talking · /help lists commands, /exit ends\n> ")
        terminal.type("Hello\n")
        terminal.read_to("the lazy dog")
        terminal.type("\x03")
        terminal.read_to(r"\nstopped\n> ")
        terminal.type("/nothing\n")
        terminal.read_to("error: there is no command /nothing")
        terminal.type("\x03")
        terminal.read_to(r"/exit or \^D ends the conversation\n> ")
        terminal.type("yes " * 600 + "\n")
        terminal.read_to("error: the conversation with this question has")
        terminal.read_to(r"/reset begins a new\s+conversation\n> ")
        terminal.type("Hello again\n")
        terminal.read_to("the lazy dog")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.read_to("interrupted\n")
        assert terminal.process.wait(60) == 130
    samples = list(read_samples(project))
    assert [sample.outcome for sample in samples] == ["interrupted"] * 2
    first, second = samples
    assert first.prompt_tokens and second.prompt_tokens and first.output_tokens
    assert second.prompt_tokens > first.prompt_tokens + first.output_tokens / 2


def test_a_terminal_that_ends_its_input_ends_the_conversation(project: Project) -> None:
    with Terminal("generate", "--chat", "--base-model", "tiny", "--max-tokens", "2") as terminal:
        terminal.read_to("> ")
        terminal.type("/reset\n")
        terminal.read_to("a new conversation\n> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0
