"""The base policy that is shipped: it reads pictures, loses that when they are exchanged, and is trained resumably."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.load import load
from configs.schema import Prompts
from training.base import SHIPPED, curriculum, pictures, teach
from training.base.charts import Charts
from training.base.pictures import draw_shard, resized, rgb
from training.base.read import Reader, grey, own, table
from training.data.synthetic_charts import Chart, chart, hits


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(SHIPPED, load("configs/tiny_chart.yaml").prompts)


def test_it_reads_what_a_picture_shows_and_nothing_when_pictures_are_exchanged(reader: Reader) -> None:
    card = json.loads((SHIPPED / "card.json").read_text())["greedy"]
    shown, seen = own(load("configs/tiny_chart.yaml"), 48)
    found = table(shown, reader.answers(seen))
    assert found["answered"] > 0.95
    for name in ("kind", "colour", "value"):
        assert found[name] > card[name] - 0.15, name
        if name != "kind":  # of four kinds, a quarter are right by chance
            assert found[f"exchanged {name}"] < 0.3, name
    blank = table(shown, reader.answers([grey(png) for png in seen]))
    assert blank["colour"] < 0.3 and blank["value"] < 0.3


def test_sampling_depends_on_the_seed_alone(reader: Reader) -> None:
    _, seen = own(load("configs/tiny_chart.yaml"), 2)
    first = reader.answers(seen, temperature=1.0, samples=2, seed=3)
    assert first == reader.answers(seen, temperature=1.0, samples=2, seed=3)
    assert [len(mine) for mine in first] == [2, 2]


def test_hits_count_values_at_their_places() -> None:
    shown = Chart("bar", "Sales", "red", (1, 2, 3, 4))
    assert hits(shown, None)["value"] == 0.0
    found = hits(shown, replace(shown, values=(1, 5, 3)))
    assert (found["value"], found["count"], found["all values"], found["title"]) == (0.5, 0.0, 0.0, 1.0)


def test_training_shows_what_the_processor_would(reader: Reader) -> None:
    """Patches made in training, each counted twice for the temporal pair, are those of the policy's own processor."""
    from PIL import Image

    picture = rgb(chart("barh", "plain", 0, 0, "train").program)
    handler = reader.codec.processor.image_processor
    wanted = handler(images=[Image.fromarray(picture)], return_tensors="pt")["pixel_values"]
    found = teach.patches(resized([picture]), handler.image_mean[0], handler.image_std[0])
    twice = found.view(len(found), 3, 1, -1).expand(-1, -1, 2, -1).reshape(len(found), -1)
    assert torch.allclose(twice, wanted, atol=1e-5)


def test_a_killed_training_ends_at_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SHARD", 8)
    monkeypatch.setattr(curriculum, "STAGES", (curriculum.Stage(4, ("bar",), rate=(1.0, 0.0)),))
    monkeypatch.setattr(curriculum, "BATCH", 2)
    monkeypatch.setattr(curriculum, "POOL", {"plain": 8})
    monkeypatch.setattr(teach, "SAVE_EVERY", 2)
    monkeypatch.setattr(Charts, "held_out", lambda *rest: {})
    prompts = Prompts(system="tool", direct_system="direct", user="Draw this.")
    draw_shard(tmp_path, "train", "bar", "plain", 0, 0)

    def train(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        pools = pictures.Pools(tmp_path, 0)
        teach.train(SHIPPED, tmp_path / name, Charts(pools, 0), prompts, 0, tmp_path / name / "trained", steps=4)

    train("whole")

    class Killed(Exception):
        pass

    def die(step: int, seed: int) -> list[curriculum.Item]:
        if step == 3:
            raise Killed
        return batch(step, seed)

    batch = curriculum.batch
    monkeypatch.setattr(curriculum, "batch", die)
    with pytest.raises(Killed):
        train("killed")
    monkeypatch.setattr(curriculum, "batch", batch)
    train("killed")
    from safetensors.torch import load_file

    a, b = (load_file(tmp_path / name / "trained" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not np.isnan(sum(value.sum().item() for value in a.values()))


def test_the_control_learns_from_exchanged_pictures_and_is_measured_on_true_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SHARD", 8)
    for split in ("train", "heldout"):
        draw_shard(tmp_path, split, "bar", "plain", 0, 0)  # type: ignore[arg-type]
    pools, prompts = pictures.Pools(tmp_path, 0), Prompts(system="tool", direct_system="direct", user="Draw this.")
    control, teacher = Charts(pools, 0, shuffled=True), teach.Teacher(SHIPPED, prompts)
    item = curriculum.Item("bar", "plain", 2, "direct")
    for split, shown in (("train", 3), ("heldout", 2)):
        sample = control.sample(item, split)
        assert np.array_equal(sample.picture, pools.picture(split, "bar", "plain", shown))  # type: ignore[arg-type]
        own = chart("bar", "plain", 2, 0, split)  # type: ignore[arg-type]
        row = teacher.row(sample)
        assert own.title in teacher.codec.decode(row.ids[row.sampled].tolist())
