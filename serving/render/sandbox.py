"""The jail of foreign programs, from outside: the namespaces around a server, and which layers this machine has.

Guarantees: a layer counts as active only after a process inside it was refused what the layer forbids; a layer that is
not active stops the renderer from starting unless `render.sandbox.allow_missing` names it. Inside, a program sees
neither network nor other processes, reads Python's own files and writes one small folder, which stands under the names
that models write to by habit as well (HABITS); see `serving.jailed.layers` for what closes around each program.

`python -m serving.render.sandbox` prints the layers of this machine, each with "active" or the reason why not.
"""

import contextlib
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

LAYERS = ("namespaces", "landlock", "seccomp", "limits")
FOLDER_BYTES = 32 * 2**20  # what the programs of one server may write, all together
PROBE_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
INSIDE = "/rrvf"  # where the jail sees the few files that it runs
FOLDER = "/rrvf-folder"  # and the only one that it may write to
HABITS = ("/tmp", "/mnt/data", "/content", "/kaggle/working")  # other names of that folder
HOME = "/rrvf-home"  # of the server itself
PYTHON = "/rrvf-python"  # where the jail sees an environment that lies below one of HABITS
CODE = ("serving/__init__.py", *(f"serving/jailed/{p.name}" for p in sorted((ROOT / "serving/jailed").glob("*.py"))))


class MissingLayer(RuntimeError):
    """A layer of the jail is not to be had here, and the settings do not excuse it."""

    exit_status = 2


def command(module: str, arguments: Iterable[str], *, namespaces: bool) -> list[str]:
    """The argv that runs one of our modules in a jail of its own: no network, no other process, read-only files."""
    # without -P a server would look for modules in its folder, where programs leave files
    options = ["-P", "-s", "-B", "-m", module, *arguments]
    if not namespaces:
        return [sys.executable, *options]
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise FileNotFoundError("bwrap is not installed (apt-get install bubblewrap)")
    binds = [x for path in CODE for x in ("--ro-bind", str(ROOT / path), f"{INSIDE}/{path}")]
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if not prefix.startswith("/usr"):
            binds += ["--ro-bind", prefix, _seen(prefix)]
    names = [x for name in free_habits() for x in ("--symlink", FOLDER, name)]
    python = Path(sys.executable)
    if python.is_relative_to(sys.prefix):
        python = Path(_seen(sys.prefix)) / python.relative_to(sys.prefix)
    return [
        bwrap, *namespace_flags(), "--disable-userns",
        # a picture may depend on Matplotlib's own fonts only; not looking for others also saves a second
        "--tmpfs", "/usr/share/fonts", *binds,
        "--size", str(FOLDER_BYTES), "--tmpfs", FOLDER, *names, "--tmpfs", HOME, "--chdir", FOLDER,
        "--", str(python), *options,
    ]  # fmt: skip


def free_habits() -> list[str]:
    """Those of HABITS below which Python itself does not lie: its own files stay where they are."""
    return [name for name in HABITS if not Path(sys.base_prefix).is_relative_to(name)]


def _seen(prefix: str) -> str:
    """Where the jail sees a tree of Python's: an environment below a name that is the program's folder moves."""
    moves = prefix != sys.base_prefix and any(Path(prefix).is_relative_to(name) for name in free_habits())
    return PYTHON if moves else prefix


def namespace_flags() -> list[str]:
    """Bubblewrap's options that every jail shares: all namespaces new, no capability, a bare system to read."""
    flags = ["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--hostname", "jail"]
    flags += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    flags += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            flags += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            flags += ["--ro-bind", f"/{name}", f"/{name}"]
    return [*flags, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]


def environment(*, namespaces: bool, scratch: str) -> dict[str, str]:
    """The whole environment of a jailed server. `scratch`: its private folder where there are no namespaces."""
    return {
        "PATH": "/usr/sbin:/sbin",  # ldconfig, which finds libseccomp; not fc-list, which finds foreign fonts
        "HOME": HOME if namespaces else scratch,
        "TMPDIR": (free_habits() or [FOLDER])[0] if namespaces else scratch,
        "MPLCONFIGDIR": HOME if namespaces else scratch,
        "PYTHONPATH": INSIDE if namespaces else str(ROOT),
        "MPLBACKEND": "agg",
        "PYTHONHASHSEED": "0",
        # pictures come and go in one place of the heap, where a child finds memory, instead of being mapped anew
        "GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={2**26}:glibc.malloc.trim_threshold={2**26}",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")},
    }


@functools.cache
def probe() -> dict[str, str]:
    """Each layer with "" where it is active on this machine, else the reason why not."""
    missing = ""
    with tempfile.TemporaryDirectory(prefix="rrvf-") as scratch:
        for namespaces in (True, False):
            try:
                found = subprocess.run(
                    command("serving.jailed.layers", [], namespaces=namespaces),
                    env=environment(namespaces=namespaces, scratch=scratch),
                    cwd=scratch, capture_output=True, timeout=PROBE_S, check=False,
                )  # fmt: skip
                found.check_returncode()
                return {"namespaces": missing, **json.loads(found.stdout)}
            except subprocess.CalledProcessError as error:
                missing = (error.output or b"").decode() + found.stderr.decode(errors="replace").strip()[-200:]
            except (OSError, subprocess.TimeoutExpired) as error:
                missing = str(error)
    return {"namespaces": missing, **dict.fromkeys(LAYERS[1:], missing)}


def active_layers(allow_missing: Iterable[str]) -> tuple[str, ...]:
    """The layers to use. Raises MissingLayer naming one that this machine lacks and the settings do not excuse."""
    excused, found = set(allow_missing), probe()
    if unknown := excused - set(LAYERS):
        raise MissingLayer(f"render.sandbox.allow_missing: no layer {sorted(unknown)}; there are {list(LAYERS)}")
    for layer, reason in found.items():
        if reason and layer not in excused:
            raise MissingLayer(
                f"the sandbox layer '{layer}' does not work here ({reason}); "
                f"render.sandbox.allow_missing=[{layer}] runs foreign programs without it"
            )
    return tuple(layer for layer in LAYERS if not found[layer])


def tree_bytes(pid: int) -> int:
    """Bytes of memory of a process and all its descendants. A page that several processes share counts once, in equal
    parts (PSS); where the kernel tells that to nobody else, once a process (RSS)."""
    parents, resident = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)], resident[int(entry)] = int(fields[1]), int(fields[21]) * resource.getpagesize()
    family, total = {pid}, 0
    while family:
        total += sum(_proportional(member, resident[member]) for member in family if member in resident)
        family = {child for child, parent in parents.items() if parent in family}
    return total


def _proportional(pid: int, resident: int) -> int:
    try:
        rollup = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return resident
    return 1024 * int(rollup.partition("\nPss:")[2].split()[0]) if "\nPss:" in rollup else 0


if __name__ == "__main__":
    for layer, reason in probe().items():
        print(f"{layer:12}{reason or 'active'}")
