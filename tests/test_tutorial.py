"""docs/tutorial.md, run as it is written, on a tiny base under the name of the real one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
BASE = "smollm2-135m-instruct"


def test_the_tutorial_works_as_written(tmp_path: Path, tiny_base_folder: Path) -> None:
    first, *rest = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(), re.DOTALL | re.MULTILINE)
    card = f"models/base/{BASE}/MODEL_INFO.md"
    smaller_base = (
        f"cat > {card} <<'CARD'\n---\nname: {BASE}\nsummary: Two random layers, for tests.\n"
        "parameters: 99000\nlicence: Apache-2.0\ncontext_length: 512\nsources:\n"
        f"  - kind: path\n    path: {tiny_base_folder}\n---\nCARD\n"
    )
    script = "\n".join(["set -euo pipefail", first, smaller_base, *rest])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    project = tmp_path / "my-project"
    assert (project / "models/versions/tickets/1/MANIFEST.json").is_file()
    assert (project / "models/trained/tickets/adapter_model.safetensors").is_file()
    assert (project / "experiments/tickets/report.html").is_file()
    assert "‹" in ended.stdout
