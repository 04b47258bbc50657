"""Code names no model family outside its adapters, and an adapter is short."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
FAMILY = re.compile(r"qwen|internvl|glm4|smolvlm|mistral3|pixtral|gemma|idefics|llava", re.I)
# who may name a family, and why
MAY = {
    "actors/families/": "the adapters",
    "actors/images.py": "a comment on a limit of an image processor",
    "configs/environment.py": "an import that tells whether transformers and torchvision fit each other",
    "configs/models.py": "sizes of published models, for plans without them",
    "configs/schema": "a default model, and where a default size comes from",
    "training/base/": "the shipped policy, of one architecture",
    "training/data/tiny_policy.py": "the shipped policy, of one architecture",
    "training/evaluation/published.py": "published results",
    "training/learner/packing.py": "a reference to the paper of a position scheme",
}


def test_no_code_elsewhere_names_a_family() -> None:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in tracked.split()
        if not path.startswith("tests/") and not any(path.startswith(allowed) for allowed in MAY)
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if FAMILY.search(line)
    ]
    assert found == []


def test_adapters_are_short() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "actors/families").glob("*.py")}
    assert max(lines.values()) <= 150, lines
