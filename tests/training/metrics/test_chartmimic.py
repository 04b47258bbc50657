"""ChartMimic's scores: the same as by hand, whatever the program does, and nothing gained by tampering.

Parity is seen on a fixed sample by default, on all sixty pairs with RRVF_ALL=1.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.render.chart_tracer import ChartTracer, Trace
from tests.training.metrics import by_hand
from tests.training.metrics.pairs import pairs
from training.metrics.chartmimic import PATIENT, Result, Scorer, compare, prepare
from training.metrics.chartmimic.__main__ import main
from training.metrics.colours import color_f1, thinned

EVERY = 1 if os.environ.get("RRVF_ALL") else 5
FULL = """
import matplotlib.pyplot as plt
import numpy as np
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
left.bar(["a", "b"], [1, 2], color="tab:red", label="bars")
left.set_title("Bars")
left.legend()
right.plot([1, 2, 3], [3, 1, 2], color="#00AA00")
right.scatter([1, 2], [2, 1], color="navy")
right.set_xlabel("time")
"""
END = "plt.tight_layout()\nplt.savefig('x.png')\n"


def scored(pairs_: list[tuple[str, str | None]], *, graph: bool = False) -> list[Result]:
    async def run() -> list[Result]:
        scorer = Scorer()
        try:
            return [await scorer.score(golden, generated, graph=graph) for golden, generated in pairs_]
        finally:
            await scorer.close()

    return asyncio.run(run())


def five(result: Result) -> list[float]:
    s = result.code_pass
    return [s.exec, s.text, s.layout, s.type, s.color]


def traced_by_hand(sources: list[str], folder: Path) -> list[dict]:
    lines = "".join(json.dumps({"id": n, "source": source}) + "\n" for n, source in enumerate(sources))
    done = subprocess.run(
        [sys.executable, by_hand.__file__], input=lines, capture_output=True, text=True, check=True, timeout=3000,
        cwd=folder, env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str, dict, dict]]:
    """(name, golden, generated) of the sample with both traces by hand."""
    chosen = pairs(EVERY)
    sources = [source for _, golden, generated in chosen for source in (golden, generated)]
    traces = traced_by_hand(sources, tmp_path_factory.mktemp("by_hand"))
    return [(*pair, traces[2 * n], traces[2 * n + 1]) for n, pair in enumerate(chosen)]


def test_scores_are_those_by_hand(hands: list[tuple[str, str, str, dict, dict]]) -> None:
    ours = scored([(golden, generated) for _, golden, generated, _, _ in hands])
    middle = 0
    for (name, _, _, left, right), result in zip(hands, ours, strict=True):
        expected = by_hand.scores(left, right)
        assert not result.tampered, name
        assert five(result) == pytest.approx(list(expected.values()), abs=1e-9), name
        middle += any(0 < value < 1 for value in expected.values())
    assert middle >= 2  # the pairs are not all alike or all different


def test_every_chart_against_itself_is_right_in_all_that_it_has(hands: list[tuple[str, str, str, dict, dict]]) -> None:
    ours = scored([(golden, golden) for _, golden, _, _, _ in hands])
    for (name, _, _, has, _), result in zip(hands, ours, strict=True):
        # what a chart does not have at all (a text but for tick labels, a counted call) scores 0, as published
        expected = [float(bool(has[column])) for column in ("exec", "text", "layout", "type", "color")]
        assert five(result) == pytest.approx(expected if has["exec"] else [0.0] * 5), name


def test_identical_programs_score_one_and_the_rest_follows_the_protocol() -> None:
    half = FULL + "raise ValueError('half-way')\n" + END
    cases: dict[str, str | None] = {
        "same": FULL + END,
        "half": half,
        "syntax": "x = (",
        "none": None,
        "exits": FULL + "import sys\nsys.exit(0)\n" + END,
        "other name": FULL.replace("plt", "pp") + "pp.savefig('x.png')",
        "more after the end": FULL + END + "plt.figure()\nplt.bar([1], [1])\n",
        "caught": FULL + "try:\n    left.plot([1], [1, 2])\nexcept ValueError:\n    pass\n" + END,
    }
    found = dict(zip(cases, scored([(FULL + END, generated) for generated in cases.values()]), strict=True))
    for name in ("same", "more after the end", "caught"):
        assert five(found[name]) == [1.0] * 5, (name, found[name])
    for name in ("half", "syntax", "none", "exits", "other name"):
        assert five(found[name]) == [0.0] * 5, name
    partial = found["half"].no_filter  # what was drawn until then counts only without the filter
    assert (partial.text, partial.layout, partial.type, partial.color) == (1.0, 1.0, 1.0, 1.0)
    assert "half-way" in found["half"].failure
    assert found["syntax"].no_filter.text == 0.0


def test_a_colour_that_is_set_later_counts() -> None:
    later = FULL.replace('color="tab:red", ', "") + "for bar in left.patches: bar.set_facecolor('tab:red')\n"
    (result,) = scored([(FULL + END, later + END)])
    assert result.code_pass.color == 1.0


def test_a_nested_call_counts_once_and_a_raise_does_not_hide_what_follows() -> None:
    golden = "import matplotlib.pyplot as plt\nplt.hist([1, 2, 2])\nplt.show()"
    both = "import matplotlib.pyplot as plt\nplt.hist([1, 2, 2])\nplt.bar([1], [1])\nplt.show()"
    same, more = scored([(golden, golden), (golden, both)])
    assert same.code_pass.type == 1.0
    assert more.code_pass.type == pytest.approx(2 / 3)  # 1 of 2 precise, 1 of 1 found


def test_many_colours_are_assigned_optimally() -> None:
    golden = [("bar", f"#{20 * i:02X}{255 - 20 * i:02X}{(97 * i) % 256:02X}") for i in range(13)]
    generated = [("bar", f"#{255 - 18 * i:02X}{(61 * i) % 256:02X}{19 * i:02X}") for i in range(12)]
    generated += [("imshow", "viridis")]
    assert color_f1(golden, generated) == pytest.approx(by_hand.colour_f1(golden, generated), abs=1e-9)
    assert color_f1(golden, golden) == pytest.approx(1.0)
    assert color_f1([], golden) == color_f1(golden, []) == 0.0
    assert color_f1([("imshow", "viridis")], [("imshow", "plasma")]) == 0.0


def test_colours_are_those_that_the_evaluators_take(tmp_path: Path) -> None:
    """Of collections whose every element counts all are taken, as they are after drawing; constructors of one file are
    one function; so it is by hand."""
    start = "import matplotlib.pyplot as plt\nfrom matplotlib.patches import Arc, Circle, Ellipse\n"
    space = start + "axes = plt.figure().add_subplot(projection='3d')\n"
    several = [
        start + "plt.quiver([0, 1, 2], [0, 0, 0], [1, 1, 1], [1, 1, 1], [0.0, 0.5, 1.0])\n",
        start + "plt.gca().add_patch(Circle((0.5, 0.5), 0.2, color='red'))\n",
        start + "plt.gca().add_patch(Ellipse((0.5, 0.5), 0.2, 0.2, color='red'))\n",
        start + "plt.gca().add_patch(Arc((0.5, 0.5), 0.2, 0.2))\n",
        space + "axes.scatter([0, 1, 2], [0, 1, 2], [0, 1, 2], c=['red', 'green', 'blue'])\n",
        space + "from mpl_toolkits.mplot3d.art3d import Poly3DCollection\n"
        "axes.add_collection3d(Poly3DCollection([[(0, 0, 0), (1, 0, 0), (0, 1, 0)]] * 2, color=['red', 'blue']))\n",
    ]

    async def traced() -> list[Trace]:
        tracer = ChartTracer(PATIENT)
        try:
            return [await tracer.trace(source) for source in several]
        finally:
            await tracer.close()

    ours = asyncio.run(traced())
    assert [len(trace.colors) for trace in ours] == [3, 1, 1, 0, 3, 2]
    assert ours[1].calls == ours[2].calls == ours[3].calls == ("matplotlib.patches.__init__",)
    assert ours[1].colors == ours[2].colors
    for trace, hand in zip(ours, traced_by_hand(several, tmp_path), strict=True):
        assert sorted(colour for _, colour in trace.colors) == sorted(colour for _, colour in hand["color"])


def test_libraries_that_the_references_use_are_traced() -> None:
    """Networks, tree maps and Venn diagrams: what pip installs as rrvf[benchmarks]."""
    network = "import networkx as nx\ng = nx.path_graph(3)\nplace = {0: (0, 0), 1: (1, 1), 2: (2, 0)}\n"
    draw = "nx.draw_networkx_nodes(g, place, node_color=[0.0, 0.5, 1.0])\nnx.draw_networkx_edges(g, place)\n"
    trees = "import squarify\nsquarify.plot([3, 2, 1], color=['red', 'green', 'blue'])\n"
    venn = "from matplotlib_venn import venn2\nvenn2((3, 2, 1))\n"
    start = "import matplotlib.pyplot as plt\n"

    async def traced() -> list[Trace]:
        tracer = ChartTracer(PATIENT)
        try:
            return [await tracer.trace(start + source) for source in (network + draw, trees, venn)]
        finally:
            await tracer.close()

    graph, tree, circles = asyncio.run(traced())
    assert all(trace.ran and not trace.tampered for trace in (graph, tree, circles))
    assert graph.calls == (
        "networkx.drawing.nx_pylab.draw_networkx_nodes",
        "networkx.drawing.nx_pylab.draw_networkx_edges",
    )
    assert len([c for where, c in graph.colors if where.endswith("nodes")]) == 3  # as they are after drawing
    assert tree.calls == ("squarify.plot",) and len(tree.colors) == 3
    assert "matplotlib_venn._common.__init__" in circles.calls
    assert len([c for where, c in circles.colors if where.startswith("matplotlib_venn")]) == 3


def test_the_layout_of_a_graph_is_how_many_axes_it_has() -> None:
    free = "import matplotlib.pyplot as plt\nplt.figure().add_axes([0, 0, 1, 1])\nplt.plot([1, 2])\n"
    golden, inset = Trace(True, layout=((1, 1, 0, 0, 0, 0),), axes=1), Trace(True, axes=2)
    assert compare(golden, inset).code_pass.layout == 0.0
    assert compare(golden, inset, graph=True).code_pass.layout == pytest.approx(2 / 3)
    (result,) = scored([(free, free)], graph=True)
    assert result.code_pass.layout == 1.0


def test_a_reference_that_does_not_run_here_is_named() -> None:
    (result,) = scored([("import no_such_library\n", FULL + END)])
    assert "no_such_library" in result.reference
    (result,) = scored([(FULL + END, FULL + END)])
    assert result.reference == ""


def test_names_and_numbers_of_colours_are_the_programs_to_choose() -> None:
    """Neither a colour map whose name looks like a colour nor tens of thousands of colours stop the scorer."""
    assert color_f1([("imshow", "#zz")], [("imshow", "#zz")]) == 1.0
    assert color_f1([("imshow", "viridis")], [("imshow", "#12345G")]) == 0.0
    maps = [("imshow", f"map {n}") for n in range(20_000)]
    assert len(thinned([*maps, ("pcolor", "map 7")])) == 20_000
    many = [("hlines", f"#{n * 797:06X}") for n in range(20_000)]
    kept = thinned(many)
    assert len(kept) < 100 and color_f1(many, many) == pytest.approx(1.0)
    few = [many[n] for n in range(0, 20_000, 97)]
    assert thinned(few) == by_hand.few(few)


def test_programs_are_cut_where_the_benchmark_cuts() -> None:
    assert prepare("a\nplt.show()\nb") == "a\n"
    assert prepare("a\nplt.savefig('x')\nplt.show()") == "a\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", ":1: not JSON"),
        ("[]", ':1: a row is {"golden": PATH, "generated": PATH}'),
        ('{"golden": "absent.py", "generated": "absent.py"}', ":1: no such program: absent.py"),
        ("", ": no pairs in it"),
    ],
)
def test_a_bad_row_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    (tmp_path / "pairs.jsonl").write_text(text)
    assert main(["--pairs", str(tmp_path / "pairs.jsonl")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"error: {tmp_path / 'pairs.jsonl'}{fault}\n"


def test_the_command_prints_a_line_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, source in (("a.py", FULL + END), ("b.py", FULL.replace("tab:red", "tab:pink") + END), ("c.py", "1/0")):
        (tmp_path / name).write_text(source)
    rows = [{"golden": "a.py", "generated": name} for name in ("a.py", "b.py", "c.py")]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "pairs.jsonl").write_text(lines, encoding="utf-8-sig")  # as some editors write it
    assert main(["--pairs", str(tmp_path / "pairs.jsonl")]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row) for row in found] == [["exec", "text", "layout", "type", "color"]] * 3
    assert list(found[0].values()) == [1.0] * 5 and list(found[2].values()) == [0.0] * 5
    assert 0.7 < found[1]["color"] < 1.0 == found[1]["type"]
