"""How the answer of a vision-language judge becomes a verdict.

Guarantees: a verdict's score is a fixed sum of the marks, computed here, or the total that the answer states out of
100 or 10; fences, prose, thoughts before the JSON, numbers as texts and other spellings of a category do no harm; what
is no verdict is `Malformed` and says why, in our words only.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from actors.contracts import Difference, Domain, Verdict
from configs.domains import find

BACKEND = "mllm"
FULL_MARK = 10
SPELLINGS = {
    "color": "colour", "colors": "colour", "colours": "colour", "types": "type", "chart type": "type", "kind": "type",
    "texts": "text", "words": "text", "values": "data", "trend": "data", "element": "elements", "styles": "style",
    "structure": "layout", "arrangement": "layout", "readability": "clarity",
}  # fmt: skip
SEVERITIES = {
    "slight": 1,
    "minor": 1,
    "low": 1,
    "clear": 2,
    "medium": 2,
    "moderate": 2,
    "severe": 3,
    "major": 3,
    "high": 3,
}
TOTAL = re.compile(r"(?i)\b(?:score|rating|total|mark)\b[\s*\"':=]{0,6}(\d{1,3}(?:\.\d+)?)\s*/\s*(100|10)\b")
THOUGHT = re.compile(r"<(think|thinking|reasoning)>")
MOST_OBJECTS = 64  # opening braces that are tried


class Malformed(ValueError):
    """The model's answer is no verdict; the message says why, in our words only, as the model gets it. `quoted`:
    the words of the model, for people."""

    def __init__(self, why: str, quoted: str = "") -> None:
        super().__init__(why)
        self.quoted = quoted


def marks_of(domain: Domain) -> Mapping[str, int]:
    """Its marks and their weights."""
    return find(domain).question.marks


def parse(text: str, domain: Domain) -> Verdict:
    """The verdict in a model's answer. Raises Malformed."""
    text = without_thoughts(text)
    answer = _object_in(text)
    if answer is None:
        if totals := TOTAL.findall(text):
            mark, full = totals[-1]
            return Verdict(min(1.0, float(mark) / float(full)), _plain(TOTAL.sub(" ", text)), BACKEND)
        raise Malformed("it holds no finished JSON object" if "}" not in text else "it is not JSON")
    try:
        found, feedback, given = answer["differences"], answer["feedback"], answer["marks"]
        if not isinstance(found, list) or not isinstance(feedback, str):
            raise Malformed("a value is of the wrong type: differences must be a list, feedback a text")
        marks_by_name = {_name(name, domain): mark for name, mark in given.items()}
        differences = tuple(_finding(one, domain) for one in found)
        marks = {name: _whole(marks_by_name[name], 0, FULL_MARK) for name in marks_of(domain)}
    except KeyError as error:
        raise Malformed(f"the key {error} is missing") from None
    except (TypeError, AttributeError):
        raise Malformed("a value is of the wrong type") from None
    weights = marks_of(domain)
    score = sum(weights[n] * marks[n] for n in weights) / (FULL_MARK * sum(weights.values()))
    return Verdict(score, _plain(feedback), BACKEND, differences, {n: mark / FULL_MARK for n, mark in marks.items()})


def without_thoughts(text: str) -> str:
    """What is left of an answer without its thoughts, of which those count that end; in time by its length."""
    kept, at, endless = [], 0, set()
    for opening in THOUGHT.finditer(text):
        if opening.start() < at or opening[1] in endless:
            continue
        end = text.find(f"</{opening[1]}>", opening.end())
        if end < 0:
            endless.add(opening[1])
            continue
        kept.append(text[at : opening.start()])
        at = end + len(opening[1]) + 3
    return " ".join([*kept, text[at:]])


def _object_in(text: str) -> dict[str, Any] | None:
    """The last JSON object with marks that stands in a text, or the last one with another part of an answer."""
    decoder = json.JSONDecoder(strict=False)  # grammars of structured output let raw control characters into texts
    best: dict[str, Any] | None = None
    at, tries = text.find("{"), 0
    while at >= 0 and tries < MOST_OBJECTS:
        tries += 1
        try:
            found, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            ours = isinstance(found, dict) and bool({"marks", "differences", "feedback"} & found.keys())
            if ours and ("marks" in found or best is None or "marks" not in best):
                best = found
        at = text.find("{", end)
    return best


def _name(name: str, domain: Domain) -> str:
    """A category as we spell it; of a chart colours are style."""
    plain = " ".join(name.lower().replace("_", " ").split())
    plain = SPELLINGS.get(plain, plain)
    return "style" if plain == "colour" and "colour" not in marks_of(domain) else plain


def _finding(one: Any, domain: Domain) -> Difference:
    category, where, what = one["category"], one.get("where", ""), one["what"]
    if not isinstance(category, str) or (category := _name(category, domain)) not in marks_of(domain):
        raise Malformed(f"a category is none of {', '.join(marks_of(domain))}")
    if not isinstance(where, str) or not isinstance(what, str):
        raise Malformed("where and what must be texts")
    severity = one["severity"]
    if isinstance(severity, str):
        severity = SEVERITIES.get(severity.strip().lower(), severity)
    return Difference(category, _whole(severity, 1, 3), _plain(where), _plain(what))


def _plain(text: str) -> str:
    """One line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _whole(value: Any, least: int, most: int) -> int:
    """A whole number as a number or a text: 8, 8.0, "8", "8/10"."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d+(\.0+)?\s*(/\s*10\s*)?", value):
        value = float(value.split("/")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"a number is not a whole one of {least} to {most}")
    return value
