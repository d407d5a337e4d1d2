"""The same answers without HTTP, by threads that share one `Answerer`: a process of the benchmark.

    python -m benchmarks.serving.in_process PROJECT BASE QUESTIONS

QUESTIONS is the project whose dataset the questions are of.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.engine.systems import Handler, Reply, serve, timed
from benchmarks.serving.bench_project import adapter_name, load_questions
from modelyard.answering.answer import Answerer
from modelyard.answering.asked_model import load_asked
from modelyard.answering.request import Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.parts import Generation
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.weights.pull import require_base


def load(root: str, base: str, questions_of: str) -> Mapping[str, Handler]:
    """An `Answerer` of the project; it loads the base with the first answer."""
    project = Project(Path(root))
    answerer = Answerer(project)
    threads = ThreadPoolExecutor(64)
    local = require_base(project, base, progress=Silent())
    _, questions = load_questions(Project(Path(questions_of)), local)

    def ask(prompt: Sequence[int], adapter: int, new_tokens: int) -> int:
        name = adapter_name(adapter)
        request = Request(
            messages=(Message("user", questions[tuple(prompt)]),),
            organisation=name,
            generation=Generation(temperature=0, max_output_tokens=new_tokens),
        )
        effective = load_asked(project, "development", model=name)
        pieces: list[str] = []
        answer = answerer.answer(effective, request, on_text=pieces.append)
        assert answer.usage is not None
        return answer.usage.output_tokens

    def answer(prompts: Sequence[Sequence[int]], adapters: Sequence[int], new_tokens: int) -> Reply:
        return timed(lambda: sum(threads.map(ask, prompts, adapters, [new_tokens] * len(prompts))))

    return {"answer": answer}


if __name__ == "__main__":
    serve(lambda: load(*sys.argv[1:4]))
