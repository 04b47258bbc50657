"""Evaluated programs that tamper with their trace: none scores more than the same program that does not."""

import pytest

from tests.training.metrics.test_chartmimic import END, FULL, five, scored

# draws one of the two bars' worth of what the golden program draws: something is left to gain
POOR = """
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.bar(["a", "b"], [1, 2], color="tab:blue")
ax.plot([1, 2], [1, 2])
ax.set_title("Bars")
"""
CALLS = "['matplotlib.axes._axes.bar', 'matplotlib.axes._axes.plot', 'matplotlib.axes._axes.scatter']"
FORGED = (
    "{'calls': " + CALLS + ", 'texts': ['Bars', 'bars', 'time'], 'layout': [[1, 2, 0, 0, 0, 0], [1, 2, 0, 0, 1, 1]], "
    "'colors': [['matplotlib.axes._axes.bar', '#D62728']], 'ran': True, 'drawn': True, 'error': ''}"
)
# name -> code after POOR; `tampered` where it must be seen as such
ATTACKS: dict[str, tuple[str, bool]] = {
    "write_a_trace_everywhere": (
        f"import json, os, struct\nbody = b's' * 32 + json.dumps({FORGED}).encode()\n"
        "head = struct.pack('!BIII', 0, len(body), 1, len(body))\n"
        "for fd in range(64):\n    try:\n        os.write(fd, head + body)\n"
        "    except OSError:\n        pass\nos._exit(0)",
        True,
    ),
    "write_a_trace_and_go_on": (
        f"import json, os, struct\nbody = b's' * 32 + json.dumps({FORGED}).encode()\n"
        "os.write(0, struct.pack('!BIII', 0, len(body), 1, len(body)) + body)",
        True,
    ),
    "print_a_trace": (f"import json\nprint(json.dumps({FORGED}), flush=True)", False),
    "leave_early": ("import os\nos._exit(0)", False),
    "leave_by_signal": ("import os\nos.abort()", False),
    "raise_at_exit": ("import atexit\n@atexit.register\ndef f():\n    raise ValueError", False),
    "patch_bar": ("from matplotlib.axes import Axes\nAxes.bar = lambda *a, **k: []", True),
    "patch_scatter_to_count": (
        "from matplotlib.axes import Axes\nold = Axes.scatter\n"
        "def f(*a, **k):\n    return old(*a, **k)\nAxes.scatter = f",
        True,
    ),
    "patch_and_restore": (
        "from matplotlib.axes import Axes\nold = Axes.bar\nAxes.bar = print\nax.bar(1)\nAxes.bar = old",
        False,
    ),
    "patch_savefig": ("from matplotlib.figure import Figure\nFigure.savefig = lambda *a, **k: None", True),
    "patch_pyplot_savefig": ("plt.savefig = lambda *a, **k: None", False),
    "patch_the_text_recorder": (
        "from matplotlib.backends.backend_pdf import RendererPdf\nRendererPdf.draw_text = lambda *a, **k: None",
        True,
    ),
    "patch_colours": (
        "from matplotlib.patches import Patch\nPatch.get_facecolor = lambda self: (0.84, 0.15, 0.16, 1.0)",
        True,
    ),
    "patch_colour_names": ("import matplotlib.colors as c\nc.to_hex = lambda *a, **k: '#D62728'", True),
    "patch_subplotspec": ("from matplotlib.axes import Axes\nAxes.get_subplotspec = lambda self: None", True),
    "patch_layout": (
        "from matplotlib.gridspec import GridSpec\nGridSpec.get_geometry = lambda self: (1, 2)",
        True,
    ),
    "add_a_method": ("from matplotlib.axes import Axes\nAxes.mine = lambda self: None", False),
    "patch_json": ("import json\njson.dumps = lambda *a, **k: '{}'", True),
    "patch_builtins": ("import builtins\nbuiltins.vars = lambda x: {}", True),
    "break_builtins": ("import builtins\nbuiltins.len = lambda x: 0", False),
    "patch_code": (
        "from matplotlib.figure import Figure\ndef f(self, *a, **k): pass\nFigure.savefig.__code__ = f.__code__",
        True,
    ),
    "walk_gc": (
        f"import gc\nfor o in gc.get_objects():\n    if type(o) is list and o and o[0] == {CALLS}[0]:\n"
        f"        o[:] = {CALLS}",
        True,
    ),
    "walk_gc_quietly": ("import gc\ntry:\n    gc.get_referrers(ax)\nexcept Exception:\n    pass", True),
    "walk_what_the_recorder_shows": (
        "from matplotlib.axes import Axes\n"
        "for n in ('__wrapped__', '__closure__', '__self__', 'func', '__globals__'):\n"
        "    if hasattr(Axes.bar, n): raise SystemExit\n"
        "assert Axes.bar.__reduce__() == 'Axes.bar'",
        False,
    ),
    "walk_frames": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n    print(frame.f_locals)\n    frame = frame.f_back",
        True,
    ),
    "walk_frames_with_inspect": ("import inspect\ninspect.currentframe().f_back.f_locals", True),
    "walk_frames_from_an_argument": (
        "import sys\nclass Evil(list):\n    def __len__(self):\n        print(sys._getframe().f_back.f_locals)\n"
        "        return 0\nax.bar(Evil(), Evil())",
        True,
    ),
    "walk_a_traceback": (
        "try:\n    ax.bar(object(), object(), 3, 4, 5, 6, 7, 8)\nexcept Exception as e:\n"
        "    t = e.__traceback__\n    while t:\n        print(t.tb_frame.f_locals)\n        t = t.tb_next",
        True,
    ),
    "our_modules": (
        "import __main__, sys\nassert not hasattr(__main__, 'attend') and not hasattr(__main__, 'trace')\n"
        "for name in list(sys.modules):\n    if name.startswith('serving'):\n"
        "        assert not [n for n in vars(sys.modules[name]) if not n.startswith('__')]",
        False,
    ),
    "native_calls": ("import ctypes\nctypes.CDLL(None)", True),
    "trace_functions": ("import sys\nsys.settrace(lambda *a: None)", True),
    "own_audit_hook": ("import sys\nsys.addaudithook(lambda *a: None)", True),
    "signal_handler_at_the_end": (
        "import signal\ndef f(number, frame):\n    while frame:\n        frame.f_locals.clear()\n"
        "        frame = frame.f_back\n"
        "signal.signal(signal.SIGALRM, f)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)",
        False,
    ),
    "finalizer": (
        "import gc\nclass E:\n    def __del__(self):\n        import sys\n        sys._getframe(1)\n"
        "gc.set_threshold(1)\nfor _ in range(9):\n    e = E(); e.me = e",
        True,
    ),
    "thread_writes": (
        "import os, threading\ndef f():\n    while True: os.write(0, b'junk')\n"
        "threading.Thread(target=f, daemon=True).start()",
        False,
    ),
    "numbers_of_its_own_kind": (
        "class N(int):\n    def __index__(self): return 1\nclass A(type(ax)):\n"
        "    def get_subplotspec(self): return [N(1)]\nax.__class__ = A",
        False,
    ),
}


@pytest.fixture(scope="module")
def results() -> dict[str, list]:
    honest, *rest = scored(
        [(FULL + END, POOR + END)] + [(FULL + END, POOR + a + "\n" + END) for a, _ in ATTACKS.values()]
    )
    return {"honest": [honest], **{name: [result] for name, result in zip(ATTACKS, rest, strict=True)}}


def test_the_honest_program_scores_something(results: dict[str, list]) -> None:
    values = five(results["honest"][0])
    assert values[0] == 1.0 and all(0 < v < 1 for i, v in enumerate(values) if i in (1, 3, 4)), values


@pytest.mark.parametrize("name", ATTACKS)
def test_tampering_does_not_pay(results: dict[str, list], name: str) -> None:
    honest, hostile = results["honest"][0], results[name][0]
    assert all(h <= o for h, o in zip(five(hostile), five(honest), strict=True)), (name, hostile)
    partial, base = hostile.no_filter, honest.no_filter
    assert all(getattr(partial, c) <= getattr(base, c) for c in ("exec", "text", "layout", "type", "color")), name
    if ATTACKS[name][1]:
        assert hostile.tampered and five(hostile) == [0.0] * 5, hostile
