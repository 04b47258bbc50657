"""The run viewer in a browser, over `python -m training.view`."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.serving.pages.browser import WAIT_MS, opened, too_wide
from tests.training.run.made_run import make

ROOT = Path(__file__).parents[3]
EVIL = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make(tmp_path_factory.mktemp("runs") / "made", steps=15)
    lines = path / "trajectories" / "rollout-0.jsonl"
    last = json.loads(lines.read_text().splitlines()[-1])
    for member in last["members"]:
        for turn in member["turns"]:
            turn |= {"text": EVIL, "code": EVIL, "feedback": EVIL, "failure": EVIL, "message": EVIL, "picture": None}
            turn |= {"kind": EVIL, "read": EVIL, "sub_scores": {EVIL: 0.5}}
        member["ending"] = EVIL
    with lines.open("a") as out:
        out.write(json.dumps(last) + "\n")
    return path


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "training.view", str(run), "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found.group()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def groups(page: Page) -> list[int]:
    return [int(label.split()[-1]) for label in page.locator("article.group strong").all_text_contents()]


def test_paging_and_filters(address: str) -> None:
    with opened() as page:
        page.goto(address)
        expect(page.locator("#place")).to_have_text("1–20 of 60")
        assert groups(page) == list(range(59, 39, -1))
        page.get_by_role("button", name="Older").click()
        expect(page.locator("#place")).to_have_text("21–40 of 60")
        assert groups(page) == list(range(39, 19, -1))
        page.get_by_label("State").select_option("stale")
        expect(page.locator("#place")).to_have_text("1–12 of 12")
        assert all(n % 5 == 4 for n in groups(page))
        expect(page.locator("article.group").first).to_contain_text("oldest token 3 versions old")
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Step from").fill("3")
        page.get_by_label("to", exact=True).first.fill("4")
        expect(page.locator("#place")).to_have_text("1–8 of 8")
        page.reload()  # the filter is in the address
        expect(page.locator("#place")).to_have_text("1–8 of 8")
        page.get_by_label("Reward from").fill("0.9")
        expect(page.locator("#place")).not_to_have_text("1–8 of 8")
        rewards = page.locator("article.group").first.locator(".member b").all_text_contents()
        assert max(map(float, rewards)) >= 0.9


def test_a_slow_answer_does_not_undo_a_newer_filter(address: str) -> None:
    held: list[Route] = []
    with opened() as page:
        page.goto(address)
        expect(page.locator("#place")).to_have_text("1–20 of 60")
        page.route("**/api/groups?state=consumed*", lambda route: held.append(route))
        page.get_by_label("State").select_option("consumed")
        page.wait_for_timeout(600)
        page.get_by_label("State").select_option("stale")
        expect(page.locator("#place")).to_have_text("1–12 of 12")
        assert len(held) == 1
        with page.expect_response("**/api/groups?state=consumed*"):
            held[0].continue_()
        page.wait_for_timeout(300)
        expect(page.locator("#place")).to_have_text("1–12 of 12")


def test_a_member_in_full_and_by_keyboard(address: str) -> None:
    with opened() as page:
        page.goto(f"{address}?state=consumed")
        member = page.locator("article.group").nth(1).locator(".member", has=page.locator("img")).first
        member.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        for words in ("reward", "advantage", "weights", "generation", "of it waiting", "The bars should be"):
            expect(dialog).to_contain_text(words)
        expect(dialog.locator(".hljs-keyword").first).to_have_text("import")
        dialog.get_by_label("Difference").first.check()
        expect(dialog.locator(".compare").first).to_have_attribute("data-view", "difference")
        sizes = dialog.locator(".frame img").evaluate_all("images => images.map(i => i.naturalWidth)")
        assert sizes and all(size == 168 for size in sizes)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()


def test_what_a_run_says_is_text_and_never_markup(address: str) -> None:
    with opened() as page:
        page.goto(address)
        evil = page.locator("article.group").first
        expect(evil).to_contain_text(EVIL)
        evil.locator(".member").first.click()
        expect(page.get_by_role("dialog").locator("pre code").first).to_have_text(EVIL)
        expect(page.get_by_role("dialog").locator("blockquote").first).to_have_text(EVIL)
        page.goto(f"{address}step")
        expect(page.locator("#report")).to_contain_text("What the next unit would buy")
        assert page.evaluate("window.pwned") is None


def test_a_run_under_way_is_followed(tmp_path: Path) -> None:
    run = make(tmp_path / "live", steps=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "training.view", str(run), "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        with opened() as page:
            page.goto(re.search(r"http://\S+", line).group())  # type: ignore[union-attr]
            expect(page.locator("#place")).to_have_text("1–4 of 4")
            make(run, steps=2, first=1)
            expect(page.locator("#place")).to_have_text("1–12 of 12")
            expect(page.locator("#glance")).to_contain_text("3 steps")
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
            expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
            assert groups(page) == list(range(11, -1, -1)), "what was there stays"
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off(address: str, scheme: str) -> None:
    with opened(viewport={"width": 390, "height": 844}, color_scheme=scheme) as page:
        page.goto(address)
        expect(page.locator("#curves canvas").first).to_be_visible()
        assert not too_wide(page)
        page.locator(".member").nth(5).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert not too_wide(page)
        page.goto(f"{address}step")
        expect(page.locator("table").first).to_be_visible()
        assert not too_wide(page)


@pytest.mark.parametrize(("folder", "expected"), [("empty", "not a run's folder"), ("nowhere", "not a run's folder")])
def test_what_is_no_run_is_one_line(tmp_path: Path, folder: str, expected: str) -> None:
    (tmp_path / "empty").mkdir()
    for module in ("training.view", "training.explain"):
        done = subprocess.run(
            [sys.executable, "-m", module, str(tmp_path / folder)], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
        assert expected in done.stderr or module == "training.explain"
