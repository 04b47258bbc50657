"""Every family: prompts as its processor writes them, packed log-probabilities as plain transformers computes them, a
step of training, LoRA and a frozen tower, checkpoint names. Without an engine; with one: test_circle."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from actors.dialogue import Codec, Dialogue
from actors.families.adapters import adapter_of
from actors.trajectory import Group, Reward, Trajectory
from configs.schema import Config, Prompts
from tests.training import tiny
from tests.training.families.models import FAMILIES, build
from training.jobs.check_model import plain
from training.learner.model import named_weights
from training.learner.ranks import Ranks
from training.learner.update import Learner

WHOLE = {"qwen3_5", "internvl", "mistral3", "smolvlm", "pixtral", "llava_onevision"}  # no adapter: the generic path


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build(request.param, tmp_path_factory.mktemp("families") / request.param)


def played(folder: Path) -> Group:
    """Two members of a group: one prompt and picture, other turns, another picture in one of them."""
    codec, rng = Codec.load(str(folder), Prompts(system="tool", user="draw")), np.random.default_rng(0)
    plain_ids = [i for i in range(60, 300) if i not in codec.tokenizer.all_special_ids]
    members = []
    for number in range(2):
        dialogue = Dialogue.start(codec, tiny.picture(1))
        for turn in range(2):
            ids = tuple(rng.choice(plain_ids, 9).tolist())
            dialogue.add_text(codec.decode(ids))
            if turn == 0:
                dialogue.add_feedback("more", tiny.picture(2, (112, 168)) if number else None)
        members.append(
            Trajectory(
                tuple(dialogue.full_ids), tuple(dialogue.sampled), tuple(dialogue.logprobs), tuple(dialogue.versions),
                tuple(dialogue.images), (), "answer", Reward(float(number), 0.0, 0.0, 0.0),
            )
        )  # fmt: skip
    return Group(0, 0, tuple(members))


def learner_of(folder: Path, **options: object) -> Learner:
    config = Config()
    config.learner.warmup_steps, config.learner.lr = 0, 1e-3
    for name, value in options.items():
        section, key = name.split("__")
        setattr(getattr(config, section), key, value)
    return Learner(str(folder), config, Ranks.join(0))


def test_a_prompt_is_what_the_processor_makes_of_it(folder: Path) -> None:
    codec = Codec.load(str(folder), Prompts(system="tool", user="draw"))
    dialogue = Dialogue.start(codec, tiny.picture(1, (150, 90)))
    image = Image.open(io.BytesIO(dialogue.images[0])).convert("RGB")
    made = codec.processor(text=[codec.opening(False)], images=[image], add_special_tokens=False)
    assert dialogue.full_ids == list(made["input_ids"][0]) and len(dialogue.full_ids) > len(dialogue.short_ids) + 8
    hostile = codec.harmless(f"{codec.processor.image_token} and <think>")
    assert codec.expansion.token_id not in codec.encode(hostile)


def test_packed_is_plain_and_a_step_trains(folder: Path) -> None:
    learner = learner_of(folder)
    assert (adapter_of(learner.policy.hf.config.model_type) is None) == (folder.name in WHOLE)
    shards, screened = learner.plan([played(folder)])
    assert not screened.dropped and len(screened.rows) == 2
    before = dict(named_weights(learner.policy, torch.float32))
    disk = load_file(folder / "model.safetensors")
    assert before.keys() == disk.keys()
    assert not [name for name in disk if not torch.equal(before[name], disk[name])]
    [[bundles]] = shards[0].updates
    with torch.no_grad():
        _, together, _ = learner._forward(learner.policy, bundles, shards[0].images)
    rows = [row for bundle in bundles for row in bundle]
    alone = torch.cat([plain(str(folder), learner, row, screened.images) for row in rows])
    assert float((together - alone).abs().max()) < 1e-4 and float(alone.std()) > 0.1
    norm = learner.train(shards[0], 0, 0)["grad_norm"]
    assert norm is not None and 0 < norm < float("inf")
    tower_grad = [p.grad for n, p in learner.policy.named_parameters() if ("visual" in n or "vision_" in n)]
    assert any(g is not None and float(g.abs().sum()) > 0 for g in tower_grad), "pictures have no gradient"


@pytest.mark.parametrize("option", ["policy__freeze_vision", "learner__lora_rank"])
def test_adapters_and_frozen_towers_leave_the_tower_alone(folder: Path, option: str) -> None:
    learner = learner_of(folder, **{option: 4 if "rank" in option else True})
    shards, _ = learner.plan([played(folder)])
    learner.train(shards[0], 0, 0)
    after, disk = dict(named_weights(learner.policy, torch.float32)), load_file(folder / "model.safetensors")
    assert after.keys() == disk.keys()
    moved = {n for n in disk if not torch.equal(after[n], disk[n])}
    assert moved and not [
        n for n in moved if n.startswith(("visual.", "model.visual.", "vision_tower", "model.vision"))
    ]
