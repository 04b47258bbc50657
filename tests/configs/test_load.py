"""Settings: layers, types, and errors that name the nearest key."""

import re
from pathlib import Path

import pytest

from configs import schema
from configs.load import ConfigError, dump, load, valid_keys
from configs.schema import Config

SHIPPED = sorted(
    p for p in Path(__file__).parents[2].joinpath("configs").glob("*.yaml") if not p.name.startswith("serve_")
)


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("queue: {max_staleness: 3, groups_per_step: 5}\n")
    config = load(file, ["queue.max_staleness=1"])
    assert (config.queue.max_staleness, config.queue.groups_per_step) == (1, 5)
    assert config.rollout == Config().rollout


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_configs_load_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump(config))
    assert load(again) == config


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("queue.max_stalenes=4", "did you mean `queue.max_staleness`?"),
        ("max_staleness=4", "did you mean `queue.max_staleness`?"),
        ("queue.max_staleness=abc", "queue.max_staleness: Value 'abc'"),
        ("nonsense.thing=1", "sections: run, data"),
        ("queue=3", "queue"),
        ("grpo.advantage=sdt", "did you mean `std`?"),
        ("rollout.group_size=1", "must be at least 2"),
        ("sampling.max_trajectory_tokens=99999", "does not fit engine.max_model_len"),
        ("steps", "is not key=value"),
        ("run.name=[1", "its value is not valid YAML"),
        ("run.name=${x}", "run.name: Interpolation key 'x' not found"),
        ("data.count=0", "must be at least 1"),
        ("learner.lr=nan", "must be at least 0"),
        ("rollout.direct_share=5", "must be at most 1"),
        ("data.domain=web", "data.images=DIR"),
    ],
)
def test_a_bad_setting_is_one_clear_line(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"no config file .*tiny_chart\.yaml"):
        load("configs/absent.yaml")


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    for content, said in (("queue: [1,\n", "is not valid YAML"), ("[1, 2]\n", "a list; it is to hold sections")):
        file.write_text(content)
        with pytest.raises(ConfigError, match=said) as caught:
            load(file)
        assert "\n" not in str(caught.value)


def test_every_setting_says_what_it_means() -> None:
    lines = Path(schema.__file__).read_text().partition("class Config:")[0].splitlines()
    settings = [line for line in lines if re.match(r"    \w+: [\w\[\], ]+ = ", line)]
    assert len(settings) > 150
    assert [line for line in settings if not re.search(r'#|field\(default_factory=|"""', line)] == []


def test_every_section_and_leaf_is_a_valid_key() -> None:
    keys = valid_keys()
    assert {"queue", "queue.max_staleness", "render.sandbox.cpu_s"} <= set(keys)
    assert len(keys) == len(set(keys))
