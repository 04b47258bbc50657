"""How a program failed, in words that its writer can act on.

Guarantees: one line of at most MAX_MESSAGE bytes; it names the error, the program's own line and, for what commonly
goes wrong, what to do instead; no path is in it that the program does not name itself. Whether the failure was a
refusal (`refused`) is separate from what a program merely got wrong.
"""

import re
import traceback

from serving.jailed.protocol import MAX_MESSAGE

PROGRAM = "<program>"
REFUSED = ("PermissionError", "gaierror", "URLError")  # by name: the modules of some are not loaded
LIBRARIES = "matplotlib, numpy, pandas, scipy, seaborn and Python's own"
# what the error's class and text match -> what to do; the first that matches is used
HINTS = (
    (r"usetex|tex\.cache|texmanager|\blatex\b", "there is no LaTeX here: leave out text.usetex; $...$ works without"),
    (r"^ModuleNotFoundError", f"only these libraries are here: {LIBRARIES}"),
    (r"^EOFError", "nobody answers input(): write the values into the program"),
    (r"gaierror|URLError|HTTPError|ConnectionError", "there is no network: write the data into the program"),
    (r"^FileNotFoundError", "only files that the program has written are here: write the data into the program"),
    (r"^PermissionError.*Errno 1\]", "a program may not use the network or start other programs"),
    (r"^PermissionError", "a program may read and write files of its own only, by a name without a folder"),
    (r"^OSError.*(No space|File too large)", "a program may write a few MB of files"),
)


def refused(error: BaseException | None) -> bool:
    """Whether a refusal is among the causes of an error."""
    for _ in range(8):
        if error is None:
            return False
        if any(kind.__name__ in REFUSED for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def failure_of(error: BaseException, source: str) -> tuple[str, str]:
    """Kind and words of what a program raised, whose class, causes and text may all be of its own making."""
    try:
        return "forbidden" if refused(error) else "exception", describe(error, source)
    except BaseException:
        return "exception", "the program raised an error that cannot be described"


def describe(error: BaseException, source: str) -> str:
    """Last line of the traceback, the program's line number and that line, and what to do about it."""
    try:
        what = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:MAX_MESSAGE]
    except Exception:  # the error may be of the program's own making
        what = type(error).__name__
    hint = hint_for(error, what, source)
    # longer than a word of this length, a message helps nobody and costs the reader's context
    what = re.sub(r"/[^\s'\":,;()]+", lambda m: m[0] if m[0] in source else m[0].rsplit("/", 1)[-1], what)[:300]
    number = error.lineno if isinstance(error, SyntaxError) and error.filename == PROGRAM else None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == PROGRAM:
            number = line
    lines = source.splitlines()
    if number is not None and 1 <= number <= len(lines):
        what += f" (line {number}: {lines[number - 1].strip()[:120]})"
    return (f"{what}; {hint}" if hint else what)[:MAX_MESSAGE]


def hint_for(error: BaseException, what: str, source: str) -> str:
    if isinstance(error, SyntaxError) and re.search(r"^\s*[%!]\s*\w", source, re.M):
        return "lines that begin with % or ! are for notebooks: leave them out"
    return next((hint for pattern, hint in HINTS if re.search(pattern, what)), "")
