"""What a policy reads off charts: each attribute right or wrong, with the picture, with another one and with none.

Guarantees: every chart counts; a policy that does not look scores in the first column what it scores in the others.
The kill test comes before training on pictures alone: is the right value, the right colour among 8 samples, and is the
best sample's similarity above the mean's? Where it is not, there is nothing for a reward to amplify.
"""

import asyncio

from configs.load import load
from training.base import SHIPPED
from training.base.read import Reader, foreign, grey, kill_test, own, similarities, table
from training.data.synthetic_charts import ATTRIBUTES

SAMPLES = 8


def report(model: str, config: str, name: str, count: int, temperature: float, kill: bool) -> str:
    """The table as text."""
    shown, pictures = own(count) if name == "own" else foreign(name, count)
    reader = Reader(SHIPPED if model == "embedded" else model, load(config).prompts)
    if kill:
        answers = reader.answers(pictures, temperature=1.0, samples=SAMPLES)
        found = kill_test(shown, answers, asyncio.run(similarities(pictures, answers)))
        return "\n".join(f"{label:28s} {value:.3f}" for label, value in found.items())
    answers = reader.answers(pictures, temperature=temperature)
    blank = table(shown, reader.answers([grey(p) for p in pictures], temperature=temperature))
    seen, scores = table(shown, answers), asyncio.run(similarities(pictures, answers))
    ran = sum(row[0] is not None for row in scores) / len(scores)
    similar = sum(row[0] or 0.0 for row in scores) / len(scores)
    lines = [f"{name}, {len(shown)} charts, temperature {temperature:g}", f"{'':12s}  picture  another's  grey"]
    lines.append(f"{'runs':12s}  {ran:7.3f}")
    for attribute in ATTRIBUTES:
        other = seen[f"exchanged {attribute}"]
        lines.append(f"{attribute:12s}  {seen[attribute]:7.3f}  {other:9.3f}  {blank[attribute]:4.3f}")
    return "\n".join([*lines, f"{'similarity':12s}  {similar:7.3f}"])
