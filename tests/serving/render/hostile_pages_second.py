"""The second red team's pages, by class, tried after the first corpus had been shut; `hostile_pages` adds them."""

import base64
from collections.abc import Callable

OK = ("ok",)
STUCK = ("timeout", "crashed", "ok")
URL = "http://127.0.0.1:$TCP"


def second(script: Callable[[str], str]) -> list[tuple[str, tuple[str, ...], str]]:
    """The pages; `script`: a page whose script may call leak()."""
    inner = base64.b64encode(f"<img src='{URL}/i'><script>fetch('{URL}/j')</script>".encode()).decode()
    return [
        # network by markup
        ("image_set", OK, f"<p style=\"background: image-set('{URL}/a' 1x, '{URL}/b' 2x)\">x"),
        ("cross_fade", OK, f"<p style=\"background: -webkit-cross-fade(url({URL}/a), url({URL}/b), 50%)\">x"),
        ("input_image", OK, f"<input type=image src='{URL}/i'><video poster='{URL}/p'></video>"),
        ("track", OK, f"<video controls><track default src='{URL}/t.vtt'><source src='{URL}/v.webm'></video>"),
        ("module_preload", OK, f"<link rel=modulepreload href='{URL}/m.js'><link rel=preload as=font href='{URL}/f'>"),
        ("local_font", OK, "<style>@font-face {font-family: f; src: local('Arial'), local('Noto Sans'),"
         f" url({URL}/f)}} p {{font-family: f}}</style><p>x"),
        ("frame_of_data_in_data", OK, f"<iframe src='data:text/html;base64,{inner}'></iframe>"),
        ("fenced_frame", OK, f"<fencedframe src='{URL}'></fencedframe><portal src='{URL}'></portal>"),
        ("style_of_style", OK, f"<style>@import '{URL}/a' layer(x); @namespace svg url({URL}/n);</style>x"),
        ("filter_by_address", OK, f"<p style='filter: url({URL}/f.svg#a); clip-path: url({URL}/c.svg#a)'>x"),
        ("attribution", OK, f"<img attributionsrc='{URL}/a' src='{URL}/i'><a href='{URL}' attributionsrc>x</a>"),
        ("set_cookie", OK, "<meta http-equiv=set-cookie content='x=1'>"
         "<meta http-equiv=refresh content='5;url=about:blank'>x"),
        # size and rest
        ("height_of_the_window", OK, "<body style='margin:0'><div style='min-height: calc(100vh + 100px)'>x</div>"),
        ("viewport_meta", OK, "<meta name=viewport content='width=9999, initial-scale=9'><p>x"),
        ("dark_scheme", OK, "<meta name=color-scheme content=dark><p>x"),
        ("transition_at_start", OK, "<style>p {transition: height 9s; height: 900px} @starting-style {p {height: 0}}"
         "</style><p>x"),
        ("scroll_timeline", OK, "<style>@keyframes k {to {height: 9000px}} p {animation: k linear;"
         " animation-timeline: scroll()}</style><p>x<div style='height: 3000px'>"),
        ("view_that_waits", OK, "<div style='content-visibility: auto; contain-intrinsic-size: 9px 99999px'>x</div>"),
        ("lazy_pictures", OK, "<div style='height: 5000px'></div>" + "<img loading=lazy src='data:,x'>" * 200),
        ("dialogs_open", OK, "<dialog open>x</dialog><details open>y</details><div popover>z</div>"),
        ("size_by_its_own_query", OK, "<style>div {container-type: size} @container (min-height: 1px) {p {height: 1px}}"
         "</style><div><p>x</div>"),
        ("print_page", OK, "<style>@page {size: 9000px} @media print {p {height: 90000px}}</style><p>x"),
        # scripts against what draws
        ("broken_prototypes", STUCK, script(
            "Array.prototype.map = Array.prototype.push = null; Promise.prototype.then = () => 0;"
            "Object.defineProperty(Object.prototype, 'type', {get() { throw 1 }}); JSON.stringify = () => '{}'")),
        ("false_rectangles", OK, script(
            "Element.prototype.getBoundingClientRect = () => ({width: 1e9, height: 1e9, top: 0, left: 0});"
            "Object.defineProperty(Element.prototype, 'scrollHeight', {get: () => -1e9});"
            "Object.defineProperty(Element.prototype, 'scrollWidth', {get: () => ({valueOf: leak})})")),
        ("endless_observer", STUCK, script(
            "new ResizeObserver(() => document.body.style.height = document.body.offsetHeight + 99 + 'px')"
            ".observe(document.body)")),
        ("mutation_storm", STUCK, script(
            "new MutationObserver(() => document.body.append('x')).observe(document.body, {childList: true});"
            "document.body.append('y')")),
        ("waiting_atomics", STUCK, script(
            "try { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) } catch {}")),
        ("endless_microtasks", ("timeout", "crashed"), script("(function f() { queueMicrotask(f) })()")),
        ("document_opened_again", STUCK, script("setInterval(() => { document.open(); document.write('<p>x') }, 1)")),
        ("history_back", ("ok", "timeout", "crashed"), script("history.back(); history.go(-9); navigation.reload()")),
        ("kept_database", OK, script(
            "let r = indexedDB.open('x'); r.onsuccess = () => r.result.close(); navigator.storage.persist()")),
        ("asks_for_devices", OK, script(
            "for (const n of ['usb', 'hid', 'serial', 'bluetooth']) navigator[n]?.requestDevice?.({}).catch(() => 0);"
            "Notification.requestPermission?.()")),
        ("message_flood", STUCK, script("onmessage = () => postMessage(1, '*'); postMessage(1, '*')")),
        ("source_map", OK, f"<script>eval('1\\n//# sourceMappingURL={URL}/m')</script>"
         f"<style>/*# sourceMappingURL={URL}/c */</style>x"),
    ]  # fmt: skip
