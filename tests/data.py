"""Real charts, pages and programs that nobody here wrote, from `../shared/data` beside the checkout.

Guarantees: where they are not, the test or benchmark that needs them is skipped and says so; nothing is put in their
place.
"""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def real(name: str) -> Path:
    """A folder or file of the data. Raises pytest.skip.Exception where it is not there."""
    if not (DATA / name).exists():
        pytest.skip(f"needs real data that is not here: {DATA.parent.name}/{DATA.name}/{name} beside the checkout")
    return DATA / name
