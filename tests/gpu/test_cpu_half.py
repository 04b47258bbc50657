"""The checks of numbers of `python -m tests.gpu`, on the CPU and without Ray or vLLM in the process."""

import json
import subprocess
import sys
from pathlib import Path

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
