"""Which folders may be served in place of which, and adapters that become part of one."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from serving.inference.checkpoint import check, image, with_adapter


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """A peft adapter of the tiny policy, as peft writes it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_model)
    torch.manual_seed(0)
    targets = r".*language_model.*\.(q_proj|down_proj)"
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_is_merged_as_peft_merges_it(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    folder = with_adapter(str(tiny_model), str(adapter), tmp_path / "cache")
    check(folder, str(tiny_model))
    ours = AutoModelForImageTextToText.from_pretrained(folder).state_dict()
    base = AutoModelForImageTextToText.from_pretrained(tiny_model)
    theirs = PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
    plain = AutoModelForImageTextToText.from_pretrained(tiny_model).state_dict()
    assert set(ours) == set(theirs)
    assert max(float((ours[n] - theirs[n]).abs().max()) for n in ours) < 1e-6
    assert sum(not torch.equal(ours[n], plain[n]) for n in ours) == 8  # two projections in four layers
    assert with_adapter(str(tiny_model), str(adapter), tmp_path / "cache") == folder
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [Path(folder).name]


def test_no_adapter_is_the_model_itself(tiny_model: Path) -> None:
    assert with_adapter(str(tiny_model), "") == str(tiny_model)


def test_an_adapter_of_another_model_is_refused(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({n.replace("layers.0", "layers.9"): w for n, w in weights.items()}, adapter / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"layers\.9.* is in the adapter and not in the model"):
        with_adapter(str(tiny_model), str(adapter), tmp_path / "cache")
    with pytest.raises(ValueError, match="no peft adapter there"):
        with_adapter(str(tiny_model), str(tmp_path), tmp_path / "cache")


def test_what_fits_and_what_does_not(tiny_model: Path, tmp_path: Path) -> None:
    check(str(tiny_model), str(tiny_model))
    check(str(tiny_model), "Qwen/Some-Hub-Name")
    with pytest.raises(ValueError, match="no checkpoint there"):
        check(str(tmp_path), str(tiny_model))
    words = tmp_path / "words"
    shutil.copytree(tiny_model, words)
    spoken = json.loads((words / "tokenizer.json").read_text())
    (words / "tokenizer.json").write_text(json.dumps({**spoken, "version": "2"}))
    with pytest.raises(ValueError, match="its tokenizer is another"):
        check(str(words), str(tiny_model))


def test_the_image_of_several_files_holds_all_tensors(tiny_model: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    names = sorted(weights)
    save_file({n: weights[n] for n in names[:20]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({n: weights[n] for n in names[20:]}, tmp_path / "model-00002-of-00002.safetensors")
    found = load(image(str(tmp_path)).tobytes())
    assert set(found) == set(weights) and all(torch.equal(found[n], weights[n]) for n in names)
    assert load(image(str(tiny_model)).tobytes()).keys() == weights.keys()
