"""A short run of `make hostile`: it ends, learns, balances its ledger and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_policy_that_attacks_in_half_of_its_turns_ends_no_run() -> None:
    command = [sys.executable, "-m", "tests.hostile", "--trajectories", "24", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["trajectories"] >= 24 and found["sent"]["hostile"] > 5 and found["renders"]["failed"] > 0
