"""Settings: layers, types, ranges, relations; what is wrong is one line a problem, all of them at once."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.load import ConfigError, dump, load, valid_keys
from configs.schema import Config
from tests.configs.malformed import CONFIGS

SHIPPED = sorted(
    p for p in Path(__file__).parents[2].joinpath("configs").glob("*.yaml") if not p.name.startswith("serve_")
)


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("queue: {max_staleness: 3, groups_per_step: 5}\n")
    config = load(file, ["queue.max_staleness=2", "queue.max_staleness=1"])
    assert (config.queue.max_staleness, config.queue.groups_per_step) == (1, 5)
    assert config.rollout == Config().rollout


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_configs_load_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump(config))
    assert load(again) == config


@settings(deadline=None, max_examples=25)
@given(
    words=st.text(
        st.characters(codec="utf-8", exclude_characters="\0$", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1
    ).filter(str.strip)
    | st.sampled_from(["${run.dir}", r"\${x}", r"\\${x}", "1e-4", "true", "null", "???", "- a", " x ", "012", "a: b"]),
    lr=st.floats(0, 1),
)
def test_any_text_and_any_number_survive_a_round_trip(
    words: str, lr: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = Config()
    config.prompts.system, config.learner.lr = words, lr
    again = tmp_path_factory.getbasetemp() / "again.yaml"
    again.write_text(dump(config), encoding="utf-8")
    assert load(again) == config


@pytest.mark.parametrize("content", CONFIGS, ids=lambda c: c[:40])
def test_a_malformed_config_is_one_line_with_the_key_and_what_is_allowed(content: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert CONFIGS[content] in problem
    assert str(caught.value) == problem
    assert "\n" not in problem
    assert str(file) in problem or "=" in problem  # where it stands, or the keys of a relation


def test_there_are_sixty_malformed_configs() -> None:
    assert len(CONFIGS) >= 60


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("queue.max_stalenes=4", "did you mean `queue.max_staleness`?"),
        ("max_staleness=4", "did you mean `queue.max_staleness`?"),
        ("nonsense.thing=1", "sections: run, data"),
        ("steps", "is not key=value"),
        ("run.name=[1", "its value is not valid YAML"),
        ("run.name=${x}", "run.name=${x}: Interpolation key 'x' not found"),
        ("learner.lr=1e999", "learner.lr=inf: must be a number from 0 to 1"),
        ("run.dir=", "run.dir=null: must be a folder's path, not empty"),
        ("run.name=\udcff", "run.name="),
    ],
)
def test_a_bad_override_is_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: {steps: 0, stepz: 1}\nengine: {turn_s: -1, max_model_len: 64}\nnothing: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file, ["http.port=-5", "grpo.advantage=sdt", "steps"])
    text = "\n".join(caught.value.problems)
    for key in ("`steps`", "run.steps=0", "`run.stepz`", "engine.turn_s=-1", "`nothing`", "http.port=-5", "advantage"):
        assert key in text
    assert "sampling.max_trajectory_tokens=1024 does not fit engine.max_model_len=64" in text
    assert len(caught.value.problems) == 9  # max_tokens does not fit, either


def test_a_relation_to_a_key_that_is_wrong_itself_is_not_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, ["engine.max_model_len=nan", "sampling.max_trajectory_tokens=4000"])
    assert caught.value.problems == ("engine.max_model_len=nan: must be a whole number from 16 to 10000000 (tokens)",)


def test_references_and_the_environment_are_read_as_the_type_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRVF_TEST_STEPS", "7")
    config = load(None, ["run.steps=${oc.env:RRVF_TEST_STEPS}", "run.keep=${run.steps}", "judge.url=", "run.name=12"])
    assert (config.run.steps, config.run.keep, config.judge.url, config.run.name) == (7, 7, "", "12")


def test_a_missing_file_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"no config file .*tiny_chart\.yaml"):
        load("configs/absent.yaml")


def test_every_section_and_leaf_is_a_valid_key() -> None:
    keys = valid_keys()
    assert {"queue", "queue.max_staleness", "render.sandbox", "render.sandbox.cpu_s"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_a_domain_asks_for_itself_where_no_prompt_is_given() -> None:
    from configs.domains import find

    own = find("svg").texts
    found = load(None, ["data.domain=svg", "prompts.user=Draw this."]).prompts
    assert (found.system, found.direct_system, found.user) == (own.system, own.direct_system, "Draw this.")
    assert own.direct_system and load(None, ["data.domain=chart"]).prompts.system == ""
