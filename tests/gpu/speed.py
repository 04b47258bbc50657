"""Memory and speed of one learner step on a GPU: a random Qwen2.5-VL of about 1.5 billion parameters, text alone.

Guarantees: the batch is the same for both sides: groups of eight that share a prompt, with lengths as uneven as real
ones; ours packs them, the other is transformers' own forward pass with padding, SDPA and chunked losses. Tokens are
counted as trained on, without padding and with every member's own prompt.
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from configs.models import Shape
from configs.schema import Config
from training.learner import attention
from training.learner.model import Policy
from training.learner.packing import Row, build, pack
from training.run.gpu_plan import GIB, learner

SHAPE = Shape(20, 2048, 16, 2, 128, 8192, 65_536, False, 0.0)
BUDGET, GROUPS, MEMBERS, PROMPT = 16_384, 4, 8, 1024
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}


def model(device: torch.device, name: str) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = {
        "vocab_size": SHAPE.vocabulary,
        "hidden_size": SHAPE.hidden,
        "intermediate_size": SHAPE.intermediate,
        "num_hidden_layers": SHAPE.layers,
        "num_attention_heads": SHAPE.heads,
        "num_key_value_heads": SHAPE.kv_heads,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        "tie_word_embeddings": SHAPE.tied,
    }
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": SHAPE.hidden}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=SHAPE.tied)
    with torch.device(device):
        made = Qwen2_5_VLForConditionalGeneration(config).float()
    attention.register()
    made.config._attn_implementation = name
    made.gradient_checkpointing_enable({"use_reentrant": False})
    return made.train()


def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    found = []
    for group in range(GROUPS):
        prompt = rng.integers(20, SHAPE.vocabulary, PROMPT)
        for member in range(MEMBERS):
            tail = rng.integers(20, SHAPE.vocabulary, int(np.clip(rng.lognormal(6.3, 0.7), 64, 4096)))
            ids = np.concatenate([prompt, tail])
            sampled = np.arange(len(ids)) >= PROMPT
            zeros = np.zeros(len(ids), dtype=np.int64)
            found.append(Row(ids, sampled, zeros.astype(np.float32), zeros, (), (), group, member, 1.0, 1.0))
    return found


def packed_step(device: torch.device) -> tuple[Callable[[], None], Any]:
    """Our step: packed micro-batches, bfloat16 by autocast, fused AdamW."""
    made = model(device, attention.NAME)
    policy = Policy(made, banned=(), temperature=1.0, chunk=2048, freeze_vision=True).to(device)
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-6, fused=True)
    no_pictures: Any = SimpleNamespace(merge=2, packed=True)
    [batches] = pack(rows(), BUDGET, 1, -1)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        for bundles in batches:
            batch = build(bundles, -1, no_pictures).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logp, _ = policy(batch, torch.empty(0, device=device), torch.empty(0, 3, device=device))
            (-logp.mean()).backward()
        optimizer.step()

    return run, policy


def padded_step(device: torch.device) -> Callable[[], None]:
    """transformers' own: micro-batches of padded rows, the logits of sampled tokens alone."""
    made = model(device, "sdpa")
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=1e-6, fused=True)
    all_rows = rows()  # in the order of the groups, as a trainer takes them
    size = max(1, BUDGET // max(len(r.ids) for r in all_rows))

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(all_rows), size):
            part = all_rows[first : first + size]
            longest = max(len(r.ids) for r in part)
            ids = torch.zeros(len(part), longest, dtype=torch.int64)
            mask, sampled = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
            for place, row in enumerate(part):
                ids[place, : len(row.ids)] = torch.from_numpy(row.ids)
                mask[place, : len(row.ids)] = 1
                sampled[place, : len(row.ids)] = torch.from_numpy(row.sampled)
            ids, mask, sampled = ids.to(device), mask.to(device), sampled.to(device)
            with torch.autocast(device.type, torch.bfloat16):
                hidden = made.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
                logits = made.lm_head(hidden[:, :-1][sampled[:, 1:]])
            cross_entropy(logits.float(), ids[:, 1:][sampled[:, 1:]]).backward()
        optimizer.step()

    return run


def timed(run: Callable[[], None], steps: int = 3) -> float:
    """Seconds of one step after a first that is not counted."""
    run()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def memory(device: torch.device, folder: Path) -> dict[str, Any]:
    """Peak of our step against the plan's formula."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run, policy = packed_step(device)
    run()
    run()
    peak = torch.cuda.max_memory_allocated(device)
    config = Config()
    config.learner.workers, config.learner.gpus = 1, 1
    config.learner.token_budget, config.learner.logprob_chunk = BUDGET, 2048
    config.learner.gradient_checkpointing, config.engine.sync = True, "host"
    planned = learner(config, SHAPE).total
    reserved = torch.cuda.max_memory_reserved(device)
    growing = all(segment["is_expandable"] for segment in torch.cuda.memory_snapshot())
    del run, policy
    found = {"peak GiB": peak / GIB, "reserved GiB": reserved / GIB, "planned GiB": planned / GIB}
    return found | {"segments grow": growing, "holds": growing and abs(planned / peak - 1) < 0.1}


def speed(device: torch.device, folder: Path) -> dict[str, Any]:
    """Tokens a second and share of the card's peak, ours and the other's."""
    tokens = sum(len(row.ids) for row in rows())
    found: dict[str, Any] = {"tokens": tokens}
    name = torch.cuda.get_device_name(device)
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    for side in ("packed", "padded"):
        run = packed_step(device)[0] if side == "packed" else padded_step(device)
        seconds = timed(run)
        found[f"{side} tokens/s"] = tokens / seconds
        found[f"{side} MFU"] = 6 * SHAPE.parameters * tokens / seconds / peak if peak else None
        del run
        torch.cuda.empty_cache()
    found["ratio"] = found["packed tokens/s"] / found["padded tokens/s"]
    return found | {"holds": found["ratio"] >= 2}
