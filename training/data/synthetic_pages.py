"""Pages with labels, from a generator: what one shows, the plain HTML for it, and what a page of HTML says it shows.

Guarantees: a page depends on (seed, split, level, index) and on nothing else; no page of `heldout` is one of `train`.
What a page shows is written beside its picture for evaluation; the reward never sees it. Every word and every colour
may stand in every place, so that no place foretells it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from training.data.synthetic_charts import Split

WINDOW = (294, 252)  # CSS px: six rows of 42, which the policy's image processor makes six rows of one token each
ROWS = 6
COLOURS = ("red", "blue", "green", "orange", "purple", "brown", "teal", "gray", "navy", "hotpink")
WORDS = (
    "Home", "News", "Shop", "About", "Blog", "Cart", "Login", "Search", "Help", "Team", "Jobs", "Prices", "Events",
    "Music", "Books", "Games", "Travel", "Food", "Sport", "Health", "Garden", "Photos", "Videos", "Email", "Name",
    "Phone", "City", "Send", "Save", "Join", "Open", "More", "Tea", "Coffee", "Bread", "Milk", "Fruit", "Rice",
    "Sugar", "Fish",
)  # fmt: skip
COUNTS = {  # words that a block of a kind may hold
    "header": (1, 1), "nav": (2, 4), "title": (1, 1), "cards": (2, 3), "columns": (2, 3), "list": (2, 4),
    "buttons": (1, 3), "form": (2, 2), "footer": (1, 1),
}  # fmt: skip
KINDS = tuple(COUNTS)
TAGS = {"header": "header", "footer": "footer", "nav": "nav", "h1": "title", "ul": "list", "form": "form"}
BODY = ("title", "cards", "columns", "list", "buttons", "form")  # what stands between navigation and footer
COLOURED = ("header", "cards", "buttons", "form", "footer")
SIZED = ("header", "cards")  # kinds of one row or of two
STYLE = """\
body{margin:0;display:grid;grid-auto-rows:42px;font:16px/21px sans-serif}
body>*{margin:0;padding:4px 9px;display:flex;gap:9px;align-items:center;overflow:hidden}
p,a,button,input{flex:1;margin:0;padding:4px;min-width:0;font:inherit}
header,footer,.cards p,button{background:var(--c);color:white;border:0}
header{font-weight:bold}
nav{background:lightgray}
.columns p{border-left:2px solid}
.cards{align-items:stretch}
ul,.tall{grid-row:span 2}
ul{display:block;padding:0 30px}
"""
ATTRIBUTES = ("blocks", "kind", "size", "colour", "items", "word", "all words", "all")  # what `hits` compares


@dataclass(frozen=True)
class Block:
    """One block of a page: its kind, the words in it from left to right or top to bottom, its colour (empty where the
    kind has none), and whether it is two rows high."""

    kind: str
    words: tuple[str, ...]
    colour: str = ""
    tall: bool = False

    @property
    def rows(self) -> int:
        return 2 if self.tall or self.kind == "list" else 1

    @property
    def html(self) -> str:
        """The block's line of the page."""
        style = f' style="--c:{self.colour}"' if self.colour else ""
        inside = [f"<p>{word}</p>" for word in self.words]
        if self.kind in ("header", "footer", "title"):
            tag = "h1" if self.kind == "title" else self.kind
            tall = ' class="tall"' * self.tall
            return f"<{tag}{tall}{style}>{self.words[0]}</{tag}>"
        if self.kind == "nav":
            return f"<nav>{''.join(f'<a>{word}</a>' for word in self.words)}</nav>"
        if self.kind == "list":
            return f"<ul>{''.join(f'<li>{word}</li>' for word in self.words)}</ul>"
        if self.kind == "form":
            field, button = self.words
            return f'<form{style}><input placeholder="{field}"><button>{button}</button></form>'
        if self.kind == "buttons":
            inside = [f"<button>{word}</button>" for word in self.words]
        kind = f"{self.kind} tall" if self.tall else self.kind
        return f'<div class="{kind}"{style}>{"".join(inside)}</div>'

    @property
    def read_out(self) -> str:
        """What it shows, in a few words."""
        parts = [self.kind, *(["tall"] if self.tall else []), *([f'"{self.colour}"'] if self.colour else [])]
        return " ".join([*parts, *self.words])


@dataclass(frozen=True)
class Page:
    """What a page shows, from top to bottom."""

    blocks: tuple[Block, ...]

    @property
    def rows(self) -> int:
        return sum(b.rows for b in self.blocks)

    @property
    def program(self) -> str:
        """The page as a person would write it."""
        return "<!doctype html>\n<style>\n" + STYLE + "</style>\n" + self.body

    @property
    def body(self) -> str:
        """Its blocks, one a line."""
        return "".join(b.html + "\n" for b in self.blocks)

    @property
    def facts(self) -> dict[str, object]:
        """What a manifest says of it."""
        return {"blocks": [{**vars(b), "words": list(b.words)} for b in self.blocks]}

    @property
    def read_out(self) -> str:
        """What it shows, in one line."""
        return "; ".join(b.read_out for b in self.blocks)

    @property
    def answer(self) -> str:
        """The turn that answers its picture: its HTML, which says everything that a line before it could say."""
        return f"<think></think><answer>\n{self.program}</answer>"


def draw(index: int, seed: int, split: Split) -> Page:
    """Page `index` of a split, of any form that `page` has."""
    return page(5, index, seed, split)


def page(level: int, index: int, seed: int, split: Split) -> Page:
    """Page `index` of a level; another level, another page."""
    rng = random.Random(f"{seed}/{split}/page/{level}/{index}")
    while True:
        words = iter(rng.sample(WORDS, len(WORDS)))
        found = Page(tuple(block(kind, words, rng) for kind in plan(level, rng)))
        if found.rows <= ROWS and is_held_out(found) == (split == "heldout"):
            return found


def plan(level: int, rng: random.Random) -> list[str]:
    """Kinds of blocks of a page: at level 1 a header alone, at 2 with navigation, at 3 and 4 with one block more and
    with two, at 5 what a page may be."""
    kinds = ["header"] if level < 5 or rng.random() < 0.85 else []
    kinds += ["nav"] if level == 2 or (level > 2 and rng.random() < 0.5) else []
    kinds += rng.sample(BODY, {1: 0, 2: 0, 3: 1, 4: 2}.get(level, rng.choice((1, 2, 2, 3))))
    return kinds + (["footer"] if level > 3 and rng.random() < 0.5 else [])


def gallery(index: int, seed: int) -> Page:
    """Page `index` of a kind that `page` never draws: one kind of block twice, without a header."""
    rng = random.Random(f"{seed}/gallery/{index}")
    words = iter(rng.sample(WORDS, len(WORDS)))
    kind = rng.choice(("cards", "columns", "buttons", "form"))
    between = [block("title", words, rng)] if rng.random() < 0.5 else []
    return Page((block("nav", words, rng), block(kind, words, rng), *between, block(kind, words, rng)))


def block(kind: str, words: Iterator[str], rng: random.Random) -> Block:
    """A block of a kind with the next of `words`."""
    count = rng.randint(*COUNTS[kind])
    return Block(
        kind,
        tuple(next(words) for _ in range(count)),
        rng.choice(COLOURS) if kind in COLOURED else "",
        kind in SIZED and rng.random() < 0.4,
    )


def is_held_out(found: Page) -> bool:
    """One page in sixteen belongs to `heldout`, by content, so the splits cannot meet."""
    return random.Random(found.read_out).random() < 1 / 16


class _Reading(HTMLParser):
    """Collects the blocks of a page: each child of its body, with the texts and the colour in it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[dict[str, Any]] = []
        self.open: dict[str, Any] | None = None
        self.tag, self.ignored = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = given.get("class", "").split()
        self.ignored |= tag == "style"
        if self.open is None:
            kind = TAGS.get(tag) or next((name for name in classes if name in KINDS), "")
            if kind:
                colour = given.get("style", "").partition("--c:")[2].split(";")[0].strip()
                self.open = {"kind": kind, "words": [], "colour": colour, "tall": "tall" in classes}
                self.blocks.append(self.open)
                self.tag = tag
        elif tag == "input":
            self.open["words"].append(given.get("placeholder", ""))

    def handle_endtag(self, tag: str) -> None:
        self.ignored &= tag != "style"
        if tag == self.tag:
            self.open, self.tag = None, ""

    def handle_data(self, data: str) -> None:
        if self.open is not None and not self.ignored and data.strip():
            self.open["words"].append(data.strip())


def attributes(program: str) -> Page | None:
    """What a page of HTML shows, read from its text; None where it holds no known block."""
    reading = _Reading()
    reading.feed(program)
    reading.close()
    return shown_by({"blocks": reading.blocks}) if reading.blocks else None


def shown_by(facts: dict[str, Any]) -> Page:
    """What a line of a manifest says."""
    return Page(tuple(Block(b["kind"], tuple(b["words"]), b["colour"], b["tall"]) for b in facts["blocks"]))


def hits(shown: Page, read: Page | None) -> dict[str, float]:
    """Each of ATTRIBUTES in 0..1. `blocks`: there are as many; the others are shares of what is shown: blocks of the
    right kind at their place, and, of those that have one, with the right size, colour and number of words; words that
    stand at their place in their block. `all`: nothing differs."""
    if read is None:
        return dict.fromkeys(ATTRIBUTES, 0.0)
    wanted = shown.blocks
    found = [*read.blocks, *[Block("", ())] * len(wanted)][: len(wanted)]
    pairs = list(zip(wanted, found, strict=True))
    words = [f.words[i : i + 1] == (w,) for b, f in pairs for i, w in enumerate(b.words)]
    return {
        "blocks": float(len(read.blocks) == len(wanted)),
        "kind": _share([b.kind == f.kind for b, f in pairs]),
        "size": _share([b.kind == f.kind and b.tall == f.tall for b, f in pairs if b.kind in SIZED]),
        "colour": _share([b.colour == f.colour for b, f in pairs if b.colour]),
        "items": _share([len(b.words) == len(f.words) for b, f in pairs]),
        "word": _share(words),
        "all words": float(all(words)),
        "all": float(wanted == read.blocks),
    }


def _share(right: list[bool]) -> float:
    return sum(right) / len(right) if right else 1.0
