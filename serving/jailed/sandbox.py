"""The jail of foreign programs: namespaces around the server, Landlock, seccomp and limits around each program.

Guarantees: a layer counts as active only after a process inside it was refused what the layer forbids; a layer that is
not active stops the renderer from starting unless `render.sandbox.allow_missing` names it. Inside, a program sees
neither network nor other processes, reads Python's own files and writes one small folder; it cannot start a process,
signal one, or raise its own limits.

`python -m serving.jailed.sandbox` prints the layers of this machine, each with "active" or the reason why not.
"""

import contextlib
import ctypes
import functools
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

LAYERS = ("namespaces", "landlock", "seccomp", "limits")
FOLDER_BYTES = 32 * 2**20  # what the programs of one server may write, all together
FILE_BYTES = 16 * 2**20
PROBE_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
INSIDE = "/rrvf"  # where the jail sees the few files that it runs
FOLDER = "/rrvf-folder"  # and the only one that it may write to
CODE = ("serving/__init__.py", *(f"serving/jailed/{path.name}" for path in sorted(Path(__file__).parent.glob("*.py"))))

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
CLONE_THREAD = 0x10000
PLAIN_CALLS = tuple(
    """
    read write readv writev pread64 pwrite64 close close_range fstat newfstatat stat lstat statx lseek mmap mprotect
    munmap mremap madvise brk rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack openat open getdents64 getcwd chdir
    mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 readlink readlinkat access faccessat faccessat2 dup
    dup2 dup3 pipe pipe2 poll ppoll select pselect6 futex sched_yield sched_getaffinity set_robust_list rseq gettid
    getpid getppid getuid geteuid getgid getegid getgroups uname sysinfo getrandom clock_gettime clock_getres
    gettimeofday time nanosleep clock_nanosleep alarm setitimer getitimer exit exit_group getrusage times getrlimit
    umask ftruncate truncate fsync fdatasync fadvise64 statfs fstatfs restart_syscall
    """.split()  # noqa: SIM905
)
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)  # duplicate, flags, locks: never owner or signal
IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, window size, FIONREAD, FIONBIO, FIO(N)CLEX


class MissingLayer(RuntimeError):
    """A layer of the jail is not to be had here, and the settings do not excuse it."""

    exit_status = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))  # struct sock_fprog


def seccomp_filter() -> bytes:
    """The allow-list as a BPF program; every other call fails with EPERM. Raises OSError, ImportError, RuntimeError."""
    import errno

    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for name in PLAIN_CALLS:
        rules.add_rule(seccomp.ALLOW, name)
    for command in FCNTL_COMMANDS:
        rules.add_rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    for command in IOCTL_COMMANDS:
        rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, command))
    rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be filtered; the C library falls back
    # reading one's own limits (pid 0, no new value) is common, setting them is not
    rules.add_rule(seccomp.ALLOW, "prlimit64", seccomp.Arg(0, seccomp.EQ, 0), seccomp.Arg(2, seccomp.EQ, 0))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


class Jail:
    """What a server prepares once, so that entering costs a program only a handful of system calls."""

    def __init__(self, folder: str, layers: Iterable[str]) -> None:
        """`folder`: the one a program may write to. Raises what a layer's library raises when it cannot work."""
        self.layers = tuple(layers)
        self.folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._ruleset = self._landlock() if "landlock" in self.layers else None
        if "seccomp" in self.layers:
            self._bpf = seccomp_filter()
            self._program = _Program(len(self._bpf) // 8, self._bpf)

    def _landlock(self) -> object:
        from landlock import FSAccess, Ruleset

        ruleset = Ruleset()
        reading = FSAccess.READ_FILE | FSAccess.READ_DIR
        for path in {sys.prefix, sys.base_prefix, "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo"}:
            if os.path.isdir(path):
                ruleset.allow(path, rules=reading)
        for path in ("/dev/urandom", "/etc/ld.so.cache"):
            if os.path.exists(path):
                ruleset.allow(path, rules=FSAccess.READ_FILE)
        ruleset.allow("/dev/null", rules=FSAccess.READ_FILE | FSAccess.WRITE_FILE)
        writing = reading | FSAccess.WRITE_FILE | FSAccess.MAKE_REG | FSAccess.MAKE_DIR
        writing |= FSAccess.REMOVE_FILE | FSAccess.REMOVE_DIR
        ruleset.allow(self.folder, rules=(writing | FSAccess.TRUNCATE) & ruleset.restrict_rules)
        return ruleset

    def enter(self, *, cpu_s: float, memory_bytes: int) -> None:
        """Close every layer around the calling process, for good. `memory_bytes` bounds its address space."""
        self._call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
        self._call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if "limits" in self.layers:
            seconds = max(1, round(cpu_s))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        if self._ruleset is not None:
            ctypes.set_errno(0)  # the library takes an old error for its own
            self._ruleset.apply()  # type: ignore[attr-defined]
        if "seccomp" in self.layers:
            self._call("prctl", PR_SET_SECCOMP, 2, ctypes.byref(self._program), 0, 0)

    def _call(self, name: str, *arguments: object) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{name}{arguments[:2]} failed")


def command(module: str, arguments: Iterable[str], *, namespaces: bool) -> list[str]:
    """The argv that runs one of our modules in a jail of its own: no network, no other process, read-only files."""
    python = [sys.executable, "-s", "-B", "-m", module, *arguments]
    if not namespaces:
        return python
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise FileNotFoundError("bwrap is not installed (apt-get install bubblewrap)")
    binds = [x for path in CODE for x in ("--ro-bind", str(ROOT / path), f"{INSIDE}/{path}")]
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if not prefix.startswith("/usr"):
            binds += ["--ro-bind", prefix, prefix]
    return [
        bwrap, *namespace_flags(), "--disable-userns",
        # a picture may depend on Matplotlib's own fonts only; not looking for others also saves a second
        "--tmpfs", "/usr/share/fonts", *binds,
        "--size", str(FOLDER_BYTES), "--tmpfs", FOLDER, "--chdir", FOLDER, "--", *python,
    ]  # fmt: skip


def namespace_flags() -> list[str]:
    """Bubblewrap's options that every jail shares: all namespaces new, no capability, a bare system to read."""
    flags = ["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--hostname", "jail"]
    flags += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    flags += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
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
        "HOME": "/tmp" if namespaces else scratch,
        "TMPDIR": "/tmp" if namespaces else scratch,
        "MPLCONFIGDIR": "/tmp" if namespaces else scratch,
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
                    command("serving.jailed.sandbox", ["--inside"], namespaces=namespaces),
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


def _refused(action: Callable[[], object]) -> str:
    try:
        action()
    except PermissionError:
        return ""
    return "it does not refuse what it should"


def _inside() -> dict[str, str]:
    """Enter layer after layer in this process and try what each one forbids."""
    tests: dict[str, Callable[[], str]] = {
        "limits": lambda: "" if resource.getrlimit(resource.RLIMIT_FSIZE)[1] == FILE_BYTES else "not set",
        "landlock": lambda: _refused(lambda: open("/proc/self/status", "rb").close()),
        "seccomp": lambda: _refused(lambda: socket.socket().close()),
    }
    found: dict[str, str] = {}
    jails: dict[str, Jail] = {}
    for layer in tests:  # all libraries first: an entered layer may keep the next one from loading
        try:
            jails[layer] = Jail(os.getcwd(), [layer])
        except (ImportError, OSError, RuntimeError) as error:
            found[layer] = f"{type(error).__name__}: {error}"[:200]
    for layer, jail in jails.items():
        try:
            jail.enter(cpu_s=30, memory_bytes=4 * 2**30)
            found[layer] = tests[layer]()
        except (ImportError, OSError, RuntimeError) as error:
            found[layer] = f"{type(error).__name__}: {error}"[:200]
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["--inside"]:
        print(json.dumps(_inside()))
    else:
        for layer, reason in probe().items():
            print(f"{layer:12}{reason or 'active'}")
