"""A run's settings from a YAML file and `key=value` overrides.

Guarantees: the result is a `Config` whose every value has its declared type and keeps its rule (`configs.fields`) and
its relations to others (`configs.relations`). What is wrong is reported at once and completely: one `ConfigError`, one
line for each problem, with key, value and what is allowed; an unknown key names the nearest. Nothing is guessed.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from configs.domains import find, shipped
from configs.fields import allowed, convert, rule_of, section, settings, show
from configs.outside import absolute
from configs.relations import broken
from configs.schema import Config

OVERLAYS = Path(__file__).parent / "overlays"
SETTINGS = settings(Config)
SECTIONS = {key.rsplit(".", n)[0] for key in SETTINGS for n in range(1, key.count(".") + 1)}


class ConfigError(ValueError):
    """Settings or input that cannot be used; each of `problems` is one line that says what to change."""

    exit_status = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.problems


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, then the YAML at `path`, then `key=value` strings; later ones win. `+NAME` among them stands for the
    settings of configs/overlays/NAME.yaml. Raises ConfigError."""
    problems: list[str] = []
    values: dict[str, tuple[str, Any]] = {}  # key -> (where it stands, value)
    for source, layer in _layers(path, overrides, problems):
        given: set[str] = set()
        for key, value in _leaves(layer):
            if key in given:
                problems.append(f"{source}{key} is given twice")
            elif key in SETTINGS:
                values[key] = (source, value)
            elif key in SECTIONS:
                if value is not None:  # a section's name with nothing under it
                    problems.append(f"{source}{key}={show(value)}: a section of settings, like {_under(key)}=...")
            else:
                problems.append(f"{source}no setting `{key}`{_nearest(key)}")
            given.add(key)
    config, wrong = _built(values, problems)
    own: tuple[tuple[Any, str], ...] = ((config.data, "domain"), (config.judge, "backend"), (config.reward, "function"))
    for section_of, name in own:
        setattr(section_of, name, absolute(getattr(section_of, name)))  # for processes with another working folder
    config.judge.blend = ",".join(absolute(part.strip()) for part in config.judge.blend.split(","))
    problems.extend(line for line in broken(config) if not any(f"{key}=" in line for key in wrong))
    if problems:
        raise ConfigError(*problems)
    for name, own_text in vars(find(config.data.domain).texts).items():
        setattr(config.prompts, name, getattr(config.prompts, name) or own_text)
    return config


def recorded(path: Path) -> Config:
    """The settings that a run's folder holds, to be looked at: the folder may be from anybody, so no file of code that
    they name is loaded, and a domain of one's own reads as the default. Raises ConfigError."""
    default = Config().data.domain
    domain = dict(_leaves(_file(path))).get("data.domain", default)
    return load(path, [] if domain in shipped() else [f"data.domain={default}"])


def dump(config: Config) -> str:
    """The resolved settings as YAML, loadable again."""
    return OmegaConf.to_yaml(OmegaConf.create(_literal(asdict(config))))


def valid_keys() -> list[str]:
    """Every key that may be set, dotted, sections included."""
    return sorted(SECTIONS | set(SETTINGS))


def _layers(
    path: str | Path | None, overrides: Sequence[str], problems: list[str]
) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """(where it stands, what is set there) of the file and of each override; what cannot be read is a problem."""
    if path is not None:
        try:
            yield f"{path}: ", _file(Path(path))
        except ConfigError as error:
            problems.extend(error.problems)
    for text in overrides:
        if text.startswith("+") and "=" not in text:
            overlay = OVERLAYS / f"{text[1:]}.yaml"
            if overlay.is_file():
                yield f"{overlay.name}: ", _file(overlay)
            else:
                known = ", ".join(sorted(f"+{p.stem}" for p in OVERLAYS.glob("*.yaml")))
                problems.append(f"`{text}` is no overlay; there are {known}")
            continue
        if "=" not in text:
            problems.append(f"`{text}` is not key=value")
            continue
        try:
            yield "", cast(dict[Any, Any], OmegaConf.to_container(OmegaConf.from_dotlist([text])))
        except Exception as error:  # of the YAML parser, or of OmegaConf's grammar
            problems.append(f"`{text}`: its value is not valid YAML: {_line(error)}")


def _file(path: Path) -> dict[Any, Any]:
    """The content of a YAML file. Raises ConfigError."""
    if not path.is_file():
        runs = (p for p in Path(__file__).parent.glob("*.yaml") if not p.name.startswith("serve_"))
        raise ConfigError(f"no config file {path}; shipped ones: {', '.join(sorted(map(str, runs)))}")
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        if twice := re.fullmatch(r"found duplicate key (.+)", error.problem or ""):
            raise ConfigError(f"{path}: {where}{twice[1]} is given twice") from None
        raise ConfigError(f"{path} is not valid YAML: {where}{error.problem or _line(error)}") from None
    except Exception as error:  # a file that is no text, a number, a recursive alias
        raise ConfigError(f"{path} is not valid YAML: {_line(error)}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: a list; it is to hold sections, like `run: {{steps: 50}}`")
    return found


def _leaves(layer: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in a layer; a mapping under a setting's own key is its (wrong) value."""
    for name, value in layer.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and (value or key in SECTIONS) and key not in SETTINGS:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _built(values: Mapping[str, tuple[str, Any]], problems: list[str]) -> tuple[Config, list[str]]:
    """The settings with every usable value in its place, and the keys whose value is not usable."""
    tree = asdict(Config())
    for key, (_, value) in values.items():
        _put(tree, key, value)
    config, wrong = Config(), []
    for key, (source, raw) in values.items():
        f, value = SETTINGS[key], raw
        try:
            if isinstance(raw, str) and "${" in raw:
                value = OmegaConf.to_container(OmegaConf.create({"value": _resolved(tree, key)}))["value"]  # type: ignore[index,call-overload]
            _set(config, key, convert(f, value))
        except OmegaConfBaseException as error:
            wrong.append(key)
            problems.append(f"{source}{key}={show(raw)}: {_line(error)}")
        except (ValueError, TypeError, KeyError, ArithmeticError):
            wrong.append(key)
            near = difflib.get_close_matches(str(value), rule_of(f).choices, 1, 0.3)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            problems.append(f"{source}{key}={show(value)}: must be {allowed(f)}{hint}")
    return config, wrong


def _resolved(tree: dict[str, Any], key: str) -> Any:
    """The value at `key`, with `${...}` replaced. Raises OmegaConfBaseException."""
    return OmegaConf.select(OmegaConf.create(tree), key, throw_on_resolution_failure=True)


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for part in sections:
        tree = tree[part]
    tree[name] = value


def _set(config: Config, key: str, value: Any) -> None:
    *sections, name = key.split(".")
    place: Any = config
    for part in sections:
        place = getattr(place, part)
    setattr(place, name, value)


def _literal(value: Any) -> Any:
    """`value` with every text written so that loading takes it literally: `${` begins a reference otherwise."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    return list(value) if isinstance(value, tuple) else value


def _nearest(key: str) -> str:
    known = [*sorted(SECTIONS), *SETTINGS]
    leaf = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, known, 1, 0.6) or [k for k in known if k.rsplit(".", 1)[-1] == leaf]
    near = near or [
        k for n in difflib.get_close_matches(leaf, [k.rsplit(".", 1)[-1] for k in known], 1, 0.6) for k in known
        if k.rsplit(".", 1)[-1] == n
    ]  # fmt: skip
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; sections: {', '.join(f.name for f in fields(Config) if section(f))}"


def _under(section: str) -> str:
    return next(key for key in SETTINGS if key.startswith(f"{section}."))


def _line(error: Exception) -> str:
    return " ".join(str(error).split("full_key:")[0].split())[:200]
