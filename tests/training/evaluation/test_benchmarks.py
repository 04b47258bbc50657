"""Benchmarks as they are published: every layout is read; what is missing is one line that tells the layout."""

import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from configs.load import ConfigError
from training.evaluation.benchmarks import LAYOUTS, LOADERS, load
from training.jobs.evaluate import file_name


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(out, "PNG")
    return out.getvalue()


def chartmimic(root: Path) -> Path:
    root = root / "direct_600"
    root.mkdir(parents=True)
    for number in (10, 2, 1):
        (root / f"bar_{number}.py").write_text(f"# {number}")
        (root / f"bar_{number}.png").write_bytes(png())
    (root / "bar_2.png").unlink()
    return root


def test_chartmimic_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    found = load("chartmimic", chartmimic(tmp_path))
    assert [(c.name, c.reference) for c in found.cases] == [("bar_1", "# 1"), ("bar_2", "# 2"), ("bar_10", "# 10")]
    assert [c.image is None for c in found.cases] == [False, True, False]
    assert found.domain == "chart"
    assert len(load("chartmimic", tmp_path / "direct_600", 2).cases) == 2
    with pytest.raises(ConfigError, match="name one of its subsets: direct_600"):
        load("chartmimic", tmp_path)


def test_chartmimic_table_takes_the_direct_task(tmp_path: Path) -> None:
    chartmimic(tmp_path / "images" / "ChartMimic" / "v2")
    lines = ["index\ttask\tinput_figure\tground_truth_figure_code\tquestion"]
    for number, task in ((1, "Direct"), (10, "Customized")):
        lines.append(f"{number}\t{task}\tdirect_600/bar_{number}.png\tdirect_600/bar_{number}.py\tDraw")
    (tmp_path / "ChartMimic.tsv").write_text("\n".join(lines))
    (case,) = load("chartmimic", tmp_path / "ChartMimic.tsv").cases
    assert case.reference == "# 1" and isinstance(case.image, Path) and case.image.name == "bar_1.png"
    (tmp_path / "ChartMimic.tsv").write_text("\n".join([*lines, "7\tDirect\tx.png\tdirect_600/bar_7.py\tDraw"]))
    with pytest.raises(ConfigError, match=r"row 3: direct_600/bar_7\.py: not there; chartmimic: DIR holds pairs"):
        load("chartmimic", tmp_path)
    (tmp_path / "ChartMimic.tsv").write_text("index\tquestion\n1\tx")
    with pytest.raises(ConfigError, match="no column ground_truth_figure_code"):
        load("chartmimic", tmp_path)


@pytest.mark.parametrize("inner", ["", "data/python_matplotlib/test"])
def test_plot2code_rows_and_images_of_one_number(tmp_path: Path, inner: str) -> None:
    root = tmp_path / inner
    root.mkdir(parents=True, exist_ok=True)
    rows = [{"code": "# 0", "instruction": "a"}, {"code": "# 1", "file_name": "named.png"}]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "ground_truth_image_0.png").write_bytes(png())
    with pytest.raises(ConfigError, match=r"named\.png: not there; plot2code: DIR"):
        load("plot2code", tmp_path)
    (root / "named.png").write_bytes(png())
    assert [(c.name, c.reference) for c in load("plot2code", tmp_path).cases] == [
        ("ground_truth_image_0", "# 0"), ("named", "# 1"),
    ]  # fmt: skip


def test_websight_draws_the_same_rows_every_time(tmp_path: Path) -> None:
    for part in range(2):
        images = [{"bytes": png(), "path": f"{i}.png"} for i in range(400)]
        table = pyarrow.table({"image": images, "text": [f"<p>{part} {i}</p>" for i in range(400)]})
        (tmp_path / "data").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"train-0000{part}-of-00002.parquet")
    found = load("websight", tmp_path)
    assert len(found.cases) == 500 and found.domain == "web"
    assert len({c.name for c in found.cases}) == 500
    name, row = found.cases[300].name.rsplit("-", 1)
    assert found.cases[300].reference == f"<p>{int(name[6:11])} {row}</p>" and found.cases[300].image == png()
    assert load("websight", tmp_path, 3).cases == found.cases[:3]


def test_design2code_pages_with_their_placeholder(tmp_path: Path) -> None:
    (tmp_path / "2.html").write_text("<img src=rick.jpg>")
    (tmp_path / "2.png").write_bytes(png())
    (tmp_path / "rick.jpg").write_bytes(b"jpeg")
    found = load("design2code", tmp_path)
    assert [c.name for c in found.cases] == ["2"] and found.files == {"rick.jpg": b"jpeg"}


def test_cold_start_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "train.jsonl").write_text('{"image": "a.png", "code": "x"}\n')
    (case,) = load("coldstart", tmp_path).cases
    assert case.image == tmp_path / "a.png" and case.reference == "x"
    (tmp_path / "train.jsonl").write_text('{"image": "b.png", "code": "x"}\n')
    with pytest.raises(ConfigError, match=r"b\.png: not there"):
        load("coldstart", tmp_path)
    (tmp_path / "train.jsonl").write_text('{"image": "a.png"}\n')
    with pytest.raises(ConfigError, match=r"train\.jsonl:1: no `image` and `code`"):
        load("coldstart", tmp_path)


def test_a_plain_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.png").write_bytes(png())
    (case,) = load("folder", tmp_path).cases
    assert case.name == "deep_a" and case.reference is None


def test_every_case_has_a_name_of_its_own(tmp_path: Path) -> None:
    """It is graded, kept and counted by its name."""
    (tmp_path / "deep").mkdir()
    for file in ("deep/a.png", "deep/a.jpg", "deep_a.png"):
        (tmp_path / file).write_bytes(png())
    cases = load("folder", tmp_path).cases
    assert [case.name for case in cases] == ["deep_a", "deep_a-2", "deep_a-3"]
    assert len({case.image for case in cases}) == 3
    assert len({file_name(name) for name in ("bar_0", "a b", "a?b", "図1", "表1", "x" * 300, "x" * 301)}) == 7
    assert file_name("bar_0") == "bar_0" and len(file_name("図" * 300)) < 120


@pytest.mark.parametrize("name", LOADERS)
def test_what_is_missing_is_one_line_with_the_layout(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load(name, path)
        assert LAYOUTS[name] in str(caught.value) and "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_an_unknown_benchmark_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no benchmark 'x'; there are chartmimic, plot2code"):
        load("x", tmp_path)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match="not to be read as websight") as caught:
        load("websight", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_layout_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png())
    (tmp_path / "a.py").write_text("import os")
    rows = [{"image": "a.png", "reference": "a.py", "id": "one"}, {"image": "b.png", "reference": "x = 1\n"}]
    (tmp_path / "index.jsonl").write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = load("pairs", tmp_path)
    assert [(c.name, c.reference) for c in found.cases] == [("one", "import os"), ("b", "x = 1\n")]
    assert found.domain == "chart"
    (tmp_path / "index.jsonl").unlink()
    assert [(c.name, c.reference) for c in load("pairs", tmp_path).cases] == [("a", "import os")]
    (tmp_path / "index.jsonl").write_text('{"image": "c.png"}')
    with pytest.raises(ConfigError, match=r"c\.png: not there; pairs: DIR holds index\.jsonl"):
        load("pairs", tmp_path)
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "0.html").write_text("<html></html>")
    assert load("pairs", pages).domain == "web"


def test_what_would_be_scored_as_another_task_is_refused(tmp_path: Path) -> None:
    custom = tmp_path / "customized_600"
    custom.mkdir()
    (custom / "bar_1.py").write_text("x")
    with pytest.raises(ConfigError, match="customized mimic asks for another chart"):
        load("chartmimic", custom)
    for version in ("data", "v0.2"):
        (tmp_path / "WebSight" / version).mkdir(parents=True)
        (tmp_path / "WebSight" / version / "train.parquet").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"several versions of WebSight; name one of .*data, .*v0\.2"):
        load("websight", tmp_path / "WebSight")


def test_an_array_in_the_place_of_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text('[{"image": "a.png"}]')
    with pytest.raises(ConfigError, match=r"an array, not an object a line \(JSONL\)"):
        load("pairs", tmp_path)
