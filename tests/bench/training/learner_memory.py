"""Peak memory of a 16,384-token packed batch, forward and backward, with and without chunked log-probabilities.

Each case is a process of its own; peak RSS above that of the loaded model, per token. Two vocabularies: the embedded
policy's 512 entries, and 16,384 (Qwen2.5-VL has 151,936: there the logits of 16,384 tokens alone are 10 GB).
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TOKENS = 16_384
VOCABULARIES = (512, 16_384)
WAYS = {"whole": 1_000_000, "chunks of 1024": 1024, "chunks of 1024, gradient checkpointing": 1024}


def main(out_dir: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"tokens": TOKENS}
    for vocabulary in VOCABULARIES:
        rows = {}
        for way, chunk in WAYS.items():
            saving = str("gradient" in way)
            command = [sys.executable, "-m", "tests.bench.training.learner_memory", str(vocabulary), str(chunk), saving]
            env = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True, env=env)
            rows[way] = json.loads(done.stdout.splitlines()[-1])
        kept = rows["whole"]["kb_per_token"] / rows["chunks of 1024"]["kb_per_token"]
        result[f"vocabulary {vocabulary}"] = rows | {"whole_over_chunks": round(kept, 2)}
        print(f"vocabulary {vocabulary}: {result[f'vocabulary {vocabulary}']}")
    return result


def measure(vocabulary: int, chunk: int, saving: bool) -> dict[str, float]:
    """One forward and backward pass over eight trajectories of 2,048 tokens, three quarters of them sampled."""
    import numpy as np
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from training.learner import attention
    from training.learner.model import Policy
    from training.learner.packing import Row, build

    torch.set_num_threads(1)
    attention.register()
    text = {
        "vocab_size": vocabulary,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10_000.0},
    }
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 192}
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    model.config._attn_implementation = attention.NAME
    if saving:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(model.train(), banned=(), temperature=1.0, chunk=chunk, freeze_vision=True)
    rng, length = np.random.default_rng(0), TOKENS // 8
    sampled, zeros = np.arange(length) >= length // 4, np.zeros(length, dtype=np.int64)
    rows = [
        Row(rng.integers(20, vocabulary, length), sampled, zeros.astype(np.float32), zeros, (), (), i, 0)
        for i in range(8)
    ]
    no_pictures: Any = SimpleNamespace(merge=2)
    batch = build([(row,) for row in rows], -1, no_pictures)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logp, _ = policy(batch, torch.empty(0), torch.empty(0, 3))
    logp.sum().backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mb": round(peak / 1024), "kb_per_token": round((peak - before) / TOKENS, 1)}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True")))
