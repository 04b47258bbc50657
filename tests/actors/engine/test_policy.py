"""A real engine: tokens in and out, versions, weights that arrive in flight (invariants 3, 5, 9 and 10)."""

import asyncio
import os
import uuid
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save

from actors.contracts import Outage
from actors.dialogue import Codec, Dialogue
from actors.engine.policy import PolicyEngine
from actors.families.tokens import banned_ids
from configs.load import load
from configs.schema import Config, Prompts

pytestmark = pytest.mark.asyncio(loop_scope="module")


def blob_of(weights: dict[str, torch.Tensor]) -> tuple[np.ndarray, int]:
    blob = np.frombuffer(save(weights), dtype=np.uint8)
    return blob, zlib.crc32(blob.data)


def shaken(weights: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: w + 0.02 * torch.randn(w.shape, generator=generator) for n, w in weights.items()}


@pytest.fixture(scope="module")
def config() -> Config:
    return load(None, ["engine.max_model_len=512", "sampling.max_trajectory_tokens=512", "engine.kv_cache_mb=64"])


@pytest.fixture(scope="module")
def codec(tiny_model: Path, prompts: Prompts) -> Codec:
    return Codec.load(str(tiny_model), prompts)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(tiny_model: Path, config: Config) -> AsyncIterator[PolicyEngine]:
    made = PolicyEngine(str(tiny_model), config)
    await made.ready()
    yield made
    await made.close()


async def two_turns(engine: PolicyEngine, codec: Codec, pictures: list[bytes]) -> Dialogue:
    dialogue = Dialogue.start(codec, pictures[0])
    dialogue.add_sampled(await engine.sample(dialogue.short_ids, dialogue.images, 24))
    dialogue.add_feedback("other", pictures[1])
    dialogue.add_sampled(await engine.sample(dialogue.short_ids, dialogue.images, 24))
    return dialogue


def learner_logprobs(path: Path, codec: Codec, dialogue: Dialogue) -> torch.Tensor:
    """Plain transformers forward over the whole history, banned ids excluded as in sampling."""
    import io

    from PIL import Image
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in dialogue.images]
    features = codec.processor.image_processor(images=pictures, return_tensors="pt")
    ids = torch.tensor([dialogue.full_ids])
    kinds = (ids == model.config.image_token_id).int()
    with torch.no_grad():
        logits = model(input_ids=ids, mm_token_type_ids=kinds, **features).logits[0]
    logits[:, list(banned_ids(codec.tokenizer))] = -torch.inf
    logp = logits.log_softmax(-1)
    return logp[torch.arange(len(dialogue.full_ids) - 1), ids[0, 1:]]


async def parity(engine: PolicyEngine, codec: Codec, path: Path, pictures: list[bytes]) -> float:
    dialogue = await two_turns(engine, codec, pictures)
    sampled = torch.tensor(dialogue.sampled)[1:]
    ours = torch.tensor(dialogue.logprobs)[1:][sampled]
    return float((learner_logprobs(path, codec, dialogue)[sampled] - ours).abs().max())


async def test_an_engine_leaves_nothing_to_preload_for_programs_that_are_started_later(engine: PolicyEngine) -> None:
    assert "site-packages" not in os.environ.get("LD_PRELOAD", "")


async def test_a_turn_has_one_logprob_and_version_a_token(
    engine: PolicyEngine, codec: Codec, picture: Callable[..., bytes]
) -> None:
    dialogue = Dialogue.start(codec, picture())
    sample = await engine.sample(dialogue.short_ids, dialogue.images, 16)
    assert len(sample.token_ids) == len(sample.logprobs) == len(sample.versions) <= 16
    assert sample.prompt_tokens == len(dialogue.full_ids)
    assert all(p <= 0 for p in sample.logprobs)
    assert not set(sample.token_ids) & set(banned_ids(codec.tokenizer))


async def test_engine_and_learner_agree_on_several_turns_and_images(
    engine: PolicyEngine, codec: Codec, tiny_model: Path, picture: Callable[..., bytes]
) -> None:
    worst = [
        await parity(engine, codec, tiny_model, [picture(a), picture(b, (112, 84))])
        for a, b in (("red", "blue"), ("green", "red"), ("black", "pink"))
    ]
    assert max(worst) < 1e-4


async def test_greedy_is_repeatable_and_ends_at_a_closing_tag(
    engine: PolicyEngine, codec: Codec, picture: Callable[..., bytes]
) -> None:
    dialogue = Dialogue.start(codec, picture())
    first = await engine.sample(dialogue.short_ids, dialogue.images, 12, 0.0)
    again = await engine.sample(dialogue.short_ids, dialogue.images, 12, 0.0)
    assert first.token_ids == again.token_ids


@pytest.mark.parametrize("count", [0, 2])
async def test_a_wrong_number_of_images_raises(
    engine: PolicyEngine, codec: Codec, picture: Callable[..., bytes], count: int
) -> None:
    dialogue = Dialogue.start(codec, picture())
    with pytest.raises(ValueError, match=f"1 image placeholders for {count} images"):
        await engine.sample(dialogue.short_ids, [picture()] * count, 4)


async def test_weights_arrive_in_flight_and_tokens_say_which_sampled_them(
    engine: PolicyEngine, codec: Codec, tiny_model: Path, picture: Callable[..., bytes]
) -> None:
    dialogue = Dialogue.start(codec, picture())
    before = int((await engine.stats())["version"])
    calls = [asyncio.create_task(engine.sample(dialogue.short_ids, dialogue.images, 300)) for _ in range(8)]
    while (await engine.stats())["tokens"] == 0 and not any(c.done() for c in calls):
        await asyncio.sleep(0.05)
        if (await engine.stats())["running"] == 8:
            break
    await asyncio.sleep(0.3)
    report = await engine.update(*blob_of(load_file(tiny_model / "model.safetensors")), before + 1)
    samples = await asyncio.gather(*calls)
    assert report.running > 0 and report.pause_s > 0
    seen = [s.versions for s in samples]
    assert all(list(v) == sorted(v) and set(v) <= {before, before + 1} for v in seen)
    assert any(set(v) == {before, before + 1} for v in seen), "no request lived through the update"


async def test_synced_weights_are_the_ones_that_sample_next(
    engine: PolicyEngine, codec: Codec, tiny_model: Path, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    """Also the caches: the same prompt and pictures were seen under the old weights."""
    import shutil

    pictures = [picture("red"), picture("blue")]
    await two_turns(engine, codec, pictures)
    weights = shaken(load_file(tiny_model / "model.safetensors"), 1)
    version = int((await engine.stats())["version"]) + 1
    await engine.update(*blob_of(weights), version)
    fresh = tmp_path / "fresh"
    shutil.copytree(tiny_model, fresh)
    (fresh / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    assert await parity(engine, codec, fresh, pictures) < 1e-4
    assert (await engine.sample(Dialogue.start(codec, pictures[0]).short_ids, pictures[:1], 4)).versions[0] == version


async def test_a_listener_hears_the_text_grow(
    engine: PolicyEngine, codec: Codec, picture: Callable[..., bytes]
) -> None:
    dialogue = Dialogue.start(codec, picture())
    heard: list[str] = []
    sample = await engine.sample(dialogue.short_ids, dialogue.images, 24, 0.0, heard.append)
    silent = await engine.sample(dialogue.short_ids, dialogue.images, 24, 0.0)
    assert sample.token_ids == silent.token_ids and sample.logprobs == pytest.approx(silent.logprobs, abs=1e-4)
    assert len(heard) > 1 and all(later.startswith(earlier) for earlier, later in pairwise(heard))
    assert heard[-1].removesuffix(codec.tokenizer.eos_token) == codec.decode(sample.token_ids)


async def test_a_turn_that_the_engine_gives_up_is_an_outage_and_no_turn(
    engine: PolicyEngine, codec: Codec, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the engine's process is asked to end, or has lost a picture that it was to know."""
    number = uuid.uuid4()
    monkeypatch.setattr(uuid, "uuid4", lambda: number)
    dialogue = Dialogue.start(codec, picture())

    async def given_up() -> None:
        for _ in range(20):  # a turn may end before it can be given up
            begun = asyncio.Event()
            turn = asyncio.ensure_future(
                engine.sample(dialogue.short_ids, dialogue.images, 300, heard=lambda text, begun=begun: begun.set())
            )
            await begun.wait()
            await engine._engine.abort(number.hex)
            await turn

    with pytest.raises(Outage, match=r"engine: a turn was ended by the engine \(abort\)"):
        async with asyncio.timeout(120):
            await given_up()


async def test_damaged_weights_are_refused_and_the_version_stays(engine: PolicyEngine, tiny_model: Path) -> None:
    blob, crc = blob_of(load_file(tiny_model / "model.safetensors"))
    before = (await engine.stats())["version"]
    with pytest.raises(Outage, match="arrived damaged"):
        await engine.update(blob, crc ^ 1, 99)
    assert (await engine.stats())["version"] == before


async def test_a_turn_has_a_deadline(
    engine: PolicyEngine, codec: Codec, config: Config, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(config, engine=replace(config.engine, turn_s=0.01))
    monkeypatch.setattr(engine, "_config", short)
    dialogue = Dialogue.start(codec, picture())
    with pytest.raises(Outage, match=r"engine\.turn_s"):
        await engine.sample(dialogue.short_ids, dialogue.images, 300)
    monkeypatch.undo()
    assert (await engine.sample(dialogue.short_ids, dialogue.images, 4)).token_ids
