"""What a policy reads off pictures: each attribute right or wrong, with the picture, with another one and with none.

Guarantees: every picture counts; a policy that does not look scores in the first column what it scores in the others.
The kill test comes before training on pictures alone: is what is right among 8 samples, and is the best sample's
similarity above the mean's? Where it is not, there is nothing for a reward to amplify.
"""

import asyncio

from configs.load import load
from training.base import shipped
from training.base.read import Reader, foreign, grey, kill_test, own, similarities, table
from training.data.labels import CHARTS, labels_of

SAMPLES = 8


def report(model: str, file: str, name: str, count: int, temperature: float, kill: bool) -> str:
    """The table as text."""
    config = load(file)
    labels = labels_of(config.data.domain) or CHARTS
    shown, pictures = own(config, count) if name == "own" else foreign(config, name, count)
    reader = Reader(shipped(config.data.domain) if model == "embedded" else model, config.prompts, labels)
    if kill:
        answers = reader.answers(pictures, temperature=1.0, samples=SAMPLES)
        found = kill_test(shown, answers, asyncio.run(similarities(pictures, answers, config)), labels)
        return "\n".join(f"{label:28s} {value:.3f}" for label, value in found.items())
    answers = reader.answers(pictures, temperature=temperature)
    blank = table(shown, reader.answers([grey(p) for p in pictures], temperature=temperature), labels)
    seen, scores = table(shown, answers, labels), asyncio.run(similarities(pictures, answers, config))
    ran = sum(row[0] is not None for row in scores) / len(scores)
    similar = sum(row[0] or 0.0 for row in scores) / len(scores)
    lines = [f"{name}, {len(shown)} pictures, temperature {temperature:g}", f"{'':12s}  picture  another's  grey"]
    lines.append(f"{'runs':12s}  {ran:7.3f}")
    for attribute in labels.names:
        other = seen[f"exchanged {attribute}"]
        lines.append(f"{attribute:12s}  {seen[attribute]:7.3f}  {other:9.3f}  {blank[attribute]:4.3f}")
    return "\n".join([*lines, f"{'similarity':12s}  {similar:7.3f}"])
