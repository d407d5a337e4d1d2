"""An adapter made by the `trl sft` command, from its output folder to an active version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.adapters.import_ import plan_import
from modelyard.adapters.promote import promote_version
from modelyard.adapters.verify import verify_version
from modelyard.adapters.versions import AdapterVersion, active_number
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase


def test_what_trl_sft_leaves_is_adopted_and_changes_the_base(
    project: Project,
    adopt: Callable[..., AdapterVersion],
    tiny_base: LocalBase,
    write_jsonl: Callable[[Path, list[Any]], Path],
    tmp_path: Path,
) -> None:
    talk = [{"role": "user", "content": "Name one."}, {"role": "assistant", "content": "A rose."}]
    write_jsonl(tmp_path / "data" / "train.jsonl", [{"messages": talk}] * 8)
    out = tmp_path / "out"
    options = {
        "model_name_or_path": tiny_base.path,
        "dataset_name": tmp_path / "data",
        "output_dir": out,
        "lora_r": 4,
        "lora_target_modules": "all-linear",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "report_to": "none",
    }
    command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    ended = subprocess.run(
        [sys.executable, "-m", "trl.scripts.sft", "--use_peft", *command],  # what it starts
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr

    plan = plan_import(out, tiny_base)
    assert plan.left_behind == ("README.md", "checkpoint-2", "training_args.bin")
    version = adopt(out)
    assert adopt(out) == version
    assert verify_version(project, version, tiny_base) == []
    assert version.manifest.spec["lora"]["rank"] == 4
    promote_version(project, version)
    assert active_number(project, "demo") == 1

    from modelyard.inference.engine import Engine
    from modelyard.inference.machine import probe_machine
    from modelyard.inference.merge import measure_logit_change

    engine = Engine.load(
        tiny_base, machine=probe_machine(), adapters=[version.path], note=lambda text: None
    )
    assert measure_logit_change(engine.load_adapter(version.path)) > 0
