"""Requests that nobody should send: no answer is a 5xx but 503, nothing hangs, nothing grows.

1,000 of them here; RRVF_MALFORMED=10000 sends as many. Half come from schemathesis and the application's own
description, half are pictures to the routes that take pictures.
"""

import base64
import json
import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis import GenerationMode

from tests.serving.live import Live
from tests.serving.malformed import fuzzed, odd_pictures

COUNT = int(os.environ.get("RRVF_MALFORMED", "1000"))
AT_ONCE = 4
LIMIT_S = 60.0  # of one answer
GROWTH_MB, GROWTH_FDS = 150, 40  # of one process, after it has warmed up
CACHE_MB = 256  # of pictures, in the engine (mm_processor_cache_gb)


def held(live: Live) -> dict[str, tuple[float, int]]:
    """MB of memory and open files of every replica and of the proxy."""
    found = {}
    for name, pid in live.processes().items():
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found[name] = (pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(f"/proc/{pid}/fd")))
    return found


def send_pictures(live: Live, count: int, seed: int) -> Counter[int]:
    odd = [data for data, _ in odd_pictures().values()]

    def send(number: int) -> int:
        dice = random.Random(seed + number)
        data = dice.choice(odd) if dice.random() < 0.2 else fuzzed(dice)
        text = base64.b64encode(data).decode()
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}}
        chat = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 2, "stream": dice.random() < 0.5}
        match dice.randrange(4):
            case 0:
                answer = client.post("/v1/image-to-code", content=data, headers={"content-type": "image/png"})
            case 1:
                answer = client.post("/v1/image-to-code", json={"image": text, "stream": dice.random() < 0.5})
            case 2:
                answer = client.post("/judge", json={"target": text, "render": text})
            case _:
                answer = client.post("/v1/chat/completions", json=chat)
        return answer.status_code

    with httpx.Client(base_url=live.url, timeout=LIMIT_S) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        return Counter(threads.map(send, range(count)))


def send_schema(live: Live, count: int, seed: int) -> Counter[int]:
    """Right and wrong cases of every operation, as schemathesis makes them."""
    api = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    operations = [found.ok() for found in api.get_all_operations()]
    assert {o.path for o in operations} >= {"/v1/image-to-code", "/v1/chat/completions", "/render", "/judge"}
    statuses: Counter[int] = Counter()
    takers = [o for o in operations if o.method == "post"]
    with httpx.Client(base_url=live.url, timeout=LIMIT_S) as client:
        for operation in takers:
            for mode, share in ((GenerationMode.NEGATIVE, 0.9), (GenerationMode.POSITIVE, 0.1)):

                @settings(
                    max_examples=max(1, round(count * share / len(takers))),
                    database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @given(operation.as_strategy(mode))
                def check(case: schemathesis.Case) -> None:
                    answer = case.call(base_url=live.url, timeout=LIMIT_S)
                    statuses[answer.status_code] += 1
                    assert answer.status_code < 500 or answer.status_code == 503, (answer.text, case.as_curl_command())
                    if answer.status_code >= 400:
                        assert answer.json()["error"]["message"], case.as_curl_command()

                seeded(seed)(check)()
        assert client.get("/health").status_code == 200
    return statuses


def test_malformed_requests_break_nothing(live: Live) -> None:
    send_pictures(live, 100, seed=10**9)  # decoders, templates and caches are there from here on
    before = held(live)
    pictures = send_pictures(live, COUNT // 2, seed=0)
    schema = send_schema(live, COUNT // 2, seed=0)
    after = held(live)
    grown = {n: (round(after[n][0] - before[n][0]), after[n][1] - before[n][1]) for n in before}
    print(json.dumps({"pictures": pictures, "schema": schema, "grown_mb_and_files": grown}))
    assert set(pictures) <= {200, 400, 413, 503} and pictures[400] and pictures[200]
    assert all(status < 500 or status == 503 for status in schema)
    assert set(after) == set(before), "a process was replaced"
    for name, (mb, files) in grown.items():
        assert mb <= GROWTH_MB + (CACHE_MB if "Inference" in name else 0) and files <= GROWTH_FDS, grown


def test_the_bodies_of_refused_chats_are_let_go(live: Live) -> None:
    def refused(number: int) -> int:
        junk = base64.b64encode(random.Random(number).randbytes(600_000)).decode()
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{junk}"}}
        chat = {"messages": [{"role": "user", "content": [part]}], "stream": number % 2 == 0}
        return client.post("/v1/chat/completions", json=chat).status_code

    def grown_mb() -> float:
        after = held(live)
        return max(after[name][0] - before[name][0] for name in before if "Inference" in name)

    with httpx.Client(base_url=live.url, timeout=LIMIT_S) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        assert set(threads.map(refused, range(20))) == {400}
        before = held(live)
        assert set(threads.map(refused, range(20, 170))) <= {400, 503}
    assert grown_mb() < 70, "150 bodies of 1.4 MB, text and bytes, would be 210"
