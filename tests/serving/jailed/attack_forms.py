"""What the corpora of hostile programs share: outcomes that are right, and openings of programs."""

REFUSED = ("forbidden", "exception")
DIED = ("crashed",)
SLOW = ("timeout",)
FINE = ("ok",)
# a system call by its number
C = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n    r = libc.syscall(*a)\n    "
C += "if r < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n    return r\n"
# a reply by hand
FORGE = "import os, struct\ndef say(body, *head): os.write(0, struct.pack('!BIIII', *head) + body)\n"
