"""How long an engine stands still for new weights, against a plain copy of as many bytes; a model of ~90M parameters.

The pause is the engine's own clock from the end of its last step to `resume_generation`, with eight requests under way
and without any; the copy is one memcpy between two buffers that have been touched. They take turns.
"""

import asyncio
import json
import statistics
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

ROUNDS = 6
WIDTH, LAYERS = 1024, 6


def main(out_dir: Path) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    build(folder)
    result = asyncio.run(measure(folder))
    print(result)
    return result


def build(folder: Path) -> None:
    """The embedded policy, wider, with random weights."""
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    from training.data import tiny_policy

    tiny_policy.build(folder, seed=0)
    config = AutoConfig.from_pretrained(folder)
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.num_hidden_layers, text.intermediate_size = WIDTH, LAYERS, 3 * WIDTH
    text.num_attention_heads, text.num_key_value_heads = WIDTH // 64, WIDTH // 64
    text.layer_types = ["full_attention"] * LAYERS
    vision.out_hidden_size = WIDTH
    rope = dict(text.rope_parameters)
    rope["mrope_section"] = [8, 12, 12]  # of heads 64 wide
    text.rope_parameters = rope
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


async def measure(folder: Path) -> dict[str, Any]:
    import numpy as np
    from safetensors.torch import load_file, save

    from actors.dialogue import Codec, Dialogue
    from actors.engine.policy import PolicyEngine
    from configs.load import load
    from tests.training.tiny import picture

    config = load(None, ["engine.max_model_len=1024", "engine.kv_cache_mb=256", "sampling.max_trajectory_tokens=1024"])
    engine = PolicyEngine(str(folder), config)
    blob = np.frombuffer(save(load_file(folder / "model.safetensors")), dtype=np.uint8)
    crc32, copy = zlib.crc32(blob.data), np.empty_like(blob)
    dialogue = Dialogue.start(Codec.load(str(folder), config.prompts), picture(0))
    idle, loaded, copies = [], [], []
    version = 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        np.copyto(copy, blob)
        copies.append(time.perf_counter() - started)
        version += 1
        idle.append((await engine.update(blob, crc32, version)).pause_s)
        turns = [asyncio.create_task(engine.sample(dialogue.short_ids, dialogue.images, 500)) for _ in range(8)]
        await asyncio.sleep(2)
        version += 1
        loaded.append((await engine.update(blob, crc32, version)).pause_s)
        await asyncio.gather(*turns)
    await engine.close()
    memcpy = statistics.median(copies[1:])
    return {
        "megabytes": round(blob.nbytes / 2**20),
        "memcpy_ms": round(1000 * memcpy, 1),
        "pause_idle_ms": round(1000 * statistics.median(idle[1:]), 1),
        "pause_in_flight_ms": round(1000 * statistics.median(loaded[1:]), 1),
        "idle_over_memcpy": round(statistics.median(idle[1:]) / memcpy, 2),
        "in_flight_over_memcpy": round(statistics.median(loaded[1:]) / memcpy, 2),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path())))
