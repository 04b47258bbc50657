"""What a setting means: section, key, default, range, meaning.

    python -m configs.describe [KEY or a part of one]     for example: queue, staleness, grpo.surrogate

Guarantees: the text is made from the declarations that `configs.load` enforces, so it is never out of date;
`configs/README.md` is `page()`, and a test compares the two (python -m configs.describe > configs/README.md).
"""

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from configs.fields import allowed, rule_of, section, settings, show
from configs.load import ConfigError
from configs.schema import Config

HEAD = """\
# Settings

Made by `python -m configs.describe`; do not edit. A YAML file of this folder sets any of these keys, `key=value` on the
command line wins over it, and what is not set keeps the default given here. `python -m configs.describe KEY` prints the
entries of one key, of a section or of every key that contains a word.
"""


def page(part: str = "") -> str:
    """All settings as Markdown, or those whose key contains `part`; empty where there are none."""
    body = "\n".join(_sections(Config, "", part))
    return body if part else f"{HEAD}\n{body}"


def found(part: str) -> str:
    """`page(part)`. Raises ConfigError where no key contains it."""
    if text := page(part):
        return text
    near = difflib.get_close_matches(part, settings(Config), 1, 0.4)
    raise ConfigError(f"no setting contains `{part}`" + (f"; did you mean `{near[0]}`?" if near else ""))


def _sections(kind: type, prefix: str, part: str) -> Iterator[str]:
    """A heading and its settings for each section, the sections inside it after it."""
    for f in fields(kind):
        if (inner := section(f)) is None:
            continue
        lines = [_entry(prefix + f.name + "." + own.name, own) for own in fields(inner) if not section(own)]
        lines = [line for line in lines if part in line.split("`")[1]]
        if lines:
            yield f"## {prefix}{f.name}: {(inner.__doc__ or '').strip()}\n\n{''.join(lines)}"
        yield from _sections(inner, f"{prefix}{f.name}.", part)


def _entry(key: str, f: Field[Any]) -> str:
    """One line: key, default, what it may be, what it means; and one for each choice."""
    rule = rule_of(f)
    default = show([] if f.default is MISSING else f.default)
    what = "Any of:" if f.type == list[str] else "One of:" if rule.choices else f"{_sentence(allowed(f))}."
    lines = [f"- `{key}` = `{default}`: {rule.doc}. {what}"]
    lines += [f"  - `{name}`: {meaning}" for name, meaning in rule.choices.items()]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 where no key contains the part."""
    parser = argparse.ArgumentParser(prog="python -m configs.describe", description="What the settings mean.")
    parser.add_argument("part", nargs="?", default="", help="a key, a section, or a part of one")
    part = parser.parse_args(argv).part
    text = page(part)
    if not text:
        near = difflib.get_close_matches(part, settings(Config), 1, 0.4)
        print(
            f"error: no setting contains `{part}`" + (f"; did you mean `{near[0]}`?" if near else ""), file=sys.stderr
        )
        return 2
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
