"""What a chart program calls, draws as text, colours and lays out, traced in the jail while it runs.

Guarantees, against a program that stays within Python and the libraries that are here:
- it never shares memory with another program's trace, and the scores are computed in another process: what it is
  compared with cannot be read where it runs;
- what was recorded cannot be taken back, and nothing can be recorded but what a call of the API records: the records
  stand behind C callables (`opaque`) that show neither the function nor the list in them; frames show nothing of ours
  (`serving.jailed.frames`), `gc` has lost the functions that show objects, and what would show either (greenlet,
  ctypes, CPython's own test modules, a second `gc` or `_signal`) does not load (`serving.jailed.modules`);
- a trace is sealed with a key that exists behind such a callable only, after the program has ended; a program that
  writes a trace of its own, or leaves before the end, has none. What is sealed last cannot replace what was recorded;
- a program that replaces a function of Matplotlib, of the built-ins or of ours, or that reaches for what is refused,
  has a trace that says `tampered` and nothing else.
Not guaranteed: a program that writes to raw memory (NumPy can) may forge its own trace. Nor does it need to: calls that
draw nothing visible count as calls, here as in the benchmarks. A trace tells how a program was written; similarity is
for the renderer and a judge to say.

What is recorded follows ChartMimic's evaluators (arXiv 2406.09961) and Plot2Code's (arXiv 2405.07990). Run as `python
-m serving.jailed.trace SETTINGS_JSON`, as `serving.jailed.server` is. A request is a mode (MODES), a line end and the
source; a reply holds the seal (32 bytes) and JSON.
"""

import builtins
import functools
import gc
import hmac
import inspect
import json
import os
import socket
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from serving.jailed import server
from serving.jailed.calls import READERS, install
from serving.jailed.frames import Frames, opaque
from serving.jailed.frames import install as install_frames
from serving.jailed.hints import PROGRAM, describe, failure_of
from serving.jailed.modules import close_doors
from serving.jailed.program import Answer
from serving.jailed.protocol import REPLY, failure

MODES = tuple(READERS)
SEAL = 32  # bytes
OURS = ("__main__", "serving", "actors", "configs")
REFUSED = frozenset(
    """gc.get_objects gc.get_referrers gc.get_referents sys._current_frames sys._current_exceptions sys.settrace
    sys.setprofile sys.addaudithook code.__new__ cpython.PyInterpreterState_Clear""".split()  # noqa: SIM905
)
INNARDS = ("__code__", "__defaults__", "__kwdefaults__")
KEPT = (types.FunctionType, types.BuiltinFunctionType, classmethod, staticmethod, property, type)


Pristine = tuple[tuple[tuple[Any, str, Any], ...], tuple[tuple[type, frozenset[str]], ...]]


def functions(modules: Iterable[types.ModuleType]) -> tuple[tuple[Any, str, Any], ...]:
    """Every function and class of modules, and every method of those classes: owner, name, value."""
    found: dict[tuple[int, str], tuple[Any, str, Any]] = {}
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, KEPT):
                found[id(module), name] = module, name, value
            if isinstance(value, type) and value.__module__ == module.__name__:
                for part, method in list(vars(value).items()):
                    if isinstance(method, KEPT):
                        found[id(value), part] = value, part, method
    return tuple(found.values())


def names(found: Iterable[tuple[Any, str, Any]]) -> tuple[tuple[type, frozenset[str]], ...]:
    """The classes among owners, each with the names in it."""
    classes = {id(owner): owner for owner, _, _ in found if isinstance(owner, type)}
    return tuple((owner, frozenset(vars(owner))) for owner in classes.values())


def traced_modules() -> list[types.ModuleType]:
    """The modules that a program must leave as they are. pyplot is free: programs do silence `show`."""
    names = [n for n in sys.modules if n.split(".")[0] in ("matplotlib", "mpl_toolkits") and n != "matplotlib.pyplot"]
    return [builtins, json, json.encoder, *(sys.modules[name] for name in names)]


class Records:
    """What a traced child may touch: C callables only. `seal(end, painted)` ends the trace."""

    def __init__(self, secret: list[bytes], pristine: Pristine) -> None:
        calls: list[str] = []
        texts: list[str] = []
        objects: list[tuple[str, str, Any]] = []  # function, first colour, artist
        marks: list[str] = []
        replaced: dict[tuple[int, str], Any] = {}
        key, digest, dumps = secret.pop(), hmac.digest, json.dumps
        vars_, id_, len_, any_ = vars, id, len, any

        def seal(end: dict[str, Any], painted: list[tuple[str, str]]) -> bytes:
            body = b'{"tampered": true}'
            if not marks:
                changed = False
                for owner, name, value in pristine[0]:
                    changed |= vars_(owner).get(name) is not replaced.get((id_(owner), name), value)
                for kind, known in pristine[1]:  # a new name is harmless unless it hides an inherited one
                    if len_(vars_(kind)) != len_(known):
                        new = [name for name in vars_(kind) if name not in known]
                        changed |= any_([name in vars_(base) for name in new for base in kind.__mro__[1:]])
                if not changed and len_(painted) == len_({(where, first) for where, first, _ in objects}):
                    body = dumps({**end, "calls": calls, "texts": texts, "colors": painted}).encode()
            return digest(key, body, "sha256") + body

        self.caller = lambda label: opaque(functools.partial(calls.append, label))
        self.text = opaque(texts.append)
        self.paint = opaque(objects.append)
        self.painted = opaque(objects.copy)
        self.mark = opaque(marks.append)
        self.seal = opaque(seal)
        self.replaced = replaced  # filled before the program starts, then dropped

    def replace(self, owner: Any, name: str, function: Callable[..., Any], nameless: bool = False) -> None:
        """Put a function of ours in the place of one of the library's, with its signature, by which libraries sort
        their options (networkx). `nameless`: it is called `wrapper`."""
        original, ours = getattr(owner, name), opaque(function)
        for part in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(ours, part, getattr(original, part, None))
        ours.__signature__ = inspect.signature(original)
        if nameless:
            ours.__name__ = "wrapper"
        self.replaced[id(owner), name] = ours
        setattr(owner, name, ours)


def guard(mark: Callable[[str], None], frames: Frames) -> None:
    """Refuse what shows hidden objects or changes the library, and mark who tries: for the rest of the process."""
    import matplotlib
    from mpl_toolkits import mplot3d

    get = getattr
    # where the functions of `traced_modules` are from; others set such parts of what they make (collections, networkx)
    folders = [os.path.dirname(str(module.__file__)) for module in (matplotlib, json)]
    protected = tuple(folder + os.sep for folder in (*folders, os.path.dirname(os.path.dirname(mplot3d.__file__))))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        wanted = event in REFUSED or event.startswith("ctypes.") or frames.refused(event, arguments)
        if event == "object.__setattr__" and arguments[1] in INNARDS:
            code = get(arguments[0], "__code__", None)
            wanted = code is None or code.co_filename.startswith(protected)
        if wanted:
            mark(event)
            raise PermissionError(f"a traced program may not use {event}")

    install_frames(frames, mark)
    close_doors(mark)
    sys.addaudithook(hook)


def trace(request: str, max_bytes: int, secret: list[bytes], pristine: Pristine) -> Answer:
    """Run one program and return its sealed trace."""
    mode, _, source = request.partition("\n")
    if mode not in MODES:
        mode, source = MODES[0], request
    source = source.removeprefix("\ufeff")
    try:
        code = compile(source, PROGRAM, "exec", dont_inherit=True)
    except MemoryError:
        return Answer("memory", message="the program is too deeply nested to compile")
    except (SyntaxError, ValueError, RecursionError) as error:
        return Answer("syntax", message=describe(error, source))
    records = Records(secret, pristine)
    state = {} if mode.endswith("plot2code") else install(records, source, mode)
    finish = functools.partial(end, records.seal, gc.disable)
    read = functools.partial(READERS[mode], records.painted, state)
    namespace = {"__name__": "__main__", "__builtins__": builtins}
    ours = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] in OURS}
    known = frozenset(id(vars(module)) for module in ours.values())
    guard(records.mark, Frames(trace.__code__, namespace, known))
    del records
    for name in ours:
        sys.modules[name] = types.ModuleType(name)  # a program has no business with ours
    del ours
    error_text = ""
    try:
        exec(code, namespace)
    except BaseException as error:
        error_text = failure_of(error, source)[1]
    found, painted = read(namespace, error_text == "")
    body = finish({**found, "error": error_text[:500]}, painted)
    if len(body) > max_bytes:
        return Answer("too_large", message=f"the trace has {len(body)} bytes; at most {max_bytes} are allowed")
    return Answer("", 0, 0, body)


def end(seal: Any, no_collection: Any, found: Any, painted: Any) -> bytes:
    """Take the program's last way to run away, its finalizers, then seal."""
    no_collection()
    return seal(found, painted)


def attend(request: int, prepared: server.Server, pristine: Pristine) -> server.Reply:
    """One traced child: its reply if it bears the seal of this request, else one that says it is forged."""
    secret = [os.urandom(32)]
    work = functools.partial(trace, secret=secret, pristine=pristine)
    reply = server.attend(request, prepared, work)
    body = reply[REPLY.size :]
    if reply[0] == 0 and not hmac.compare_digest(body[:SEAL], hmac.digest(secret[0], body[SEAL:], "sha256")):
        return failure("forbidden", "the program wrote a trace of its own")
    return reply


def pristine() -> Pristine:
    """What is known of the library after it was warmed and before the first program."""
    import matplotlib.backends.backend_pdf  # noqa: F401
    import mpl_toolkits.mplot3d  # noqa: F401

    found = functions(traced_modules())
    return found, names(found)


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    sys.argv, sys.orig_argv = [PROGRAM], []
    warmed = server.prepare(chosen, picture=False)
    server.serve(socket.socket(fileno=0), warmed, functools.partial(attend, pristine=pristine()))
