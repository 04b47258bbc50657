"""The third red team's programs, by class, tried after the second corpus had been shut; `hostile_charts` adds them."""

from tests.serving.jailed.attack_forms import DIED, FINE, FORGE, REFUSED, SLOW, C

DRIP = FORGE + "import threading, time\nsay(b'', 0, 2000, 1000, 6000000, 0)\n"

THIRD: list[tuple[str, tuple[str, ...], str]] = [
    # channels to a neighbour: what two jails both see
    ("shared_futex_of_a_library", REFUSED, C + "call(202, libc.printf, 1, 9, None, None, 0)\ndraw"),
    ("shared_futex_by_bits", REFUSED, C + "call(202, libc.printf, 10, 9, None, None, -1)\ndraw"),
    ("futexes_by_the_newer_call", REFUSED, C + "call(454, libc.printf, -1, 1, 2)\ndraw"),
    ("memory_of_the_machine", REFUSED, C + "call(99, b'\\0' * 128)\ndraw"),
    ("thread_with_files_of_its_own", REFUSED, C + "call(56, 0x10900, None, None, None, 0)\ndraw"),
    ("pages_in_the_cache", REFUSED, C + "call(27, libc.printf, 4096, b'\\0')\ndraw"),
    ("cache_statistics", REFUSED, C + "call(451, 0, b'\\0' * 16, b'\\0' * 40, 0)\ndraw"),
    ("drop_pages_of_a_library", REFUSED, "import numpy, os\nf = os.open(numpy.__file__, 0)\n"
     "os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)\ndraw"),
    ("free_blocks_of_a_disk_that_no_program_writes", FINE, "import numpy, os\nos.statvfs(numpy.__file__)\ndraw"),
    ("memory_barrier_of_all", REFUSED, C + "call(324, 1, 0, 0)\ndraw"),
    ("node_of_memory", REFUSED, C + "call(309, b'\\0' * 8, b'\\0' * 8, None)\ndraw"),
    ("load_of_the_machine", REFUSED, "import os\nos.getloadavg()\ndraw"),
    ("shared_anonymous_memory", FINE, "import mmap\nmmap.mmap(-1, 4096)[0] = 1\ndraw"),
    ("next_process_number", FINE, "import threading\nfor _ in range(50):\n"
     "    t = threading.Thread(target=len, args=('x',)); t.start(); t.join()\ndraw"),
    # bounds that are looked at between other things
    ("files_while_a_reply_drips", REFUSED, DRIP + "for x in range(10**6): os.write(0, b'x' * 5); os.mkdir(f'd{x}')"),
    ("threads_while_a_reply_drips", REFUSED, DRIP + "threading.stack_size(65536)\nfor x in range(10**6):\n"
     "    os.write(0, b'x')\n    if not x % 99: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"),
    ("files_then_the_end", ("ok", *REFUSED), "import os\nfor x in range(900): os.mkdir(f'd{x}')\ndraw"),
    ("holes_without_end", REFUSED, "import os\nf = open('x', 'wb')\nos.ftruncate(f.fileno(), 2**50)\ndraw"),
    ("unlinked_but_open", REFUSED, "import os, time\nx = []\nfor n in range(240):\n    f = open('f', 'wb')\n"
     "    x.append(f); os.unlink('f'); f.write(bytes(2**20)); f.flush()\ndraw"),
    ("name_with_escape_codes", FINE, "open('\\x1b]0;x\\x07\\n<b>', 'w').close()\ndraw"),
    ("pipes_full_of_bytes", ("ok", *REFUSED), "import os\nkeep = []\nfor _ in range(110):\n    r, w = os.pipe()\n"
     "    os.set_blocking(w, False)\n    try:\n        while True: os.write(w, bytes(4096))\n"
     "    except OSError: pass\ndraw"),
    ("reserve_of_address_space", ("memory", "exception"), "import mmap\n"
     "x = [mmap.mmap(-1, 2**28) for _ in range(99)]\ndraw"),
    ("stack_of_everything", ("memory", "exception", "crashed"), "import threading\nthreading.stack_size(2**33)\n"
     "threading.Thread(target=len).start()\ndraw"),
    ("power_without_end", SLOW, "x = 9 ** 9 ** 9"),
    ("sleeping_native_call", SLOW, "import ctypes\nctypes.CDLL(None).sleep(600)"),
    ("blocks_the_deadline_signal", SLOW, "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
     "while True: pass"),
    ("waits_on_its_own_reply", SLOW, "import select\nselect.select([0], [], [])"),
    ("picture_text_of_megabytes", ("ok", "exception", "memory", *SLOW), "draw\nplt.title('x\\n' * 20000)"),
    # replies
    ("reply_of_memory_and_a_picture", DIED, FORGE + "say(bytes(243), 4, 9, 9, 243, 0)\nos._exit(0)"),
    ("reply_without_words", DIED, FORGE + "say(b'', 2, 0, 0, 0, 0)\nos._exit(0)"),
    ("reply_that_overflows", DIED, FORGE + "say(b'x', 0, 2**16, 2**16, 2**32 - 1, 0)\nos._exit(0)"),
    ("reply_of_half_a_pixel", DIED, FORGE + "say(bytes(242), 0, 9, 9, 242, 0)\nos._exit(0)"),
    ("reply_of_escape_codes", ("exception",), FORGE +
     "w = b'\\x1b[2J\\r\\n\\xff\\xfe<script>'\nsay(w, 2, 0, 0, 0, len(w))\n"
     "os._exit(0)"),
    ("reply_by_another_handle", ("ok", *DIED), "import os\nn = os.dup(0)\nos.close(0)\nos.write(n, b'junk')\ndraw"),
    ("nonblocking_reply", ("ok", *DIED), "import os\nos.set_blocking(0, False)\ndraw"),
    # files by links and names
    ("link_into_itself", REFUSED, "import os\nos.symlink('.', 'loop')\ndraw"),
    ("socket_in_the_folder", REFUSED, "import os, stat\nos.mknod('s', 0o600 | stat.S_IFSOCK)\ndraw"),
    ("names_of_windows", FINE,
     "for n in ('CON', 'NUL.txt', 'a\\\\..\\\\b', 'x:stream', 'dot.'): open(n, 'w').close()\ndraw"),
    ("climb_by_windows_path", FINE, "open('..\\\\..\\\\secret', 'w').close()\ndraw"),
    ("open_by_empty_path", REFUSED, C + "f = os.open('.', os.O_PATH)\ncall(265, f, b'', -100, b'x', 0x1000)\ndraw"),
    ("exchange_with_parent", REFUSED, C + "call(316, -100, b'.', -100, b'..', 2)\ndraw"),
    ("library_folder_renamed", REFUSED,
     "import numpy, os\nd = os.path.dirname(numpy.__file__)\nos.rename(d, d + 'x')\ndraw"),
    ("handle_by_name", REFUSED, C + "call(303, -100, b'.', b'\\0' * 64, b'\\0' * 8, 0)\ndraw"),
    # what a model could read of the machine
    ("kernel_addresses", REFUSED, "open('/proc/kallsyms').read()\ndraw"),
    ("own_maps", REFUSED, "open('/proc/self/maps').read()\ndraw"),
    ("machine_identity", REFUSED, "open('/etc/machine-id').read()\ndraw"),
    ("system_folder", REFUSED, "import os\nos.listdir('/sys')\ndraw"),
    ("control_groups", REFUSED, "open('/proc/self/cgroup').read()\ndraw"),
    ("terminal_name", REFUSED, "import os\nos.ttyname(0)\ndraw"),
    ("arguments_of_the_server", FINE, "import sys\nassert 'folder' not in ' '.join(sys.argv + sys.orig_argv)\ndraw"),
    ("hardware_counters", REFUSED, C + "call(334, 0, 0, 0, 0) and call(446, 0, 0, 0)\ndraw"),
]  # fmt: skip
