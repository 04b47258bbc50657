"""A program finds nothing of the programs before it, wherever in its memory it looks."""

import asyncio

from configs.schema import Render, Sandbox
from serving.render.charts import ChartRenderer

WORD = "kept-to-itself"
SIZES = (40, 200, 490, 1_020, 1_905, 4_000, 20_000, 100_000, 400_000, 900_000)
MASKED = bytes(letter ^ 1 for letter in WORD.encode())
# Copies every mapped page of this process through a pipe, by which an address without memory is an error and no crash,
# and counts a word that the program itself never holds: it looks for the word and the page with one bit turned in each.
SCAN = f"""
import ctypes, os
import numpy
libc = ctypes.CDLL(None)
libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
reader, writer = os.pipe()
place = numpy.empty(1 << 24, numpy.uint8)
seen, pages, found, tail = set(), 0, 0, b""
for start in (libc.sbrk(0) - (300 << 20), place.ctypes.data - (300 << 20), id(object()) - (150 << 20)):
    for page in range(start & ~4095, (start & ~4095) + (600 << 20), 4096):
        if page in seen:
            continue
        seen.add(page)
        if libc.write(writer, page, 4096) == 4096:
            text = (numpy.frombuffer(os.read(reader, 4096), numpy.uint8) ^ 1).tobytes()
            pages += 1
            found += (tail + text).count({MASKED!r})
            tail = text[-{len(WORD) - 1}:]
raise ValueError(f"{{pages > 5000}} {{found > 0}}")
"""
PLANTED = "x = 'WORD' + ' again' * 100\nimport matplotlib.pyplot as plt\nplt.title(x[:14])\n#"


async def test_no_program_finds_another_ones_text_in_its_memory() -> None:
    renderer = ChartRenderer(Render(sandbox=Sandbox(cpu_s=60, wall_s=120)))
    try:
        for size in SIZES:
            program = PLANTED.replace("WORD", WORD)
            assert (await renderer.render(program + f" {WORD}" * ((size - len(program)) // 15 + 1))).ok
            broken = f"raise ValueError('{WORD}' * 20)  # {WORD}"
            assert WORD in (await renderer.render(broken)).message
        scan = await renderer.render(SCAN)
        mine = await renderer.render(f"keep = '{WORD}'\n" + SCAN)
    finally:
        await renderer.close()
    assert renderer.starts == 1
    assert "ValueError: True False" in scan.message, scan.message
    assert "ValueError: True True" in mine.message, mine.message


def test_two_programs_at_once_share_no_folder() -> None:
    async def both() -> None:
        first, second = ChartRenderer(Render()), ChartRenderer(Render())
        slow = "import os, time\nopen('left', 'w').write('x')\ntime.sleep(1)\nraise ValueError(os.listdir('/tmp'))"
        look = "import os\nraise ValueError(os.listdir('.'))"
        try:
            one, other = await asyncio.gather(first.render(slow), second.render(look))
            after = await first.render(look)
        finally:
            await first.close()
            await second.close()
        assert "left" in one.message and "ValueError: []" in other.message and "ValueError: []" in after.message

    asyncio.run(both())
