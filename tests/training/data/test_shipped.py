"""The shipped pictures: sets that share nothing with each other or with what the base policy was taught."""

import json
from pathlib import Path

from PIL import Image

from training.data.foreign_charts import SETS, facts, unpack
from training.data.synthetic_charts import SIZE, Chart, is_held_out


def test_the_file_holds_every_set_as_it_is_described(tmp_path: Path) -> None:
    folder = unpack(tmp_path)
    assert unpack(tmp_path) == folder
    programs: dict[str, list[str]] = {}
    for name, (count, split) in SETS.items():
        rows = [json.loads(line) for line in (folder / name / "manifest.jsonl").read_text().splitlines()]
        assert len(rows) == count
        for index, row in enumerate(rows):
            shown = Chart(row["kind"], row["title"], row["colour"], tuple(row["values"]))
            assert shown == facts(name, index), "the file is older than the script that draws it"
            assert is_held_out(shown) == (split == "heldout")
            programs.setdefault(split, []).append(shown.program)
        assert Image.open(folder / name / rows[-1]["file"]).size == SIZE
    assert not set(programs["train"]) & set(programs["heldout"])
