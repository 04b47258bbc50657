"""The second red team's programs, by class, tried after the first corpus had been shut; `hostile_charts` adds them."""

from tests.serving.jailed.attack_forms import DIED, FINE, FORGE, REFUSED, SLOW, C

SHADOW = (
    "import os\nfor n in ('traceback', 'linecache', 'select', 'signal', 'stat', 'json', 'encodings', 'random', 'fcntl',"
    " 'serving', 'matplotlib', 'sitecustomize', 'usercustomize'):\n"
    "    open(n + '.py', 'w').write('raise SystemExit(9)')\n"
)

SECOND: list[tuple[str, tuple[str, ...], str]] = [
    # files by other ways
    ("own_modules_for_the_server", FINE, SHADOW + "draw"),
    ("own_modules_and_death", DIED, SHADOW + "os._exit(1)"),
    ("settings_file_for_the_next", FINE, "open('matplotlibrc', 'w').write('figure.figsize: 1, 1')\ndraw"),
    ("path_only_handle", REFUSED, "import os\nos.read(os.open('$FILE', os.O_PATH), 1)\ndraw"),
    ("path_handle_of_root", REFUSED, "import os\nos.listdir(os.open('/', os.O_PATH))\ndraw"),
    ("nameless_file_outside", REFUSED, "import os\nos.open('/usr', os.O_TMPFILE | os.O_RDWR)\ndraw"),
    ("climb_by_handle", REFUSED, "import os\nd = os.open('.', 0)\nos.open('../etc/passwd', 0, dir_fd=d)\ndraw"),
    ("memory_map_of_file", REFUSED, "import numpy\nnumpy.memmap('$FILE', mode='r')\ndraw"),
    ("read_by_numpy", REFUSED, "import numpy\nnumpy.fromfile('$FILE', 'u1')\ndraw"),
    ("read_by_url", REFUSED, "import urllib.request as u\nu.urlopen('file://$FILE').read()\ndraw"),
    ("read_by_linecache", REFUSED, "import linecache\nraise ValueError(linecache.getline('$FILE', 1) or 'none')"),
    ("read_by_style", REFUSED, "import matplotlib.pyplot as plt\nplt.style.use('$FILE')\nplt.plot([1])"),
    ("font_from_outside", REFUSED, "draw\nplt.title('x', font='$FILE')\nopen('$FILE')"),
    ("terminal_device", REFUSED, "open('/dev/ptmx', 'r+b', buffering=0)\ndraw"),
    ("random_device_write", REFUSED, "open('/dev/urandom', 'wb').write(b'x')\ndraw"),
    ("links_of_processes", ("ok", *REFUSED), "import os\nfor p in range(1, 99):\n    try:\n"
     "        assert not os.readlink(f'/proc/{p}/cwd').startswith('/home')\n    except OSError: pass\ndraw"),
    ("path_in_link_words", ("exception", "forbidden"), "import os\nraise ValueError(os.readlink('/proc/self/exe'))"),
    ("library_from_own_folder", REFUSED, "import ctypes\nopen('e.so', 'wb').write(b'\\x7fELF')\nctypes.CDLL('./e.so')"),
    ("hard_link_own", REFUSED, "import os\nopen('a', 'w').close()\nos.link('a', 'b')\ndraw"),
    ("swap_own_folder", REFUSED, "import os\nos.mkdir('d')\nos.rename('d', os.getcwd() + '/../d')\ndraw"),
    # calls that nothing needs
    ("spawn", REFUSED, "import os\nos.posix_spawn('/bin/true', ['true'], {})\ndraw"),
    ("fork_with_terminal", REFUSED, "import os\nos.forkpty()\ndraw"),
    ("pool_of_processes", REFUSED, "from concurrent.futures import ProcessPoolExecutor as P\n"
     "print(P(1).submit(len, 'x').result(9))\ndraw"),
    ("event_file", REFUSED, "import os\nos.eventfd(0)\ndraw"),
    ("signal_to_own_thread", REFUSED, C + "call(234, os.getpid(), call(186), 9)\ndraw"),
    ("crypto_socket", REFUSED, C + "call(41, 38, 5, 0)\ndraw"),
    ("hypervisor_socket", REFUSED, C + "call(41, 40, 1, 0)\ndraw"),
    ("secret_memory", REFUSED, C + "call(447, 0)\ndraw"),
    ("landlock_again", REFUSED, C + "call(444, None, 0, 1)\ndraw"),
    ("personality", REFUSED, C + "call(135, 0x0040000)\ndraw"),
    ("swap_off", REFUSED, C + "call(168, b'/x')\ndraw"),
    ("move_pages", REFUSED, C + "call(279, 1, 0, None, None, None, 0)\ndraw"),
    ("compare_kernel_objects", REFUSED, C + "call(312, os.getpid(), os.getppid(), 0, 0, 0)\ndraw"),
    ("own_debug_registers", REFUSED, C + "call(158, 0x1001, None)\ndraw"),
    ("new_mount_calls", REFUSED, C + "call(430, b'tmpfs', 0)\ndraw"),
    ("file_as_message_queue", REFUSED, C + "call(240, b'/q', 0o102, 0o600, None)\ndraw"),
    # size of a picture after it was looked at
    ("grow_while_drawing", ("ok", "too_large"), "draw\nf = plt.gcf()\n"
     "f.canvas.mpl_connect('dr' 'aw_event', lambda e: f.set_size_inches(900, 900))\nplt.savefig('x')"),
    ("size_of_two_minds", ("ok", "too_large", "exception", "crashed", "memory"),
     "draw\nclass F(type(plt.gcf())):\n    n = 0\n    def get_size_inches(self):\n        F.n += 1\n"
     "        import numpy\n        return numpy.array([2., 2.]) * (500 if F.n % 2 else 1)\n"
     "plt.gcf().__class__ = F\nplt.savefig('x')"),
    ("canvas_of_false_size", ("ok", "exception", "too_large", "crashed", "memory"),
     "draw\nc = plt.gcf().canvas\nc.get_width_height = lambda *a, **k: (9, 9)\nplt.savefig('x')"),
    ("buffer_of_false_shape", ("exception", "crashed", "memory", "no_figure", "too_large"),
     "draw\nimport numpy\nfrom matplotlib.backends.backend_agg import FigureCanvasAgg as F\n"
     "F.buffer_rgba = lambda self: numpy.zeros((3, 99999999, 4), 'u1')[:, :7]\nplt.savefig('x')"),
    ("dpi_of_no_number", ("ok", "exception"), "draw\nplt.savefig('x', dpi=float('nan'))"),
    ("dpi_below_nothing", ("ok", "exception"), "draw\nplt.savefig('x', dpi=-5)"),
    ("endless_size", ("exception", "too_large"), "import matplotlib.pyplot as plt\n"
     "plt.figure(figsize=(float('inf'), 1)).savefig('x')"),
    ("own_backend", ("ok", "no_figure", "exception"), "import sys, types\nm = types.ModuleType('evil')\n"
     "sys.modules['evil'] = m\nimport matplotlib\nmatplotlib.use('module://evil')\ndraw"),
    # words of a failure
    ("syntax_of_its_own", ("exception", "syntax"), "raise SyntaxError('x', ('f', 10**20, -3, b'y', 'z', None))"),
    ("group_in_group", ("exception",), "e = ValueError('x')\nfor _ in range(3000): e = ExceptionGroup('g', [e])\n"
     "raise e"),
    ("causes_in_a_circle", ("exception",), "a, b = ValueError('a'), ValueError('b')\na.__cause__ = b\nb.__cause__ = a\n"
     "raise a"),
    ("error_of_odd_class", ("exception",), "class M(type):\n    def __str__(c): 1 / 0\n    __repr__ = __str__\n"
     "    __name__ = property(__str__)\nclass E(Exception, metaclass=M): pass\nraise E"),
    ("refusal_of_its_own", REFUSED, "raise PermissionError(13, type('X', (), {'__str__': lambda s: 1 / 0})())"),
    ("escape_codes_in_words", ("exception",), "raise ValueError('\\x1b]0;x\\x07\\x1b[2J\\u202e\\r\\n<b>')"),
    ("exit_with_odd_code", ("no_figure", "exception"), "import sys\n"
     "sys.exit(type('X', (), {'__str__': lambda s: 1 / 0})())"),
    ("surrogates_in_words", ("exception",), "raise ValueError('\\ud800' * 99)"),
    # time and memory by drawing
    ("thread_burns_after_the_end", ("ok", *SLOW), "import threading\nfor _ in range(9):\n"
     "    threading.Thread(target=lambda: sum(iter(int, 1)), daemon=True).start()\ndraw"),
    ("drip_reply", SLOW, "import os, time\nwhile True: os.write(0, b'\\0'); time.sleep(.3)"),
    ("half_a_reply", SLOW, FORGE + "say(b'x', 0, 9, 9, 243, 0)\nimport time\ntime.sleep(600)"),
    ("deep_formula", ("ok", "exception", "crashed", *SLOW), "draw\n"
     "plt.title('$' + '\\\\frac{1}{' * 400 + '1' + '}' * 400 + '$')"),
    ("huge_letters", ("ok", "exception", "memory", "crashed", *SLOW), "draw\nplt.title('W' * 99, fontsize=50000)"),
    ("dense_hatch", ("ok", "exception", "memory", *SLOW), "draw\nplt.bar([1], [2], hatch='x' * 20000)"),
    ("artist_of_itself", ("ok", "exception", "crashed", *SLOW), "draw\na = plt.gca()\na.get_children = lambda: [a]\n"
     "plt.savefig('x', bbox_inches='tight')"),
    ("endless_animation", ("ok", "exception", "forbidden", *SLOW), "draw\nfrom matplotlib.animation import *\n"
     "FuncAnimation(plt.gcf(), lambda i: [], frames=iter(int, 1), save_count=10**9)"
     ".save('x.gif', writer=PillowWriter())"),
    ("memory_map", ("memory", "exception"), "import mmap\nmmap.mmap(-1, 10**13)"),
    ("many_pipes", ("exception",), "import os\nfor _ in range(999): os.write(os.pipe()[1], bytes(65536))"),
    ("finalizers_without_end", ("ok", *SLOW, *DIED), "class E:\n    def __del__(self): E()\nE()\ndraw"),
]  # fmt: skip
