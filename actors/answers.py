"""The source in a model's text, whatever the domain: one reader for training, evaluation and serving.

Guarantees: what stands in `<think>` is never taken for an answer; an `<answer>` counts with or without it, and the last
one counts; line ends are LF; reading takes time in proportion to the text, whatever it is. A block may be fenced by
backquotes or tildes, with any spelling of its language and words after it, and may lack its end. What counts without a
fence is the domain's to say.
"""

import json
import re

from actors.contracts import Domain
from configs.domains import find

OPENING = re.compile(r"(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)")
THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.S | re.I)
ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.S | re.I)


def program(text: str, domain: Domain) -> str | None:
    """The answer's program or page; None where there is none."""
    text = without_thinking(text)
    if answers := [body for body in ANSWER.findall(text) if body.strip()]:
        return body_code(answers[-1], domain)
    found = blocks(text)
    for wanted in (find(domain).languages, frozenset(("",))):
        for language, code in found:
            if language in wanted and code.strip():
                return code
    if found:
        return None
    return find(domain).bare(text)


def programs(text: str, domain: Domain) -> list[str]:
    """All fenced programs of an answer, in order."""
    text = without_thinking(text)
    answers = ANSWER.findall(text)
    found = blocks(answers[-1] if answers else text)
    return [code for language, code in found if language in find(domain).languages and code.strip()]


def body_code(body: str, domain: Domain | None = None) -> str | None:
    """The program in the body of a tag: JSON with `arguments.code`, the first block, or all of it."""
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    if body.lstrip().startswith("{"):
        try:
            body = json.loads(body)["arguments"]["code"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if not isinstance(body, str):
            return None
    found = [(language, code) for language, code in blocks(body) if code.strip()]
    if domain is not None:
        found.sort(key=lambda block: block[0] not in find(domain).languages)  # its own language first; stable
    code = found[0][1] if found else body.strip("\n")
    return code if code.strip() else None


def without_thinking(text: str) -> str:
    """The text after a model's thoughts, also where their opening tag was part of the prompt."""
    text = THINKING.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.split(r"</think>", text, flags=re.I)[-1]


def blocks(text: str) -> list[tuple[str, str]]:
    """(language in lower case, code) of each fenced block; one that does not end goes to the end."""
    found: list[tuple[str, str]] = []
    fence, language, lines = "", "", [""]
    for line in text.split("\n"):
        if not fence:
            opening = OPENING.search(line)
            if opening is None or (opening.end() != len(line) and opening["fence"] in line[opening.end() :]):
                continue
            words = opening["info"].strip("{}. ").split()
            fence, language, lines = opening["fence"], (words[0].lower().split(":")[0] if words else ""), []
            continue
        shut = line.rstrip(" \t")
        last = shut.rstrip(fence[0])  # what stands before the fence that ends the line
        if len(shut) - len(last) >= len(fence) and (not last.strip() or line.count(fence) == 1):
            found.append((language, "\n".join([*lines, *([last] if last.strip() else [])]).strip("\n")))
            fence = ""
        else:
            lines.append(line)
    if fence:
        found.append((language, "\n".join(lines).strip("\n")))
    return found
