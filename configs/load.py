"""A run's settings from a YAML file and `key=value` overrides.

Guarantees: the result is a `Config` whose every value has its declared type; an unknown key or a wrong type is one
line (`ConfigError`) that names the nearest valid key; nothing is guessed silently.
"""

import difflib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.schema import Config


class ConfigError(ValueError):
    """A setting that cannot be used; the message is one line that says what to change."""


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, then the YAML at `path`, then `key=value` strings; later ones win. Raises ConfigError."""
    layers: list[tuple[str, dict[str, Any]]] = []
    if path is not None:
        if not Path(path).is_file():
            runs = (p for p in Path(__file__).parent.glob("*.yaml") if not p.name.startswith("serve_"))
            known = ", ".join(sorted(map(str, runs)))
            raise ConfigError(f"no config file {path}; shipped ones: {known}")
        try:
            found = OmegaConf.to_container(OmegaConf.load(path)) or {}
        except Exception as error:
            raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{path}: a list; it is to hold sections, like `run: {{steps: 50}}`")
        layers.append((str(path), cast(dict[str, Any], found)))
    for text in overrides:
        if "=" not in text:
            raise ConfigError(f"`{text}` is not key=value")
        try:
            layers.append((f"`{text}`", cast(dict[str, Any], OmegaConf.to_container(OmegaConf.from_dotlist([text])))))
        except Exception as error:
            raise ConfigError(f"`{text}`: its value is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    merged = OmegaConf.structured(Config)
    for source, layer in layers:
        _check_keys(layer, source)
        try:
            merged = OmegaConf.merge(merged, layer)
        except OmegaConfBaseException as error:
            key = getattr(error, "full_key", "") or "a value"
            raise ConfigError(f"{source}: {key}: {str(error).splitlines()[0]}") from None
    try:
        config = cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from None
    _check_values(config)
    return config


def dump(config: Config) -> str:
    """The resolved settings as YAML, loadable again."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def valid_keys(kind: type = Config, prefix: str = "") -> list[str]:
    """Every key that may be set, dotted, sections included."""
    keys: list[str] = []
    for f in fields(kind):
        keys.append(prefix + f.name)
        if isinstance(f.type, type) and is_dataclass(f.type):
            keys.extend(valid_keys(f.type, f"{prefix}{f.name}."))
    return keys


def _check_keys(layer: dict[str, Any], source: str) -> None:
    known = valid_keys()
    for key in _flatten(layer):
        if key in known:
            continue
        leaf = key.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(key, known, 1, 0.6) or [k for k in known if k.rsplit(".", 1)[-1] == leaf]
        near = near or difflib.get_close_matches(leaf, [k.rsplit(".", 1)[-1] for k in known], 1, 0.6)
        hint = f"; did you mean `{near[0]}`?" if near else f"; sections: {', '.join(k for k in known if '.' not in k)}"
        raise ConfigError(f"{source}: no setting `{key}`{hint}")


def _flatten(layer: dict[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in layer.items():
        keys.extend(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"])
    return keys


CHOICES: dict[str, tuple[str, ...]] = {
    "data.domain": ("chart", "web"),
    "judge.backend": ("perceptual", "mllm"),
    "reward.preset": ("paper", "paper_literal"),
    "grpo.advantage": ("std", "mean", "loo"),
    "grpo.aggregate": ("sequence", "token", "constant"),
    "grpo.ratio": ("token", "sequence"),
    "grpo.surrogate": ("clip", "cispo", "sapo", "vespo"),
    "grpo.proximal": ("behaviour", "learner"),
    "grpo.importance": ("truncate", "mask", "off"),
    "learner.schedule": ("constant", "linear", "cosine"),
    "engine.sync": ("auto", "nccl", "ipc"),
    "policy.dtype": ("float32", "bfloat16"),
}
AT_LEAST: dict[str, float] = {
    "run.steps": 1,
    "run.checkpoint_every": 1,
    "run.keep": 1,
    "data.count": 1,
    "rollout.actors": 1,
    "rollout.group_size": 2,
    "rollout.max_turns": 1,
    "rollout.concurrency": 1,
    "queue.groups_per_step": 1,
    "queue.max_staleness": 0,
    "engine.replicas": 1,
    "engine.max_model_len": 16,
    "engine.max_num_seqs": 1,
    "sampling.max_tokens": 1,
    "sampling.temperature": 0,
    "render.replicas": 1,
    "render.concurrency": 1,
    "judge.replicas": 1,
    "judge.concurrency": 1,
    "learner.workers": 1,
    "learner.token_budget": 1,
    "learner.logprob_chunk": 1,
    "learner.updates": 1,
    "learner.max_skipped_steps": 1,
    "grpo.constant_length": 1,
    "grpo.importance_cap": 1,
    "learner.lr": 0,
    "learner.lora_rank": 0,
    "rollout.direct_share": 0,
    "queue.survivors": 0,
}
AT_MOST: dict[str, float] = {"rollout.direct_share": 1, "queue.survivors": 1}


def _check_values(config: Config) -> None:
    for key, allowed in CHOICES.items():
        if (value := _get(config, key)) not in allowed:
            near = difflib.get_close_matches(str(value), allowed, 1, 0.3)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise ConfigError(f"{key}={value}: must be one of {', '.join(allowed)}{hint}")
    for key, least in AT_LEAST.items():
        if not (value := _get(config, key)) >= least:  # nan is not, either
            raise ConfigError(f"{key}={value}: must be at least {least:g}")
    for key, most in AT_MOST.items():
        if (value := _get(config, key)) > most:
            raise ConfigError(f"{key}={value}: must be at most {most:g}")
    if config.data.domain == "web" and config.data.images == "drawn":
        raise ConfigError("data.domain=web needs pictures of pages: data.images=DIR (what is drawn here are charts)")
    if config.sampling.max_trajectory_tokens > config.engine.max_model_len:
        raise ConfigError(
            f"sampling.max_trajectory_tokens={config.sampling.max_trajectory_tokens} does not fit "
            f"engine.max_model_len={config.engine.max_model_len}"
        )


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
