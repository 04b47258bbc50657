"""Python files of the user's, named by their path in a setting: a domain, a judge, a reward.

Guarantees: a file is run once in a process; what is wrong with it, whatever it raises, is one line. Such a file is the
user's own code with the rights of the process that loads it; no request and no model names one.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


class Unusable(ValueError):
    """Something outside that cannot be used; `reason` is one line."""

    exit_status = 2

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


@functools.cache
def module(path: str) -> ModuleType:
    """The module of a file. Raises Unusable."""
    if not os.path.isfile(path):
        raise Unusable(path, "no such file")
    name = f"rrvf_outside_{version(path)}_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Unusable(path, "no Python file")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # dataclasses of the file look themselves up there
    try:
        spec.loader.exec_module(found)
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())[:200]
        raise Unusable(path, f"it cannot be loaded: {type(error).__name__}: {words}") from None
    return found


def function(name: str) -> Callable[..., Any]:
    """The function of "path/to/file.py:function". Raises Unusable."""
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py") or not attribute.isidentifier():
        raise Unusable(name, "must be a file and a function in it, like path/to/file.py:function")
    found = getattr(module(os.path.abspath(path)), attribute, None)
    if not callable(found):
        raise Unusable(name, f"the file has no function {attribute}")
    return found  # type: ignore[no-any-return]


def defines(name: str) -> None:
    """Raises Unusable where the file of "path/to/file.py:function" does not define the function; it is not run."""
    path, _, attribute = name.rpartition(":")
    try:
        tree = ast.parse(Path(path).read_bytes())
    except OSError:
        raise Unusable(name, "no such file") from None
    except (SyntaxError, ValueError) as error:
        raise Unusable(name, f"not Python: {' '.join(str(error).split())[:200]}") from None
    defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    defined |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined |= {(a.asname or a.name) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    if attribute not in defined:
        raise Unusable(name, f"the file has no function {attribute}")


def absolute(name: str) -> str:
    """FILE.py or FILE.py:function as another process may use it: with an absolute path. Other names stay."""
    path, colon, attribute = name.rpartition(":") if not name.endswith(".py") else (name, "", "")
    return f"{os.path.abspath(path)}{colon}{attribute}" if path.endswith(".py") else name  # and NAME=WEIGHT of a blend


@functools.cache
def version(path: str) -> str:
    """What changes whenever the file does."""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=6).hexdigest()
