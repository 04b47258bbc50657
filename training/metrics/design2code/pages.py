"""Pages as Design2Code's evaluator prepares them (arXiv 2403.03163): cleaned, and painted by element.

Guarantees: the tree is that of BeautifulSoup's `html.parser`, as there, and every choice follows the original: what is
cut from a prediction that repeats itself, which elements get a colour, and in whose colour a text stands. Where the
original stops with an error (a style without a colon, more elements than colours), the element goes without.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator

from bs4 import BeautifulSoup, Comment, NavigableString, Tag
from PIL import ImageColor

TAGS = """p h1 h2 h3 h4 h5 h6 div span a b li table td th button footer header figcaption""".split()  # noqa: SIM905
LEVELS = range(10, 251, 16)
PALETTE = [(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS][::-1]
SHIFT = 50  # between the two paints
CHUNK, CHUNKS, ALIKE = 100, 5, 0.8  # characters; as many chunks that are alike begin a repetition
COPIES = 50  # of one element

Colour = tuple[int, int, int]


def cleaned(page: str) -> str:
    """A prediction without its repetitions, within a document."""
    page = without_repetition(page)
    if not re.search(r"<html[^>]*>", page, re.IGNORECASE):
        page = f"<html><body><p>{page}</p></body></html>"
    soup = BeautifulSoup(page, "html.parser")
    seen: Counter[str] = Counter()
    for element in soup.find_all(True):
        if element.decomposed:
            continue
        text = str(element)
        seen[text] += 1
        if seen[text] > COPIES:
            element.decompose()
    return str(soup)


def without_repetition(page: str) -> str:
    """The page up to the first of five chunks of its text that are alike."""
    shown = [i for start, end in _between_tags(page) for i in range(start, end)]
    text = "".join(page[i] for i in shown)
    groups: list[tuple[str, list[int]]] = []
    end = len(text)  # compared with places in the page, as in the original
    for number, start in enumerate(range(0, len(text), CHUNK)):
        chunk = text[start : start + CHUNK]
        for first, numbers in groups:
            if difflib.SequenceMatcher(None, chunk, first).ratio() >= ALIKE:
                numbers.append(number)
                if len(numbers) >= CHUNKS:
                    begin = min(end, numbers[0] * CHUNK)
                    end = min(end, shown[begin] if begin < len(shown) else len(page))
                break
        else:
            groups.append((chunk, [number]))
    return page[:end] if end != len(text) else page


def _between_tags(page: str) -> Iterator[tuple[int, int]]:
    place = 0
    for tag in re.finditer("<.*?>", page):
        yield place, tag.start()
        place = tag.end()
    yield place, len(page)


def without_noscript(page: str) -> str:
    """The page as a browser with scripts shows it: ours has none, and would draw what is for such."""
    return f"{page}<style>noscript{{display:none!important}}</style>" if "<noscript" in page.lower() else page


def painted(page: str, shift: int) -> str:
    """The page without backgrounds, each of TAGS in a colour of its own plus `shift`."""
    soup = BeautifulSoup(page, "html.parser")
    for element in soup.find_all(True):
        _set(element, "background-color", "rgba(255, 255, 255, 0.0)")
    for element, colour in zip(soup.find_all(TAGS), PALETTE, strict=False):
        _set(element, "color", "#{:02X}{:02X}{:02X}".format(*((c + shift) % 256 for c in colour)))
        _set(element, "opacity", "1.0")
    return str(soup)


def _set(element: Tag, name: str, value: str) -> None:
    old = [s for s in str(element.attrs.get("style", "")).split(";") if s.strip() and not s.strip().startswith(name)]
    element["style"] = "; ".join([*old, f"{name}: {value} !important"]).strip()


def texts(page: str) -> list[tuple[str, Colour]]:
    """The texts in the body of a painted page, each with the colour of the nearest element that has one."""
    body = BeautifulSoup(page, "html.parser").body
    found: list[tuple[str, Colour]] = []
    waiting: list[tuple[object, Colour | None]] = [(body, (0, 0, 0))] if body else []
    while waiting:
        node, colour = waiting.pop()
        if isinstance(node, Tag):
            own, known = _colour(node)
            waiting.extend((child, own if known else colour) for child in reversed(node.contents))
        elif isinstance(node, NavigableString) and not isinstance(node, Comment) and node.strip() and colour:
            found.append((node.strip(), colour))
    return found


def _colour(element: Tag) -> tuple[Colour | None, bool]:
    """What its style says last, and whether it says anything; a hexadecimal colour that is none hides the text."""
    styles = [s for s in str(element.attrs.get("style", "")).split(";") if "color" in s and "background-color" not in s]
    value = styles[-1].partition(":")[2].split(":")[0].strip().replace(" !important", "") if styles else ""
    try:
        if value.startswith("#"):
            digits = value[1:]
            return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)), True
        if value.startswith("rgb"):
            r, g, b = map(int, value[4:-1].split(","))
            return (r, g, b), True
        return ImageColor.getrgb(value)[:3], bool(value)
    except ValueError:
        return None, value.startswith("#")
