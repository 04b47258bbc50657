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
    "'colors': [['matplotlib.axes._axes.bar', ['#D62728']]], 'ran': True, 'drawn': True, 'axes': 2, 'error': ''}"
)
# seals a forged trace with what it finds on the stack, in code that bears another name than the program's
FORGE = f"""
import os, struct, sys, traceback
def forge(frame):
    while frame is not None:
        seal = frame.f_locals.get('finish') or frame.f_locals.get('seal')
        for count in range(9) if seal else ():
            body = seal({FORGED}, [('matplotlib.axes._axes.bar', '#D62728')] * count)
            if b'tampered' not in body[32:]:
                os.write(0, struct.pack('!BIIII', 0, 0, 0, len(body), 0) + body)
                os._exit(0)
        frame = frame.f_back
"""


def elsewhere(code: str) -> str:
    return f"exec(compile({FORGE + code!r}, 'elsewhere.py', 'exec'), globals())"


# name -> code after POOR; `tampered` where it must be seen as such
ATTACKS: dict[str, tuple[str, bool]] = {
    "write_a_trace_everywhere": (
        f"import json, os, struct\nbody = b's' * 32 + json.dumps({FORGED}).encode()\n"
        "head = struct.pack('!BIIII', 0, 0, 0, len(body), 0)\n"
        "for fd in range(64):\n    try:\n        os.write(fd, head + body)\n"
        "    except OSError:\n        pass\nos._exit(0)",
        True,
    ),
    "write_a_trace_and_go_on": (
        f"import json, os, struct\nbody = b's' * 32 + json.dumps({FORGED}).encode()\n"
        "os.write(0, struct.pack('!BIIII', 0, 0, 0, len(body), 0) + body)",
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
        False,  # there is no such function in the jail: the program fails, or goes on with nothing found
    ),
    "walk_gc_quietly": ("import gc\ntry:\n    gc.get_referrers(ax)\nexcept Exception:\n    pass", False),
    "walk_what_the_recorder_shows": (
        "from matplotlib.axes import Axes\n"
        "for n in ('__wrapped__', '__closure__', '__self__', 'func', '__globals__'):\n"
        "    if hasattr(Axes.bar, n): raise SystemExit\n"
        "assert Axes.bar.__reduce__() == 'Axes.bar'",
        False,
    ),
    "walk_frames": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n    print(frame.f_locals)\n    frame = frame.f_back",
        False,
    ),
    "walk_frames_with_inspect": ("import inspect\ninspect.currentframe().f_back.f_locals", False),
    "forge_by_frames": (elsewhere("forge(sys._getframe())"), False),
    "forge_by_walking": (
        elsewhere(
            "def deep(n):\n    deep(n - 1) if n else [forge(f) for f, _ in traceback.walk_stack(None)]\ndeep(5)",
        ),
        False,
    ),
    "forge_by_a_traceback": (
        elsewhere(
            "class Evil(list):\n    def __len__(self): 1 / 0\n"
            "try:\n    ax.bar(Evil(), Evil())\nexcept Exception as error:\n"
            "    for f, _ in traceback.walk_tb(error.__traceback__): forge(f)"
        ),
        False,
    ),
    "forge_by_a_tracebacks_frame": (
        elsewhere("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    forge(e.__traceback__.tb_frame)"),
        True,
    ),
    "forge_by_a_generator": (
        elsewhere("def g():\n    forge(me.gi_frame)\n    yield\nme = g()\nnext(me)"),
        True,
    ),
    "forge_by_a_signal": (
        elsewhere(
            "import signal\nsignal.signal(signal.SIGALRM, lambda number, frame: forge(frame))\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.001)\nwhile True: pass"
        ),
        True,
    ),
    "forge_while_it_is_read": (
        elsewhere(
            "class A(type(ax)):\n    def get_subplotspec(self):\n        forge(sys._getframe())\nax.__class__ = A"
        ),
        False,
    ),
    "forge_by_our_own_globals": (
        elsewhere(
            "kind = type(sys._getframe())\n"
            "for value in list(vars(kind).values()):\n"
            "    value = getattr(value, 'fget', value)\n"
            "    value = getattr(value, '__wrapped__', value)\n"
            "    if hasattr(value, '__globals__'):\n"
            "        value.__globals__['Frames']._shown = lambda self, chain: forge(chain[0])\n"
            "        sys._getframe()"
        ),
        False,
    ),
    "other_builtins_meanwhile": (
        elsewhere(
            "import builtins\nkept = {n: getattr(builtins, n) for n in ('id', 'type', 'len', 'reversed', 'getattr')}\n"
            "def spy(name):\n    def f(*a, **k):\n        for x in a:\n"
            "            for y in x if kept['type'](x) is list else [x]:\n"
            "                if hasattr(y, 'f_back'):\n"
            "                    for n in kept: setattr(builtins, n, kept[n])\n"
            "                    forge(y)\n"
            "        return kept[name](*a, **k)\n"
            "    return f\n"
            "for n in kept: setattr(builtins, n, spy(n))\n"
            "sys._getframe()\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    traceback.walk_tb(e.__traceback__)\n"
            "for n in kept: setattr(builtins, n, kept[n])"
        ),
        False,
    ),
    "code_by_networkx": (
        "from networkx.utils import argmap\nfrom matplotlib.figure import Figure\n"
        "def f(self, *a, **k): pass\n"
        "class C:\n    def compile(self, g): return f\n"
        "Figure.draw.__argmap__ = C()\nFigure.draw.__wrapped__ = f\nargmap._lazy_compile(Figure.draw)",
        True,
    ),
    "walk_frames_from_an_argument": (
        "import sys\nclass Evil(list):\n    def __len__(self):\n        print(sys._getframe().f_back.f_locals)\n"
        "        return 0\nax.bar(Evil(), Evil())",
        False,
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
    "hoard_what_is_collected": (
        elsewhere(
            "import gc, types\ngc.set_debug(gc.DEBUG_SAVEALL)\ngc.collect()\n"
            "for x in gc.garbage:\n    if isinstance(x, types.FrameType): forge(x)"
        ),
        False,
    ),
    "watch_the_collector": (
        elsewhere(
            "import gc\ngc.callbacks.append(lambda *a: [forge(x) for x in gc.get_objects() if hasattr(x, 'f_back')])\n"
            "gc.collect()"
        ),
        False,
    ),
    "second_collector": (
        elsewhere(
            "import sys, types\ndel sys.modules['gc']\nimport gc\n"
            "for x in gc.get_objects():\n    if isinstance(x, types.FrameType): forge(x)"
        ),
        True,
    ),
    "second_signal_module": (
        elsewhere(
            "import sys\ndel sys.modules['_signal'], sys.modules['signal']\nimport signal\n"
            "signal.signal(signal.SIGALRM, lambda n, frame: forge(frame))\nsignal.setitimer(0, 0.001)\n"
            "while True: pass"
        ),
        True,
    ),
    "second_module_by_the_importer": (
        elsewhere(
            "import _imp, importlib.machinery as m\n"
            "s = _imp.create_builtin(m.ModuleSpec('_signal', m.BuiltinImporter, origin='built-in'))\n"
            "s.signal(14, lambda n, frame: forge(frame))\ns.setitimer(0, 0.001)\nwhile True: pass"
        ),
        True,
    ),
    "second_system_module": (
        "import sys\nfor name in ('sys', '_imp'): del sys.modules[name]\nimport _imp\nimport sys",
        True,
    ),
    "frames_of_greenlets": (
        elsewhere(
            "import greenlet\nforge(greenlet.getcurrent().gr_frame)\n"
            "g = greenlet.greenlet(lambda: forge(g.parent.gr_frame))\ng.switch()"
        ),
        True,
    ),
    "greenlets_by_another_name": (
        "import importlib.machinery as m, importlib.util as u, sys\n"
        "place = [p for p in sys.path if p.endswith('site-packages')][0] + '/greenlet/_greenlet.cpython-'\n"
        "place += '%d%d-x86_64-linux-gnu.so' % sys.version_info[:2]\n"
        "loader = m.ExtensionFileLoader('numpy._greenlet', place)\n"
        "u.module_from_spec(m.ModuleSpec('numpy._greenlet', loader, origin=place))",
        True,
    ),
    "library_of_its_own": (
        "import importlib.machinery as m, importlib.util as u\nopen('evil.so', 'wb').write(b'ELF')\n"
        "u.module_from_spec(m.ModuleSpec('evil', m.ExtensionFileLoader('evil', 'evil.so'), origin='evil.so'))",
        True,
    ),
    "seal_what_was_not_recorded": (
        elsewhere(
            "import sys\nforge(sys._getframe())\nlast = {}\nlast.update(calls=['matplotlib.axes._axes.plot'] * 9)"
        ),
        False,
    ),
    "native_calls": ("import ctypes\nctypes.CDLL(None)", True),
    "trace_functions": ("import sys\nsys.settrace(lambda *a: None)", True),
    "own_audit_hook": ("import sys\nsys.addaudithook(lambda *a: None)", True),
    "signal_handler_at_the_end": (
        "import signal\ndef f(number, frame):\n    while frame:\n        frame.f_locals.clear()\n"
        "        frame = frame.f_back\n"
        "signal.signal(signal.SIGALRM, f)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)",
        True,
    ),
    "finalizer": (
        "import gc\nclass E:\n    def __del__(self):\n        import sys\n        sys._getframe(1)\n"
        "gc.set_threshold(1)\nfor _ in range(9):\n    e = E(); e.me = e",
        False,
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


FRAMES_IN_GOOD_FAITH = (
    POOR
    + """
import collections, dataclasses, enum, inspect, logging, traceback, typing, warnings
import pandas as pd
Point = collections.namedtuple("Point", "x y")
class Kind(enum.Enum):
    A = 1
class Row(typing.NamedTuple):
    n: int
@dataclasses.dataclass
class Part:
    n: int = 0
least = 1
assert len(pd.DataFrame({"a": [1, 2]}).query("a > @least")) == 1
try:
    1 / 0
except ZeroDivisionError as error:
    words = traceback.format_exc()
    assert "1 / 0" not in words and "ZeroDivisionError" in words and 'File "<program>", line' in words, words
    assert traceback.extract_tb(error.__traceback__)[0].lineno > 5
def where(value=3):
    here = inspect.currentframe()
    assert inspect.isframe(here) and here.f_code.co_name == "where" and here.f_locals["value"] == 3
    return inspect.stack()[1].function, here.f_back.f_lineno
assert where()[0] == "<module>"
warnings.warn("so be it", stacklevel=2)
logging.warning("well")
assert Point.__module__ == Part.__module__ == Kind.__module__ == "__main__"
"""
)


def test_frames_are_there_for_whoever_asks_in_good_faith(results: dict[str, list]) -> None:
    [found] = scored([(FULL + END, FRAMES_IN_GOOD_FAITH + END)])
    assert found.failure == "" and not found.tampered
    assert five(found) == five(results["honest"][0])
