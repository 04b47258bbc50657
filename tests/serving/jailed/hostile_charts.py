"""Programs that attack the chart renderer: a name, the outcomes that are right, and the source.

`draw` in a source is a chart: an attack whose success is the picture ("ok" is then wrong), or one that must change
nothing ("ok" is then right). $FILE is a file outside, $TARGET a picture beside it, $TCP and $UDP listening ports on the
loopback, $SERVER and $WORKER process ids outside the jail. An attack whose outcomes include "timeout" meets a short
deadline, every other one a deadline that no load of the machine makes it miss.
"""

from string import Template

from tests.serving.jailed.attack_forms import DIED, FORGE, REFUSED, SLOW, C
from tests.serving.jailed.hostile_charts_second import SECOND
from tests.serving.jailed.hostile_charts_third import THIRD

DRAW = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\n"
LOCK = "import fcntl, numpy, struct\nshared = open(numpy.__file__)\n"

ATTACKS: list[tuple[str, tuple[str, ...], str]] = [
    # files
    ("read_file", REFUSED, "open('$FILE').read()\ndraw"),
    ("read_target", REFUSED, "import matplotlib.image as m\nm.imread('$TARGET')\ndraw"),
    ("read_target_pillow", REFUSED, "from PIL import Image\nImage.open('$TARGET').load()\ndraw"),
    ("write_file", REFUSED, "open('$FILE', 'w').write('x')\ndraw"),
    ("append_file", REFUSED, "open('$FILE', 'a').write('x')\ndraw"),
    ("delete_file", REFUSED, "import os\nos.unlink('$FILE')\ndraw"),
    ("rename_file", REFUSED, "import os\nos.rename('$FILE', '$FILE.gone')\ndraw"),
    ("link_file", REFUSED, "import os\nos.link('$FILE', 'here')\ndraw"),
    ("symlink_file", REFUSED, "import os\nos.symlink('$FILE', 'here')\nopen('here').read()\ndraw"),
    ("chmod_file", REFUSED, "import os\nos.chmod('$FILE', 0)\ndraw"),
    ("chmod_folder", REFUSED, "import os\nos.chmod('..', 0)\ndraw"),
    ("chmod_own_folder", REFUSED, "import os\nos.chmod('.', 0)\ndraw"),
    ("utime_file", REFUSED, "import os\nos.utime('$FILE')\ndraw"),
    ("chown_own", REFUSED, "import os\nos.chown('.', 0, 0)\ndraw"),
    ("truncate_file", REFUSED, "import os\nos.truncate('$FILE', 0)\ndraw"),
    ("remove_folder", REFUSED, "import os\nos.rename('.', '../elsewhere')\ndraw"),
    ("read_passwd", REFUSED, "open('/etc/passwd').read()\ndraw"),
    ("list_home", REFUSED, "import os\nos.listdir('/root')\ndraw"),
    ("list_temporary", ("ok",), "import os\nassert os.listdir('/tmp') == os.listdir('.') == []\ndraw"),
    ("climb_from_temporary", REFUSED, "import os\nos.listdir('/mnt/data/..')\ndraw"),
    ("truncate_own", REFUSED, "import os\nopen('x', 'w').close()\nos.truncate('x', 0)\ndraw"),
    ("truncate_by_reading", REFUSED, "import numpy, os\nos.open(numpy.__file__, os.O_RDONLY | os.O_TRUNC)\ndraw"),
    ("write_library", REFUSED, "import numpy\nopen(numpy.__file__, 'a').write('#')\ndraw"),
    ("write_bytecode", REFUSED, "import os\nopen(os.path.dirname(os.__file__) + '/canary.py', 'w').write('')\ndraw"),
    ("device", REFUSED, "open('/dev/mem', 'rb').read(1)\ndraw"),
    ("make_device", REFUSED, "import os, stat\nos.mknod('d', 0o600 | stat.S_IFBLK, os.makedev(8, 0))\ndraw"),
    ("make_fifo", REFUSED, "import os\nos.mkfifo('p')\nopen('p')\ndraw"),
    ("mount", REFUSED, C + "call(165, b'none', b'/', b'tmpfs', 0, None)\ndraw"),
    ("chroot", REFUSED, "import os\nos.chroot('.')\ndraw"),
    ("shared_memory_file", REFUSED, "open('/dev/shm/canary', 'w').write('x')\ndraw"),
    (
        "shared_memory_module",
        REFUSED,
        "from multiprocessing import shared_memory as s\ns.SharedMemory('x', True, 9)\ndraw",
    ),
    ("open_by_handle", REFUSED, C + "call(304, 0, b'\\0' * 32, 0)\ndraw"),
    ("open_tree", REFUSED, C + "call(428, -100, b'/', 1)\ndraw"),
    ("pivot_root", REFUSED, C + "call(155, b'.', b'.')\ndraw"),
    ("watch_files", REFUSED, C + "call(253)\ndraw"),
    ("set_attributes", REFUSED, "import os\nos.setxattr('.', 'user.x', b'1')\ndraw"),
    ("sibling_render", REFUSED, "open('left-behind').read()\ndraw"),
    ("leave_behind", ("ok",), "open('left-behind', 'w').write('secret')\ndraw"),
    # secrets of the process and its neighbours
    ("environment", ("exception",), "import os\nos.environ['RRVF_CANARY']\ndraw"),
    ("own_environ", REFUSED, "open('/proc/self/environ').read()\ndraw"),
    ("server_environ", REFUSED, "open('/proc/$SERVER/environ').read()\ndraw"),
    ("parent_memory", REFUSED, "import os\nopen(f'/proc/{os.getppid()}/mem', 'r+b')\ndraw"),
    ("list_processes", REFUSED, "import os\nos.listdir('/proc')\ndraw"),
    ("read_memory_call", REFUSED, C + "call(310, os.getppid(), None, 0, None, 0, 0)\ndraw"),
    ("ptrace", REFUSED, C + "call(101, 16, os.getppid(), 0, 0)\ndraw"),
    ("keyring", REFUSED, C + "call(250, 0, -3, 0)\ndraw"),
    ("add_key", REFUSED, C + "call(248, b'user', b'x', b'y', 1, -3)\ndraw"),
    ("own_memory_file", REFUSED, "open('/proc/self/mem', 'r+b')\ndraw"),
    ("own_descriptors", REFUSED, "import os\nos.listdir('/proc/self/fd')\ndraw"),
    ("root_of_first_process", REFUSED, "import os\nos.listdir('/proc/1/root')\ndraw"),
    (
        "inherited_descriptors",
        ("ok",),
        "import os\nfor n in range(3, 4096):\n    try:\n        os.fstat(n)\n    except OSError:\n        continue\n"
        "    raise SystemError(n)\ndraw",
    ),
    ("write_memory_call", REFUSED, C + "call(311, os.getppid(), None, 0, None, 0, 0)\ndraw"),
    ("user_faults", REFUSED, C + "call(323, 0)\ndraw"),
    ("performance_counters", REFUSED, C + "call(298, b'\\0' * 120, 0, -1, -1, 0)\ndraw"),
    ("kernel_log", REFUSED, C + "call(103, 3, None, 0)\ndraw"),
    # network
    ("tcp", REFUSED, "import socket\nsocket.create_connection(('127.0.0.1', $TCP), 1).send(b'x')\ndraw"),
    ("udp", REFUSED, "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', $UDP))\ndraw"),
    ("http", REFUSED, "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:$TCP/x', timeout=1)\ndraw"),
    ("read_csv_url", REFUSED, "import pandas\npandas.read_csv('http://127.0.0.1:$TCP/x.csv')\ndraw"),
    ("dns", REFUSED, "import socket\nsocket.getaddrinfo('example.com', 80)\ndraw"),
    ("unix_socket", REFUSED, "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/dbus/socket')\ndraw"),
    ("socket_pair", REFUSED, "import socket\nsocket.socketpair()\ndraw"),
    ("raw_socket_call", REFUSED, C + "call(41, 2, 1, 0)\ndraw"),
    ("abstract_socket", REFUSED, "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0canary')\ndraw"),
    ("netlink", REFUSED, "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\ndraw"),
    ("asyncio_loop", REFUSED, "import asyncio\nasyncio.run(asyncio.sleep(0))\ndraw"),
    ("x32_socket", (*REFUSED, *DIED), C + "call(0x40000000 + 41, 2, 1, 0)\ndraw"),
    (
        "call_of_32_bits",  # another table of system calls: mov eax, 20 (getpid); int 0x80; ret
        DIED,
        "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(bytes.fromhex('b814000000cd80c3'))\n"
        "a = ctypes.addressof(ctypes.c_char.from_buffer(m))\nassert ctypes.CFUNCTYPE(ctypes.c_int)(a)() > 0\ndraw",
    ),
    ("io_uring", REFUSED, C + "call(425, 8, None)\ndraw"),
    # processes and signals
    (
        "shell",
        ("no_figure", *REFUSED),
        "import os\nif os.system('echo x > $FILE') == 0:\n    draw",
    ),
    ("subprocess", REFUSED, "import subprocess\nsubprocess.run(['true'])\ndraw"),
    ("fork", REFUSED, "import os\nos.fork()\ndraw"),
    ("fork_bomb", REFUSED, "import os\nwhile True: os.fork()"),
    ("multiprocessing", REFUSED, "import multiprocessing as m\nm.Process(target=print).start()\ndraw"),
    ("exec", REFUSED, "import os\nos.execv('/bin/true', ['true'])\ndraw"),
    ("vfork_call", REFUSED, C + "call(58)\ndraw"),
    ("kill_server", REFUSED, "import os\nos.kill(os.getppid(), 9)\ndraw"),
    ("kill_worker", REFUSED, "import os\nos.kill($WORKER, 9)\ndraw"),
    ("kill_all", REFUSED, "import os\nos.kill(-1, 9)\ndraw"),
    ("kill_group", REFUSED, "import os\nos.killpg(0, 9)\ndraw"),
    ("pidfd_kill", REFUSED, "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)\ndraw"),
    ("queue_signal", REFUSED, C + "call(129, os.getppid(), 9, None)\ndraw"),
    (
        "owner_signal",
        REFUSED,
        "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())\nfcntl.fcntl(r, 10, 9)\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')\ndraw",
    ),
    ("owner_ioctl", REFUSED, "import fcntl, os\nr, w = os.pipe()\nfcntl.ioctl(r, 0x8901, b'\\0\\0\\0\\0')\ndraw"),
    ("nice_server", REFUSED, "import os\nos.setpriority(0, os.getppid(), 19)\ndraw"),
    (
        "limits_of_server",
        REFUSED,
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\ndraw",
    ),
    ("raise_limits", REFUSED, "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))\ndraw"),
    ("namespace", REFUSED, C + "call(272, 0x10000000)\ndraw"),
    ("clone_namespace", REFUSED, C + "call(56, 0x10000000 | 17, None, None, None, 0)\ndraw"),
    ("clone3", REFUSED, C + "call(435, b'\\0' * 88, 88)\ndraw"),
    ("enter_namespace", REFUSED, C + "call(308, 0, 0)\ndraw"),
    ("become_root", REFUSED, "import os\nos.setuid(0)\ndraw"),
    ("allow_tracing", REFUSED, C + "call(157, 4, 1)\ndraw"),
    ("survive_the_server", REFUSED, C + "call(157, 1, 0)\ndraw"),
    ("new_session", REFUSED, "import os\nos.setsid()\ndraw"),
    ("scheduler", REFUSED, "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(9))\ndraw"),
    ("affinity", REFUSED, "import os\nos.sched_setaffinity(0, {0})\ndraw"),
    ("lock_memory", REFUSED, C + "call(151, 3)\ndraw"),
    ("reboot", REFUSED, C + "call(169, 0xfee1dead, 672274793, 0, None)\ndraw"),
    ("load_module", REFUSED, C + "call(175, b'x', 1, b'')\ndraw"),
    ("set_clock", REFUSED, "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)\ndraw"),
    ("execute_memory", REFUSED, C + "call(322, 0, b'', None, None, 0x1000)\ndraw"),
    ("terminal_input", REFUSED, "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')\ndraw"),
    ("semaphore", REFUSED, "import multiprocessing as m\nm.Semaphore()\ndraw"),
    (
        "pickled_shell",
        ("no_figure", *REFUSED),
        "import os, pickle\nclass E:\n    def __reduce__(self): return os.system, ('echo x > $FILE',)\n"
        "if pickle.loads(pickle.dumps(E())) == 0:\n    draw",
    ),
    ("stop_self", REFUSED, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\ndraw"),
    ("alarm_self", DIED, "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(600)"),
    ("new_seccomp", REFUSED, C + "call(317, 1, 0, None)\ndraw"),
    ("load_bpf", REFUSED, C + "call(321, 0, None, 0)\ndraw"),
    ("shared_memory", REFUSED, C + "call(29, 7, 4096, 0o1777)\ndraw"),
    ("message_queue", REFUSED, C + "call(68, 7, 0o1777)\ndraw"),
    ("memory_file", REFUSED, "import os\nos.memfd_create('x')\ndraw"),
    # time and memory
    ("busy_loop", SLOW, "while True: pass"),
    ("busy_native", SLOW, "sum(range(10**12))"),
    ("busy_regex", SLOW, "import re\nre.match('(a+)+$$', 'a' * 60 + 'b')"),
    ("ignore_cpu_signal", SLOW, "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"),
    ("swallow_everything", SLOW, "while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
    ("sleep", SLOW, "import time\ntime.sleep(600)"),
    ("wait_for_input", ("exception",), "input()\ndraw"),
    ("lock", SLOW, "import threading\nl = threading.Lock()\nl.acquire(); l.acquire()"),
    ("memory_list", ("memory", *SLOW), "x = []\nwhile True: x.append(bytearray(50_000_000))"),
    ("memory_array", ("memory",), "import numpy\nnumpy.ones(10**11)"),
    ("memory_string", ("memory",), "'x' * 10**12"),
    ("memory_swallowed", ("ok",), "try:\n    'x' * 10**12\nexcept MemoryError:\n    pass\ndraw"),
    ("pixels", ("too_large",), "import matplotlib.pyplot as plt\nplt.figure(figsize=(500, 500)).savefig('x')"),
    ("pixels_thin", ("too_large",), "import matplotlib.pyplot as plt\nplt.figure(figsize=(10001, 0.03)).savefig('x')"),
    ("pixels_tall", ("too_large",), "import matplotlib.pyplot as plt\nplt.figure(figsize=(0.02, 9000)).savefig('x')"),
    ("pixels_by_dpi", ("ok",), "draw\nplt.savefig('x', dpi=20000)"),
    ("pixels_tight", ("too_large",), "draw\nplt.text(1e5, 1e5, 'far')\nplt.savefig('x', bbox_inches='tight')"),
    (
        "threads",
        ("exception", "memory", *REFUSED, *SLOW),
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
    ),
    ("descriptors", ("exception",), "import os\nwhile True: os.dup(0)"),
    ("open_files", ("exception",), "x = []\nwhile True: x.append(open('f', 'w'))"),
    ("many_axes", SLOW, "import matplotlib.pyplot as plt\nplt.subplots(300, 300)"),
    (
        "ticks",
        ("ok", "exception", "memory", *SLOW),
        "draw\nplt.gca().xaxis.set_major_locator(plt.MultipleLocator(1e-7))",
    ),
    ("no_size", ("exception",), "import matplotlib.pyplot as plt\nplt.figure(figsize=(0, float('nan'))).savefig('x')"),
    ("image_bomb", ("memory",), "draw\nimport numpy\nplt.imshow(numpy.zeros((60000, 60000)))"),
    ("source_bomb", ("too_large",), "#" * 1_000_001),
    ("endless_words", SLOW, "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E"),
    ("huge_words", ("exception",), "raise ValueError('x' * 10**8)"),
    (
        "busy_thread",
        ("ok", *SLOW),
        "import threading\ndef f():\n    while True: pass\nthreading.Thread(target=f).start()\ndraw",
    ),
    (
        "thread_outlives",
        ("ok",),
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\ndraw",
    ),
    ("at_exit", ("ok",), "import atexit, time\natexit.register(time.sleep, 600)\ndraw"),
    ("finalizer", ("ok",), "import time\nclass E:\n    def __del__(self): time.sleep(600)\nkeep = E()\ndraw"),
    ("fill_disk", REFUSED, "x = 0\nwhile True:\n    x += 1\n    open(f'f{x}', 'wb').write(bytes(15_000_000))"),
    ("large_file", (*REFUSED, *DIED), "f = open('big', 'wb')\nwhile True: f.write(bytes(1_000_000)); f.flush()"),
    ("flood_output", ("ok", *SLOW), "for _ in range(20000): print('x' * 1000)\ndraw"),
    (
        "deep_recursion",
        (*DIED, *SLOW, "exception", "memory"),
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    ),
    ("nested_source", ("syntax", "memory"), "(" * 50_000),
    ("nested_expression", ("syntax", "memory", "crashed"), "x = " + "-" * 90_000 + "1"),
    ("many_files", (*SLOW, "ok", *REFUSED), "for x in range(3000): open(f'f{x}', 'w').close()\ndraw"),
    (
        "deep_folders",
        (*SLOW, "ok", *REFUSED),
        "import os\nfor x in range(2000):\n    os.mkdir('d'); os.chdir('d')\ndraw",
    ),
    ("many_folders", REFUSED, "import os, time\nfor x in range(60000): os.mkdir(f'f{x}')\ntime.sleep(9)\ndraw"),
    (
        "many_threads",
        ("forbidden", "exception", "memory"),
        "import threading, time\nthreading.stack_size(65536)\nfor _ in range(5000):\n"
        "    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\ntime.sleep(9)\ndraw",
    ),
    (
        "closed_folder",
        ("ok",),
        "import os\nos.mkdir('d')\nopen('d/f', 'w').close()\nos.umask(0o477)\nos.mkdir('e')\nos.mkdir('k', 0o300)\n"
        "open('k/x', 'w').close()\ndraw",
    ),
    (
        "long_names",
        ("ok",),
        "import os\nfor _ in range(24):\n    os.mkdir('d' * 250); os.chdir('d' * 250)\nopen('x', 'w').close()\ndraw",
    ),
    (
        "names_of_tidying",
        ("ok",),
        "import os\nfor x in range(9): os.makedirs(f'.up-{x}-2/.up-{x + 1}-2/a/b')\ndraw",
    ),
    # channels to a neighbour: its jail has the same library files
    (
        "record_lock",
        REFUSED,
        LOCK + "fcntl.lockf(shared, fcntl.LOCK_SH | fcntl.LOCK_NB)\ndraw",
    ),
    (
        "ask_for_lock",
        REFUSED,
        LOCK + "fcntl.fcntl(shared, fcntl.F_GETLK, struct.pack('hhqqi', 1, 0, 0, 0, 0))\ndraw",
    ),
    ("open_file_lock", REFUSED, LOCK + "fcntl.fcntl(shared, 37, bytes(32))\ndraw"),
    ("whole_file_lock", REFUSED, LOCK + "fcntl.flock(shared, fcntl.LOCK_SH)\ndraw"),
    ("lease", REFUSED, LOCK + "fcntl.fcntl(shared, 1024, 0)\ndraw"),
    ("grow_pipe", REFUSED, "import fcntl, os\nfcntl.fcntl(os.pipe()[0], 1031, 2**20)\ndraw"),
    # the way back to the server
    ("exit_at_once", DIED, "import os\nos._exit(0)"),
    ("exit_code", ("no_figure",), "import sys\nsys.exit(3)"),
    ("abort", DIED, "import os\nos.abort()"),
    ("segfault", DIED, "import ctypes\nctypes.string_at(0)"),
    ("junk_reply", DIED, "import os\nos.write(0, b'junk' * 1000)\nos._exit(0)"),
    (
        "huge_reply",
        DIED,
        FORGE + "say(b'', 0, 1 << 30, 1 << 30, 1 << 31, 0)\nos._exit(0)",
    ),
    (
        "short_pixels",
        DIED,
        FORGE + "say(b'x', 0, 9, 9, 243, 0)\nos._exit(0)",
    ),
    ("false_kind", DIED, FORGE + "say(b'x', 77, 0, 0, 0, 1)\nos._exit(0)"),
    (
        "claims_time",
        DIED,
        FORGE + "say(b'late', 3, 0, 0, 0, 4)\nos._exit(0)",
    ),
    (
        "claims_death",
        DIED,
        FORGE + "say(b'dead', 8, 0, 0, 0, 4)\nos._exit(0)",
    ),
    (
        "wide_reply",
        DIED,
        FORGE + "say(bytes(3000000), 0, 1000000, 1, 3000000, 0)\nos._exit(0)",
    ),
    ("flat_reply", DIED, FORGE + "say(b'', 0, 9, 0, 0, 0)\nos._exit(0)"),
    (
        "failure_with_picture",
        DIED,
        FORGE + "say(bytes(244), 2, 9, 9, 243, 1)\nos._exit(0)",
    ),
    ("endless_reply", (*DIED, *SLOW), "import os\nwhile True: os.write(0, bytes(65536))"),
    ("read_requests", ("exception",), "import os\nos.read(0, 9)\ndraw"),
    (
        "forged_failure",  # of its own program only, and what follows is not read
        ("exception",),
        FORGE + "say(b'mine', 2, 0, 0, 0, 4)\ndraw",
    ),
    (
        "forged_picture",  # the same as drawing it
        ("ok",),
        FORGE + "say(bytes(243), 0, 9, 9, 243, 0)\nos._exit(0)",
    ),
    (
        "forged_pictures",  # the first counts, what follows is not read
        ("ok",),
        "import os, struct\nf = struct.pack('!BIIII', 0, 9, 9, 243, 0)\nos.write(0, (f + bytes(243)) * 9)\nos._exit(0)",
    ),
    (
        "words_too_long",
        DIED,
        FORGE + "say(b'x' * 9999, 2, 0, 0, 0, 9999)\nos._exit(0)",
    ),
    (
        "thread_writes_junk",
        ("ok", "exception", *DIED),
        "import os, threading\ndef f():\n    for _ in range(99): os.write(0, b'junk' * 9999)\n"
        "threading.Thread(target=f).start()\ndraw",
    ),
    ("close_reply", DIED, "import os\nos.closerange(0, 256)\ndraw"),
    ("patch_json", ("ok",), "import json, struct\njson.dumps = json.loads = struct.pack = None\ndraw"),
    (
        "patch_builtins",
        ("ok", "exception", "crashed"),
        "draw\nimport builtins\nbuiltins.len = builtins.isinstance = None",
    ),
    ("patch_numpy", ("ok",), "import numpy\nnumpy.random.seed = lambda *a: None\nnumpy.pi = 3\ndraw"),
    ("patch_rcparams", ("ok",), "import matplotlib\nmatplotlib.rcParams['figure.figsize'] = (1, 1)\ndraw"),
    ("patch_save", ("ok",), "draw\nimport matplotlib.figure as f\nf.Figure.savefig = print\nplt.savefig('x')"),
    (
        "patch_canvas",
        ("exception",),
        "from matplotlib.backends.backend_agg import FigureCanvasAgg as F\nF.buffer_rgba = print\ndraw",
    ),
    (
        "patch_capture",
        ("exception", "no_figure", *DIED),
        "import __main__, serving.jailed.capture as c\nc.Capture._keep = c.Capture.take = __main__.REPLY = None\ndraw",
    ),
    (
        "poison_modules",
        ("ok", "exception"),
        "import sys, types\nfor n in ('random', 'json', 'PIL.Image', 'struct', 'numpy.random'):\n"
        "    sys.modules[n] = types.ModuleType(n)\ndraw",
    ),
    ("paths_in_words", ("exception",), "import sys\nraise ValueError(sys.path, sys.prefix, sys.argv, sys.executable)"),
    ("settings_in_words", ("exception",), "import sys\nraise ValueError(sys.argv[-1])"),
    (
        "unload_matplotlib",
        ("ok", "no_figure", "exception"),
        "import sys\nsys.modules.clear()\nimport matplotlib.pyplot",
    ),
    ("strange_error", ("exception",), "class E(Exception):\n    def __str__(self): raise ValueError\nraise E"),
    ("interrupt", ("exception",), "raise KeyboardInterrupt"),
    ("generator_exit", ("exception",), "raise GeneratorExit"),
    ("null_bytes", ("syntax",), "x = 1\0"),
    ("surrogates", ("syntax", "ok", "no_figure", "exception"), "x = '\ud800'"),
    (
        "latex",
        ("exception", "forbidden"),
        "import matplotlib as m\nm.rcParams['text.usetex'] = True\ndraw\nplt.title('x')",
    ),
    *SECOND,
    *THIRD,
]


def source(attack: str, **places: object) -> str:
    """The program of an attack, its canaries filled in."""
    return Template(attack.replace("draw", DRAW.strip().replace("\n", "; "))).safe_substitute(
        {name: str(value) for name, value in places.items()}
    )
