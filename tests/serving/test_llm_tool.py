"""The `llm` tool asks the service as it asks OpenAI's, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from served import Running

_MODELS = """
- {{model_id: ours, model_name: acme-talk, api_base: "{url}/v1", api_key_name: ours}}
- {{model_id: base, model_name: talking, api_base: "{url}/v1", api_key_name: ours}}
"""


@pytest.mark.skipif(shutil.which("llm") is None, reason="the tool llm is not installed")
def test_it_asks_and_goes_on_with_a_conversation(
    running: Running, answer: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)}
    (tmp_path / "extra-openai-models.yaml").write_text(_MODELS.format(url=running.url))

    def llm(*words: str) -> str:
        command = ["llm", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    llm("keys", "set", "ours", "--value", running.key("acme"))
    assert llm("-m", "base", "Hi") == answer
    assert llm("-c", "again") == answer
    assert llm("-m", "base", "--no-stream", "-s", "Be brief", "-o", "seed", "1", "Hi") == answer
    assert llm("-m", "ours", "-o", "max_tokens", "4", "Hi") not in ("", answer)
