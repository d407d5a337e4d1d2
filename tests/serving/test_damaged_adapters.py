"""An adapter whose files are damaged is named to its organisation, and nothing answers instead."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from marked_service import ask, text_of, user

from marked_project import Marked, question, said
from modelyard.adapters.versions import active_number
from served import Running, serving


def answer_of(running: Running, key: str, model: str) -> tuple[int, dict[str, Any]]:
    with closing(HTTPConnection(running.url.removeprefix("http://"), timeout=60)) as connection:
        return ask(connection, key, model=model, messages=user(question(7, 9, 4)), max_tokens=4)


def files_of(marked: Marked, adapter: str) -> Path:
    number = active_number(marked.project, adapter)
    assert number is not None
    return marked.project.adapter_version(adapter, number)


def damage(path: Path, content: bytes) -> None:
    path.parent.chmod(0o755)
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_damaged_adapter_is_named_and_its_base_does_not_answer_for_it(marked: Marked) -> None:
    weights = files_of(marked, "org5") / "adapter_model.safetensors"
    manifest = files_of(marked, "org6") / "MANIFEST.json"
    damage(weights, weights.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")  # NaN
    for round_ in ("while it runs", "after a restart"):
        with serving(marked.project) as running:
            keys = {number: running.key(f"org{number}") for number in (4, 5, 6)}
            if round_ == "while it runs":
                assert answer_of(running, keys[6], "org6")[0] == 200
                damage(manifest, b"{}")
            for number in (5, 6):
                for model in (f"org{number}", f"org{number}@1", f"help{number}"):
                    status, answer = answer_of(running, keys[number], model)
                    error = answer["error"]
                    assert (status, error["code"]) == (503, "model_broken"), (round_, model)
                    assert f"org{number}" in error["message"]
                    assert str(marked.project.root) not in error["message"]
                    assert answer_of(running, keys[4], model)[0] == 404
            for model in ("org4", "help4"):
                status, answer = answer_of(running, keys[4], model)
                assert status == 200 and set(said(text_of(answer))) <= set(marked.own(4))
            status, answer = answer_of(running, keys[5], "plain")
            assert status == 200 and set(said(text_of(answer))) <= set(marked.own(None))
