"""How a setting is declared: its default, what it may be, its unit and its meaning, on the field itself.

Guarantees: a field made here carries one `Rule`; `convert` gives a value of the field's type that keeps the rule or
raises, and `allowed` says in one phrase what the rule is. Declared fields stay plain dataclass fields: OmegaConf's
structured configs and type checkers see a typed attribute with a default.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

DAY = 86_400.0  # seconds
FUNCTION = r".+\.py:[A-Za-z_]\w*"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one setting means and may be."""

    doc: str
    unit: str = ""
    ge: float | None = None  # bounds of a number, or of every number of a pair
    gt: float | None = None
    le: float | None = None
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)  # value -> what it means
    empty: str | None = None  # what an empty text means; None where the text must not be empty
    form: str = ""  # regular expression of a whole text
    form_is: str = ""  # and that form in words
    function: bool = False  # beside the choices, a function of the user's: FILE.py:NAME


def num(default: Any, unit: str, doc: str, *, ge: float | None = None, gt: float | None = None, le: float) -> Any:
    """A number, or a pair of numbers, from `ge` (or above `gt`) up to `le`; infinity and nan never."""
    return _field(default, Rule(doc, unit, ge, gt, le))


def one_of(default: str, doc: str, **choices: str) -> Any:
    """One of a few values; each with a sentence."""
    return _field(default, Rule(doc, choices=choices))


def one_of_or_function(default: str, doc: str, **choices: str) -> Any:
    """One of a few values, or a function of the user's as FILE.py:NAME (`configs.outside`)."""
    return _field(default, Rule(doc, choices=choices, function=True))


def some_of(doc: str, **choices: str) -> Any:
    """A list of any of a few values, empty by default; each value with a sentence."""
    return dataclasses.field(default_factory=list, metadata={"rule": Rule(doc, choices=choices)})


def text(default: str, doc: str, *, empty: str | None = None, form: str = "", form_is: str = "") -> Any:
    """A text; `empty` says what the empty one means, without it there has to be something."""
    return _field(default, Rule(doc, empty=empty, form=form, form_is=form_is))


def flag(default: bool, doc: str) -> Any:
    return _field(default, Rule(doc))


def _field(default: Any, rule: Rule) -> Any:
    return dataclasses.field(default=default, metadata={"rule": rule})


def settings(kind: type, prefix: str = "") -> dict[str, dataclasses.Field[Any]]:
    """Every setting under a section's class by its dotted key, in the order of declaration; without the sections."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for f in dataclasses.fields(kind):
        inner = section(f)
        found |= settings(inner, f"{prefix}{f.name}.") if inner else {prefix + f.name: f}
    return found


def section(f: dataclasses.Field[Any]) -> type | None:
    """The class of a group of settings (its docstring says what they are for), or None where `f` is a setting."""
    return f.type if isinstance(f.type, type) and dataclasses.is_dataclass(f.type) else None


def rule_of(f: dataclasses.Field[Any]) -> Rule:
    """The rule of a setting. Raises KeyError where it was declared without one."""
    rule: Rule = f.metadata["rule"]
    return rule


def convert(f: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the type of `f`, within its rule. Raises ValueError or TypeError; `allowed` says what was expected.

    Text is read as a number or a truth value where one is wanted (an environment variable is text); a fraction is never
    cut to a whole number.
    """
    rule, kind = rule_of(f), f.type
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise ValueError
        return tuple(_number(k, v, rule) for k, v in zip(kinds, value, strict=True))
    if get_origin(kind) is list:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v in rule.choices for v in value):
            raise ValueError
        return list(value)
    if kind is bool:
        return _truth(value)
    return _number(kind, value, rule) if kind in (int, float) else _text(value, rule)


def _number(kind: Any, value: Any, rule: Rule) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = kind(value) if isinstance(value, str) else value
    if kind is int and number != int(number):  # OverflowError is an ArithmeticError: infinity
        raise ValueError
    number = kind(number)
    if not math.isfinite(number):
        raise ValueError
    if (rule.ge is not None and number < rule.ge) or (rule.gt is not None and number <= rule.gt):
        raise ValueError
    if rule.le is not None and number > rule.le:
        raise ValueError
    return number  # type: ignore[no-any-return]


def _truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    return value if isinstance(value, bool) else words[str(value).lower()]


def _text(value: Any, rule: Rule) -> str:
    if value is None and rule.empty is not None:  # `key=` on a command line
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    elif value is False and "off" in rule.choices:  # YAML reads a bare `off` as false
        value = "off"
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    value.encode()  # bytes of a command line that are no text: UnicodeEncodeError, a ValueError
    if rule.choices:
        if value not in rule.choices and not (rule.function and re.fullmatch(FUNCTION, value)):
            raise ValueError
    elif not value.strip():
        if rule.empty is None:
            raise ValueError
    elif rule.form and not re.fullmatch(rule.form, value):
        raise ValueError
    return value


def allowed(f: dataclasses.Field[Any]) -> str:
    """What `f` may be, as it goes on after "must be"."""
    rule, kind = rule_of(f), f.type
    if rule.choices:
        names = ", ".join(rule.choices) + ", or a function as FILE.py:NAME" * rule.function
        return (
            f"a list of any of {names}, like [{next(iter(rule.choices))}]" if kind == list[str] else f"one of {names}"
        )
    if kind is bool:
        return "true or false"
    if kind is str:
        return (rule.form_is or "text") + (", not empty" if rule.empty is None else f", or empty: {rule.empty}")
    pair = get_origin(kind) is tuple
    whole = kind is int or (pair and get_args(kind)[0] is int)
    what = "whole number" if whole else "number"
    low = f"above {show(rule.gt)} and at most" if rule.gt is not None else f"from {show(rule.ge)} to"
    unit = f" ({rule.unit})" if rule.unit else ""
    return (
        f"a list of {len(get_args(kind))} {what}s, each " if pair else f"a {what} "
    ) + f"{low} {show(rule.le)}{unit}"


def show(value: Any) -> str:
    """A value on one line, as a config file would have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show, value))}]"
    line = " ".join(str(value).split()) or '""'
    return line if len(line) <= 80 else f"{line[:77]}..."
