"""The benchmarks as they are published: a folder, a table or parquet files in, cases to answer out.

Guarantees: a case is a picture (or what it is rendered from) and its reference, in the order of the published files;
what is missing is one clear line that names it and says how the data set is laid out; nothing is downloaded. Sets
without a test split (WebSight) are drawn from with a fixed seed.
"""

import csv
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.contracts import Domain
from actors.images import SUFFIXES
from configs.domains import DEFAULT, find, shipped
from configs.load import ConfigError

OTHER_LIBRARY = re.compile(r"^\s*(?:import|from)\s+plotly\b|^\s*library\(", re.M)  # of Plot2Code's later subsets
OF_ANY_DOMAIN = ("folder", "pairs")  # of data.domain, where that is set; else pages where references are markup
WEBSIGHT_CASES, WEBSIGHT_SEED = 500, 0  # as many as RRVF evaluates on; it does not say which
LAYOUTS = {
    "chartmimic": "DIR holds pairs NAME.py and NAME.png (direct_600 or direct_1800 of dataset-iclr.tar.gz; where a "
    "picture is missing the program is rendered), or is the benchmark's TSV with the columns "
    "ground_truth_figure_code and input_figure, paths beside it",
    "plot2code": "DIR (data/python_matplotlib/test) holds metadata.jsonl with `code` in row i and "
    "ground_truth_image_<i>.png",
    "websight": "DIR holds parquet files (data/train-*.parquet of v0.1) with the columns image and text",
    "design2code": "DIR (testset_final) holds pairs ID.html and ID.png, and rick.jpg",
    "coldstart": 'DIR is a JSONL file, or holds one, of {"image": PATH, "code": TEXT}; paths are relative to it',
    "folder": "DIR holds pictures (sub-folders are searched): " + ", ".join(SUFFIXES),
    "pairs": "DIR holds index.jsonl with rows of image, reference (a program or page, or its file) and id, or pairs "
    "ID.png and ID.py, ID.html or ID.svg; this is how a benchmark of one's own is laid out",
}


@dataclass(frozen=True)
class Case:
    """One picture to answer. `image`: a file or its bytes, None where it is `reference` rendered; `reference`: program
    or page, None where there is none."""

    name: str
    image: Path | bytes | None
    reference: str | None = None


@dataclass(frozen=True)
class Benchmark:
    name: str
    domain: Domain
    cases: tuple[Case, ...]
    files: dict[str, bytes]  # what pages of the set refer to, by name


def load(name: str, path: Path, limit: int | None = None, domain: Domain = DEFAULT) -> Benchmark:
    """The first `limit` cases of a benchmark, each with a name of its own; `domain`: of those named in OF_ANY_DOMAIN.
    Raises ConfigError."""
    if name not in LOADERS:
        raise ConfigError(f"no benchmark {name!r}; there are {', '.join(LOADERS)}")
    if not path.exists():
        raise ConfigError(f"{path}: not there; {name}: {LAYOUTS[name]}")
    cases: list[Case] = []
    names: set[str] = set()
    for case in _readable(name, path):
        if limit is not None and len(cases) >= limit:
            break
        fresh = (case.name if n == 1 else f"{case.name}-{n}" for n in itertools.count(1))
        case = replace(case, name=next(n for n in fresh if n not in names))
        names.add(case.name)
        cases.append(case)
    if not cases:
        raise ConfigError(f"{path}: no case in it; {name}: {LAYOUTS[name]}")
    pages = name == "pairs" and any((case.reference or "").lstrip().startswith("<") for case in cases)
    if name not in OF_ANY_DOMAIN or domain == DEFAULT:
        domain = "web" if pages or name in ("websight", "design2code") else "chart"
    rick = path / "rick.jpg"
    files = {rick.name: rick.read_bytes()} if name == "design2code" and rick.is_file() else {}
    return Benchmark(name, domain, tuple(cases), files)


def _readable(name: str, path: Path) -> Iterator[Case]:
    """The cases; what cannot be read as the benchmark's files (another encoding, no parquet) is a ConfigError."""
    try:
        yield from LOADERS[name](path)
    except ConfigError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ConfigError(f"{path}: not to be read as {name} ({reason})") from None


def _missing(benchmark: str, what: Path | str) -> ConfigError:
    return ConfigError(f"{what}: not there; {benchmark}: {LAYOUTS[benchmark]}")


def chartmimic(path: Path) -> Iterator[Case]:
    """Pairs of a folder, or the rows of a TSV whose task is the direct one."""
    if "customized" in path.resolve().name or (path.is_dir() and next(path.glob("*_edit*.py"), None)):
        raise ConfigError(
            f"{path}: customized mimic asks for another chart with given data, which nothing here asks; "
            "name a subset of the direct task (direct_600, direct_1800)"
        )
    if path.is_dir() and not any(path.glob("*.py")):
        if tables := sorted(path.glob("*.tsv")):
            path = tables[0]
        elif subsets := sorted(p.name for p in path.iterdir() if p.is_dir() and any(p.glob("*.py"))):
            raise ConfigError(f"{path}: name one of its subsets: {', '.join(subsets)}")
    if path.is_file():
        yield from _table(path)
        return
    for program in sorted(path.glob("*.py"), key=lambda p: _natural(p.stem)):
        picture = program.with_suffix(".png")
        yield Case(program.stem, picture if picture.is_file() else None, _text(program))


def _table(path: Path) -> Iterator[Case]:
    roots = [path.parent, *(path.parent / "images" / "ChartMimic" / v for v in ("v1", "v2")), path.parent / "images"]
    csv.field_size_limit(2**27)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        for column in ("ground_truth_figure_code", "input_figure"):
            if column not in (rows.fieldnames or ()):
                raise ConfigError(f"{path}: no column {column}; chartmimic: {LAYOUTS['chartmimic']}")
        for number, row in enumerate(rows):
            if "custom" in (row.get("task") or "").lower():
                continue
            found = []
            for column in ("ground_truth_figure_code", "input_figure"):
                name = str(row[column] or "").strip("[]'\" ")
                file_path = next((root / name for root in roots if (root / name).is_file()), None)
                if file_path is None and column != "input_figure":
                    raise _missing("chartmimic", f"{path}: row {number + 1}: {name}")
                found.append(file_path)
            program, picture = found
            assert program is not None
            yield Case(row.get("index") or program.stem, picture, _text(program))


def plot2code(path: Path) -> Iterator[Case]:
    """Row i of metadata.jsonl and image i."""
    for inner in ("", "test", "python_matplotlib/test", "data/python_matplotlib/test"):
        if (path / inner / "metadata.jsonl").is_file():
            path = path / inner
            break
    else:
        raise _missing("plot2code", path / "metadata.jsonl")
    for number, row in enumerate(_rows(path / "metadata.jsonl")):
        code = row.get("code") or row.get("ground_truth_code")
        if not isinstance(code, str):
            raise ConfigError(f"{path / 'metadata.jsonl'}:{number + 1}: no `code`; plot2code: {LAYOUTS['plot2code']}")
        if OTHER_LIBRARY.search(code):
            raise ConfigError(
                f"{path}: its programs draw with Plotly or in R, which nothing here runs; name the Matplotlib subset "
                "(data/python_matplotlib/test), the one that published tables are about"
            )
        picture = path / str(row.get("file_name") or f"ground_truth_image_{number}.png")
        if not picture.is_file():
            raise _missing("plot2code", picture)
        yield Case(picture.stem, picture, code)


def websight(path: Path) -> Iterator[Case]:
    """WEBSIGHT_CASES rows of all parquet files, drawn with WEBSIGHT_SEED, in their order."""
    import pyarrow.parquet as parquet

    versions = [
        path / name for name in ("data", "v0.1", "v0.2") if path.is_dir() and any((path / name).glob("*.parquet"))
    ]
    if len(versions) > 1:
        raise ConfigError(
            f"{path}: holds several versions of WebSight; name one of {', '.join(str(v) for v in versions)} "
            "(data is v0.1: plain HTML, which renders offline)"
        )
    files = [path] if path.is_file() else sorted((versions[0] if versions else path).rglob("*.parquet"))
    if not files:
        raise _missing("websight", path / "*.parquet")
    counts = [parquet.ParquetFile(file).metadata.num_rows for file in files]
    wanted = sorted(random.Random(WEBSIGHT_SEED).sample(range(sum(counts)), min(WEBSIGHT_CASES, sum(counts))))
    start = 0
    for file, count in zip(files, counts, strict=True):
        here = {number - start for number in wanted if start <= number < start + count}
        start += count
        if not here:
            continue
        table = parquet.ParquetFile(file)
        if lacking := {"image", "text"} - set(table.schema_arrow.names):
            raise ConfigError(f"{file}: no column {', '.join(sorted(lacking))}; websight: {LAYOUTS['websight']}")
        row = 0
        for batch in table.iter_batches(batch_size=256, columns=["image", "text"]):
            picked = [i for i in range(batch.num_rows) if row + i in here]
            for i in picked:
                image, text = batch.column(0)[i].as_py(), batch.column(1)[i].as_py()
                data = image.get("bytes") if isinstance(image, dict) else image
                if not isinstance(data, bytes) or not isinstance(text, str):
                    raise ConfigError(f"{file}: row {row + i} has no picture or no page; {LAYOUTS['websight']}")
                yield Case(f"{file.stem}-{row + i}", data, text)
            row += batch.num_rows


def design2code(path: Path) -> Iterator[Case]:
    """Pairs of page and screenshot. Where the screenshot is missing the page is rendered."""
    for page in sorted(path.glob("*.html"), key=lambda p: _natural(p.stem)):
        picture = page.with_suffix(".png")
        yield Case(page.stem, picture if picture.is_file() else None, _text(page))


def coldstart(path: Path) -> Iterator[Case]:
    """Image-code pairs of a JSONL file."""
    if path.is_dir():
        tables = sorted(path.glob("*.jsonl"))
        if not tables:
            raise _missing("coldstart", path / "*.jsonl")
        path = tables[0]
    for number, row in enumerate(_rows(path), 1):
        image, code = row.get("image"), row.get("code")
        if not isinstance(image, str) or not isinstance(code, str):
            raise ConfigError(f"{path}:{number}: no `image` and `code`; coldstart: {LAYOUTS['coldstart']}")
        if not (path.parent / image).is_file():
            raise _missing("coldstart", path.parent / image)
        yield Case(f"{number}-{Path(image).stem}", path.parent / image, code)


def pairs(path: Path) -> Iterator[Case]:
    """The documented layout for a benchmark of one's own: image, reference, id."""
    index = path if path.is_file() else path / "index.jsonl"
    if not index.is_file():
        endings = {ending for domain in shipped() for ending in find(domain).endings}
        sources = (p for p in path.iterdir() if p.suffix in endings)
        for program in sorted(sources, key=lambda p: _natural(p.stem)):
            picture = next((p for s in SUFFIXES if (p := program.with_suffix(s)).is_file()), None)
            yield Case(program.stem, picture, _text(program))
        return
    for number, row in enumerate(_rows(index), 1):
        image, reference = row.get("image"), row.get("reference", row.get("code"))
        if not isinstance(image, str) and not isinstance(reference, str):
            raise ConfigError(f"{index}:{number}: neither image nor reference; pairs: {LAYOUTS['pairs']}")
        file = index.parent / image if isinstance(image, str) else None
        if file is not None and not file.is_file():
            raise _missing("pairs", file)
        if isinstance(reference, str) and len(reference) < 256 and (index.parent / reference).is_file():
            reference = _text(index.parent / reference)
        name = str(row.get("id") or (file.stem if file else number))
        yield Case(name, file, reference if isinstance(reference, str) else None)


def folder(path: Path) -> Iterator[Case]:
    """Pictures alone: programs that run, and the judge's similarity."""
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield Case(str(file.relative_to(path).with_suffix("")).replace("/", "_"), file)


LOADERS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "chartmimic": chartmimic, "plot2code": plot2code, "design2code": design2code, "websight": websight,
    "coldstart": coldstart, "folder": folder, "pairs": pairs,
}  # fmt: skip


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line.lstrip().startswith("["):
                raise ConfigError(f"{path}: an array, not an object a line (JSONL)")
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    raise ConfigError(f"{path}:{number}: not JSON") from None
                if not isinstance(row, dict):
                    raise ConfigError(f"{path}:{number}: not an object")
                yield row


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _natural(name: str) -> list[tuple[int, str]]:
    """bar_2 before bar_10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.replace("_", " _ ").split()]
