"""CLIP from a local path: here a small one with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configs.load import ConfigError
from training.metrics.clip import MEAN, STD, Clip, prepared


def tiny_clip(path: Path) -> Path:
    """A small CLIP with random weights, saved as the published ones are."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    path = path / "clip"
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 64, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("model"))


def test_the_cosine_of_two_embeddings(model: Path) -> None:
    clip = Clip(str(model))
    red, noise = Image.new("RGB", (50, 40), "red"), Image.effect_noise((60, 60), 90).convert("RGB")
    assert clip.similarity(red, red) == pytest.approx(1.0, abs=1e-5)
    assert clip.similarity(red, noise) < 0.999
    assert clip.similarity(red, noise) == pytest.approx(clip.similarity(noise, red), abs=1e-5)


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--clip {tmp_path}: ") as caught:
        Clip(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_pictures_are_prepared_as_published_to_the_digit() -> None:
    """torchvision's transforms in the order of the authors' package, on ten pictures of any size."""
    from torchvision import transforms

    rng = np.random.default_rng(0)
    for number in range(10):
        height, width = rng.integers(20, 700, 2)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        side = 224 if number % 2 else 32
        published = transforms.Compose(
            [
                transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(side), transforms.ToTensor(), transforms.Normalize(MEAN, STD),
            ]
        )  # fmt: skip
        assert np.array_equal(prepared(image, side), published(image).numpy()), (width, height)
