"""Modules that a traced program cannot have: those that show frames, hidden objects or memory.

Guarantees, once `close_doors` was called, for the rest of the process: `gc` collects and counts and does nothing else;
no second copy of a built-in module is made, which would have the functions that the first one lost; a compiled module
loads only from Python's own folder or from a drawing library's, and is none of REFUSED. Who tries is marked.
"""

import _imp
import gc
import os
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

from serving.jailed.frames import opaque

COUNTS = frozenset(
    "collect enable disable isenabled get_count get_threshold set_threshold get_stats freeze unfreeze".split()  # noqa: SIM905
)
LIBRARIES = "numpy pandas scipy matplotlib mpl_toolkits PIL kiwisolver contourpy shapely pyarrow sklearn statsmodels"
REFUSED = ("_ctypes", "_test", "_xxsubinterpreters", "_xxinterpchannels", "_interp", "xxlimited", "xxsubtype")


def close_doors(mark: Callable[[str], None]) -> None:
    """Take the functions away, for good; `mark` is called when one is asked for."""
    import numpy

    create_builtin, create_dynamic = _imp.create_builtin, _imp.create_dynamic
    known, refuse, get, kind, text = frozenset(sys.modules), PermissionError, getattr, type, str
    packages = os.path.dirname(os.path.dirname(numpy.__file__))
    folders = (
        os.path.join(sysconfig.get_path("platstdlib"), "lib-dynload") + os.sep,
        os.path.join(sys.base_prefix, "lib", f"python{sysconfig.get_python_version()}", "lib-dynload") + os.sep,
        *(os.path.join(packages, name) + os.sep for name in LIBRARIES.split()),
    )  # fmt: skip

    def allowed(name: Any) -> bool:
        return kind(name) is text and not name.rpartition(".")[2].startswith(REFUSED)

    def builtin(spec: Any) -> Any:
        name = get(spec, "name", None)
        if not allowed(name) or name in known:
            mark("import")
            raise refuse("a traced program may not make a second module")
        return create_builtin(spec)

    def dynamic(spec: Any, *file: Any) -> Any:
        name: Any = get(spec, "name", None)
        origin: Any = get(spec, "origin", None)
        if not (allowed(name) and kind(origin) is text and origin.startswith(folders) and ".." not in origin):
            mark("import")
            raise refuse(f"a traced program may not load {name}")
        return create_dynamic(spec, *file)

    for name in list(vars(gc)):
        if not name.startswith("__") and name not in COUNTS:
            delattr(gc, name)
    _imp.create_builtin, _imp.create_dynamic = opaque(builtin), opaque(dynamic)
