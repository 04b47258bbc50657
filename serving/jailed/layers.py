"""The layers that close around one program: Landlock, seccomp and limits.

Guarantees: after `Jail.enter` a process reads Python's own files and writes one folder; it cannot open a socket, start
or signal a process, raise its limits, or take a lock that another jail could see. Each layer that was named is closed
or `enter` raises.

`python -m serving.jailed.layers` enters layer after layer and prints as JSON which of them refuse what they should.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable

FILE_BYTES = 16 * 2**20
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
THREAD = 0x10400  # of clone(2): CLONE_THREAD with CLONE_FILES, without which each thread could open files of its own
WAITS = (0, 9)  # FUTEX_WAIT and FUTEX_WAIT_BITSET, shared
PRIVATE = 128  # of futex(2): a futex that is not is found by its file, which other jails have mapped as well
PLAIN_CALLS = tuple(
    """
    read write readv writev pread64 pwrite64 close close_range fstat newfstatat stat lstat statx lseek mmap mprotect
    munmap mremap madvise brk rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack openat open getdents64 getcwd chdir
    mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 readlink readlinkat access faccessat faccessat2 dup
    dup2 dup3 pipe pipe2 poll ppoll select pselect6 sched_yield sched_getaffinity set_robust_list rseq gettid
    getpid getppid getuid geteuid getgid getegid getgroups uname getrandom clock_gettime clock_getres
    gettimeofday time nanosleep clock_nanosleep alarm setitimer getitimer exit exit_group getrusage times getrlimit
    umask ftruncate fsync fdatasync statfs fstatfs restart_syscall
    """.split()  # noqa: SIM905
)
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # duplicate and flags: never an owner, a signal or a lock
IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, window size, FIONREAD, FIONBIO, FIO(N)CLEX


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))  # struct sock_fprog


def seccomp_filter() -> bytes:
    """The allow-list as a BPF program; every other call fails with EPERM. Raises OSError, ImportError, RuntimeError."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for name in PLAIN_CALLS:
        rules.add_rule(seccomp.ALLOW, name)
    for command in FCNTL_COMMANDS:
        rules.add_rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    for command in IOCTL_COMMANDS:
        rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, command))
    rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, THREAD, THREAD))
    rules.add_rule(seccomp.ALLOW, "futex", seccomp.Arg(1, seccomp.MASKED_EQ, PRIVATE, PRIVATE))
    # pthread_join waits on a shared one: on EAGAIN it looks until the thread has ended, any other error aborts
    for wait in WAITS:
        rules.add_rule(seccomp.ERRNO(errno.EAGAIN), "futex", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFF, wait))
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
        writing |= FSAccess.REMOVE_FILE | FSAccess.REMOVE_DIR | FSAccess.REFER | FSAccess.TRUNCATE
        ruleset.allow(self.folder, rules=writing & ruleset.restrict_rules)
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


def _refused(action: Callable[[], object]) -> str:
    try:
        action()
    except PermissionError:
        return ""
    return "it does not refuse what it should"


def inside() -> dict[str, str]:
    """Enter layer after layer in this process and try what each one forbids: "" or the reason why it does not hold."""
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
    print(json.dumps(inside()))
