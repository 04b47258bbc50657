"""An engine that takes a checkpoint's folder once its turns have ended: how servers on GPUs take up newer weights."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save

from actors.dialogue import Codec, Dialogue
from actors.engine.policy import PolicyEngine
from configs.load import load
from configs.schema import Prompts
from tests.actors.engine.test_policy import parity, shaken


async def test_a_folder_is_loaded_exactly_once_the_turns_under_way_have_ended(
    tiny_model: Path, tmp_path: Path, prompts: Prompts, picture: Callable[..., bytes]
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    weights = shaken(load_file(tiny_model / "model.safetensors"), 2)
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    limits = ["engine.max_model_len=512", "sampling.max_trajectory_tokens=512", "engine.kv_cache_mb=64"]
    engine, codec = PolicyEngine(str(tiny_model), load(None, limits)), Codec.load(str(tiny_model), prompts)
    try:
        await engine.ready()
        dialogue = Dialogue.start(codec, picture())
        calls = [asyncio.create_task(engine.sample(dialogue.short_ids, dialogue.images, 60)) for _ in range(4)]
        while (await engine.stats())["running"] < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await engine.load(str(folder), 1)
        assert all(set(sample.versions) == {0} for sample in await asyncio.gather(*calls))
        for version, path in ((1, folder), (2, tiny_model)):
            await engine.load(str(path), version)
            assert await parity(engine, codec, path, [picture("red"), picture("blue")]) < 1e-4
            assert (await engine.stats())["version"] == version
    finally:
        await engine.close()
