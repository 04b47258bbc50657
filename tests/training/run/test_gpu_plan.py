"""Recipes for GPUs that are not here: every one loads, fits what it is for, and is refused on less with a remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.load import ConfigError, load
from configs.models import MODELS, Shape
from configs.relations import broken
from configs.schema import Config
from training.run.gpu_plan import GIB, gpu_plan, learner, parse_gpus

ROOT = Path(__file__).parents[3]
RECIPES = {"chart_7b": 16, "web_7b": 16, "chart_7b_8gpu": 8, "chart_3b_1gpu": 1, "chart_qwen3vl": 16}


def recipe(name: str, *overrides: str) -> Config:
    return load(ROOT / "configs" / f"{name}.yaml", overrides)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_the_gpus_it_is_written_for_and_starves_nothing(name: str) -> None:
    lines, problems = gpu_plan(recipe(name), RECIPES[name], 80)
    assert problems == []
    assert not [line for line in lines if "starve" in line or "idle" in line]
    assert any(line.startswith("  tightest:") for line in lines)
    assert gpu_plan(recipe(name), RECIPES[name] - 1, 80)[1][0].startswith("this config needs")


@pytest.mark.parametrize("name", RECIPES)
def test_on_60_percent_of_the_memory_the_plan_refuses_and_what_it_proposes_fits(name: str) -> None:
    config = recipe(name)
    [problem] = gpu_plan(config, RECIPES[name], 48)[1]
    assert problem.startswith("learner:")
    settings = problem.split("; set ")[1].split()
    # with the GPUs that are there: more workers for the learner are taken from the engines
    mended = recipe(name, *settings)
    assert not gpu_plan(mended, RECIPES[name], 48)[1], settings


def test_unused_gpus_are_offered_before_engines_give_theirs_away_and_nothing_is_offered_that_does_not_fit() -> None:
    config = recipe("chart_7b")
    assert gpu_plan(config, 17, 48)[1][0].endswith("learner.workers=5")
    assert gpu_plan(config, 16, 48)[1][0].endswith("learner.workers=5 engine.replicas=3")
    assert "take a smaller model, or more GPUs" in gpu_plan(config, 16, 24)[1][0]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_miniature_that_keeps_its_algorithm(name: str) -> None:
    pages = ["data.images=/pages"] if name == "web_7b" else ["data.images=drawn"]
    config, small = recipe(name), recipe(name, "+cpu", *pages)
    assert not list(broken(small))
    assert small.engine.gpus == small.learner.gpus == 0 and small.policy.path == "embedded"
    assert small.grpo == config.grpo and small.queue.max_staleness == config.queue.max_staleness
    assert small.learner.lora_rank == config.learner.lora_rank and small.data.domain == config.data.domain


def test_both_readings_of_the_paper_are_presets() -> None:
    ours, printed = recipe("chart_7b"), recipe("chart_7b", "+printed")
    assert ours.queue.groups_per_step * ours.rollout.group_size == 256 and ours.queue.max_staleness == 4
    assert printed.queue.groups_per_step * printed.rollout.group_size == 32 and printed.queue.max_staleness == 0
    assert printed.grpo.proximal == "behaviour" and printed.grpo.aggregate == ours.grpo.aggregate == "sequence"
    assert not list(broken(printed)) and not gpu_plan(printed, 16, 80)[1]


def meta_parameters(shape: Shape) -> int:
    """Parameters of transformers' own language model of that shape, built without memory."""
    from transformers import Qwen2_5_VLTextConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    config = Qwen2_5_VLTextConfig(
        num_hidden_layers=shape.layers, hidden_size=shape.hidden, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, intermediate_size=shape.intermediate, vocab_size=shape.vocabulary,
    )  # fmt: skip
    with torch.device("meta"):
        model = Qwen2_5_VLTextModel(config)
    head = 0 if shape.tied else shape.vocabulary * shape.hidden
    return sum(p.numel() for p in model.parameters()) + head


@pytest.mark.parametrize("name", [name for name in MODELS if "2.5-VL" in name and "72B" not in name])
def test_parameters_are_those_of_the_model(name: str) -> None:
    shape = MODELS[name]
    assert shape.parameters - shape.vision == pytest.approx(meta_parameters(shape), rel=1e-3)


def test_the_learners_memory_follows_its_settings() -> None:
    config = recipe("chart_7b")
    alone = learner(config)
    assert alone.optimiser == pytest.approx(12 * MODELS[config.policy.path].parameters / 4)
    more = recipe("chart_7b", "learner.workers=8")
    assert learner(more).optimiser == pytest.approx(alone.optimiser / 2)
    assert learner(recipe("chart_7b", "learner.gradient_checkpointing=false")).activations > 5 * alone.activations
    assert learner(recipe("chart_7b", "learner.lora_rank=16")).optimiser < 0.02 * alone.optimiser
    assert learner(recipe("chart_7b", "grpo.kl_beta=0.1")).weights > alone.weights + 7 * GIB


@pytest.mark.parametrize("text", ["8", "x80", "0x80", "8xbig", "8x0"])
def test_gpus_that_make_no_sense_are_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="8x80"):
        parse_gpus(text)


def test_the_command_prints_the_table_and_needs_no_gpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "configs/chart_7b_8gpu.yaml", "--dry-run", "--gpus", "8x80"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 8 GPUs of 80 GiB" in done.stdout and "tightest: " in done.stdout and "problem" not in done.stdout
