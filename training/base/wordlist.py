"""Texts that the base policy's tokenizer is trained on: its own programs, its prompts, and the language of feedback."""

from training.data.synthetic_charts import CALLS, chart
from training.data.synthetic_pages import page

FEEDBACK = """\
The picture matches the target. The picture is blank. The title differs. The title is missing. The text \
differs. Remove the title. The values differ. The bars should be red, not blue. The line should be green, not \
orange. The points should be purple, not gray. Draw bars, not a line. Draw a line, not points. Draw horizontal \
bars, not bars. Draw an area, not bars. Use red, not brown. Some pink is missing. Make the axes larger. Make \
the axes smaller. The second bar should be taller, by about a fifth. The third point should be lower, by about \
a half. The first bar is too short. The last value is too high. There should be 4 bars, not 3. One bar is \
missing. The colour differs: it should be darker. The background should be white, not gray. Move everything \
left. Move everything up. Make the text larger. Remove the grid. The legend is missing. The axis label \
differs. error: SyntaxError: '(' was never closed (line 3). ValueError: shape mismatch: objects cannot be \
broadcast to a single shape. x and y must have same first dimension. closing parenthesis does not match. \
unterminated string literal. invalid syntax. Perhaps you forgot a comma? x and y must be the same size. \
Program failed. NameError: name is not defined. AttributeError: module has no attribute. too tall, too wide, \
too low, further right, further left, by about a tenth, a quarter, a third, twice as high, half as high, wrong \
kind of chart, number of bars, number of points, steps, yellow, black, lightgray, dark"""
PROMPTS = ("tool", "direct", "Draw this.", "system", "user", "assistant", " Answer now.", "\n")


PAGE_WORDS = r'[A-Z][a-z]+|[a-z]+(?=")'  # words of pages and values of attributes are words wherever they stand


def page_texts(seed: int) -> list[str]:
    """The same for pages."""
    return [page(1 + i % 5, i, seed, "train").answer for i in range(1500)] + list(PROMPTS) * 60


def texts(seed: int) -> list[str]:
    answers = [chart(CALLS[i % len(CALLS)], "plain", i, seed, "train").answer for i in range(1500)]
    sentences = [part.strip() + "." for part in FEEDBACK.split(".")]
    return answers + sentences * 6 + list(PROMPTS) * 60
