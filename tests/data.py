"""Real charts, pages and programs that nobody here wrote, from `../shared/data` beside the checkout.

Guarantees: where they are not, the test or benchmark that needs them fails and says how to leave it out, which is
RRVF_WITHOUT_DATA=1; nothing is put in their place.
"""

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def real(name: str) -> Path:
    """A folder or file of the data. Raises FileNotFoundError where it is not there, pytest.skip.Exception where the
    environment says that this is meant."""
    if not (DATA / name).exists():
        missing = f"needs real data that is not here: {DATA.parent.name}/{DATA.name}/{name} beside the checkout"
        if os.environ.get("RRVF_WITHOUT_DATA") != "1":
            raise FileNotFoundError(f"{missing}; RRVF_WITHOUT_DATA=1 leaves out what needs it")
        pytest.skip(missing)
    return DATA / name
