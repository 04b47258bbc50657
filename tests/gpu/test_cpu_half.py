"""The checks of numbers of `python -m tests.gpu`, on the CPU and without Ray or vLLM in the process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.models import Shape
from tests.gpu import speed

ROOT = Path(__file__).parents[2]


def test_every_check_of_numbers_holds_on_a_cpu_without_ray_and_vllm(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    code = (
        "import sys; sys.modules['ray'] = sys.modules['vllm'] = None\n"
        "import torch; torch.set_num_threads(1)\n"
        "from tests.gpu.__main__ import main\n"
        f"sys.exit(main(['--device', 'cpu', '--out', {str(out)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    found = json.loads(out.read_text())
    assert found["device"] == "CPU" and not found["failed"]
    assert {"bfloat16 against float32", "save and resume", "LoRA", "packed against padded"} <= found.keys()


def test_both_sides_of_the_speed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SHAPE", Shape(1, 256, 2, 1, 128, 64, 512, False, 0.0))
    monkeypatch.setattr(speed, "GROUPS", 1)
    monkeypatch.setattr(speed, "MEMBERS", 2)
    run, policy = speed.packed_step(torch.device("cpu"))
    before = policy.hf.lm_head.weight.detach().clone()
    run()
    assert not torch.equal(policy.hf.lm_head.weight, before)
    speed.padded_step(torch.device("cpu"))()
