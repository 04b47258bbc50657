"""Which part of a model's text a benchmark runs: as everywhere here, or as the benchmark's own script reads it.

Guarantees: the original readings are those of ChartMimic's `code_checker.py`, Plot2Code's `utils.py` and Design2Code's
`gpt4v_utils.py`: they refuse what people's models often write (` ```py `), which is why they are not the default.
"""

import re

from actors import answers
from actors.contracts import Domain

BLOCK = re.compile(r"```python(.*?)```", re.DOTALL)


def program(benchmark: str, domain: Domain, text: str, *, official: bool = False) -> str | None:
    """The program or page in a model's text, None where there is none."""
    if official and benchmark in OFFICIAL:
        return OFFICIAL[benchmark](text)
    if benchmark == "plot2code" and len(several := answers.programs(text, domain)) > 1:
        return "\n".join(several)  # all of them are one program there
    return answers.program(text, domain)


def chartmimic(text: str) -> str | None:
    """The first block that is fenced as python."""
    found = BLOCK.search(text)
    return (found[1] if found else "") or None


def plot2code(text: str) -> str | None:
    """All blocks that are fenced as python, or the whole text where there is none."""
    return "\n".join(block.strip() for block in BLOCK.findall(text)) or text or None


def design2code(text: str) -> str | None:
    """The text without a fence at its very ends, from its doctype to the first end of a document."""
    text = text.strip()
    text = text.removeprefix("```").strip()
    text = text.removesuffix("```").strip()
    text = text.removeprefix("html").strip()
    if "<!DOCTYPE" in text:
        text = "<!DOCTYPE" + text.split("<!DOCTYPE", 1)[1]
    if "</html>" in text:
        text = text.split("</html>")[0] + "</html>"
    return text or None


OFFICIAL = {"chartmimic": chartmimic, "plot2code": plot2code, "design2code": design2code}
