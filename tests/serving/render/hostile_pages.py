"""Pages that attack the renderer, with scripts on: a name, the outcomes that are right, and the page.

$TCP and $UDP are listening ports on the loopback, $FILE and $TARGET a green page and a green picture outside; every
page is served from nowhere. "#leak" in a page is a green box that a script shows when its attack succeeded: the test
looks for that green in the picture. An attack whose outcomes include "timeout" meets a short deadline, every other one
a deadline that no load of the machine makes it miss.
"""

import base64
import struct
import zlib
from string import Template

from tests.serving.render.hostile_pages_second import second
from tests.serving.render.hostile_pages_third import third

LEAK = "<div id=leak style='display:none;width:400px;height:400px;background:#00ff01'></div>"
OK = ("ok",)
STUCK = ("timeout", "crashed", "ok")
URL = "http://127.0.0.1:$TCP"


def script(body: str) -> str:
    """A page whose script may call leak()."""
    shown = "function leak() { document.getElementById('leak').style.display = 'block' }"
    return f"<h1>page</h1>{LEAK}<script>{shown}\n{body}</script>"


def fetched(url: str) -> str:
    return script(
        f"fetch('{url}').then(leak); let x = new XMLHttpRequest(); x.onload = leak; x.open('GET', '{url}'); x.send()"
    )


def png_bomb(side: int) -> str:
    """A data URL of a white square picture, small however large its side."""
    chunks = (
        (b"IHDR", struct.pack("!IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(side * (1 + side // 8)), 9)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body)) for name, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


ATTACKS: list[tuple[str, tuple[str, ...], str]] = [
    # network by markup
    ("image", OK, f"<img src='{URL}/a.png'>"),
    ("stylesheet", OK, f"<link rel=stylesheet href='{URL}/a.css'>"),
    ("import", OK, f"<style>@import url('{URL}/a.css');</style>"),
    ("font", OK, f"<style>@font-face {{ font-family: f; src: url({URL}/f.woff) }} p {{ font-family: f }}</style><p>x"),
    ("background", OK, f"<body style=\"background: url('{URL}/b.png')\">x"),
    ("frame", OK, f"<iframe src='{URL}'></iframe>"),
    ("object", OK, f"<object data='{URL}/o.swf'></object><embed src='{URL}/e.pdf'>"),
    ("video", OK, f"<video src='{URL}/v.mp4' autoplay></video><audio src='{URL}/a.mp3' autoplay></audio>"),
    ("preconnect", OK, f"<link rel=preconnect href='{URL}'><link rel=dns-prefetch href='//canary.invalid'>"),
    ("prefetch", OK, f"<link rel=prefetch href='{URL}/p'><link rel=preload as=image href='{URL}/q'>"),
    ("prerender", OK, f'<script type=speculationrules>{{"prerender": [{{"urls": ["{URL}/s"]}}]}}</script>'),
    ("refresh", OK, f"<meta http-equiv=refresh content='0;url={URL}/r'>x"),
    ("base", OK, f"<base href='{URL}/'><img src=x.png>"),
    ("svg_image", OK, f"<svg><image href='{URL}/s.png'/><use href='{URL}/u.svg#a'/></svg>"),
    ("link_header", OK, f"<meta http-equiv=Link content='<{URL}/h>; rel=preload'>x"),
    ("manifest", OK, f"<link rel=manifest href='{URL}/m.json'><link rel=icon href='{URL}/i.ico'>"),
    ("selector", OK, f"<style>input[value^=a] {{ background: url({URL}/a) }}</style><input value=abc>"),
    ("cursor", OK, f"<body style='cursor: url({URL}/c), auto; list-style: url({URL}/l); mask: url({URL}/m)'><li>x"),
    (
        "source_set",
        OK,
        f"<picture><source srcset='{URL}/a 1x, {URL}/b 2x'><img srcset='{URL}/c' loading=eager></picture>",
    ),
    ("frame_in_frame", OK, f"<iframe srcdoc=\"<iframe src='{URL}'></iframe><img src='{URL}/i'>\"></iframe>"),
    (
        "data_frame",
        OK,
        f"<iframe src=\"data:text/html,<img src='{URL}/d'><script>fetch('{URL}/e')</script>\"></iframe>",
    ),
    (
        "policy_for_the_next",
        OK,
        "<meta http-equiv=Content-Security-Policy content=\"style-src 'none'; img-src 'none'\">x",
    ),
    (
        "address_for_the_next",
        OK,
        "<meta http-equiv=refresh content='0;url=#t'><style>:target { color: red }</style><p id=t>x",
    ),
    (
        "script_address",
        OK,
        "<meta http-equiv=refresh content='0;url=javascript:alert(1)'><a href='javascript:leak()'>x",
    ),
    # network by script
    ("fetch", OK, fetched(URL)),
    ("beacon", OK, script(f"navigator.sendBeacon('{URL}/b', 'x')")),
    ("keepalive", OK, script(f"fetch('{URL}/k', {{keepalive: true, mode: 'no-cors'}}).then(leak)")),
    ("dynamic_import", OK, script(f"import('{URL}/m.js').then(leak)")),
    ("module", OK, f"<script type=module src='{URL}/m.js'></script><script src='{URL}/s.js'></script>"),
    ("shared_worker", OK, script(f"new SharedWorker('{URL}/w.js').port.start()")),
    ("worklet", OK, script(f"CSS.paintWorklet && CSS.paintWorklet.addModule('{URL}/p.js').then(leak)")),
    (
        "relayed_webrtc",
        OK,
        script(
            "let p = new RTCPeerConnection({iceServers: [{urls: 'turn:127.0.0.1:$TCP?transport=tcp', username: 'a',"
            "credential: 'b'}]}); p.createDataChannel('x'); p.createOffer().then(o => p.setLocalDescription(o))"
        ),
    ),
    (
        "script_frame",
        OK,
        script(f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{URL}'}}))"),
    ),
    ("websocket", OK, script("new WebSocket('ws://127.0.0.1:$TCP').onopen = leak")),
    ("eventsource", OK, script(f"new EventSource('{URL}/e').onopen = leak")),
    (
        "webrtc",
        OK,
        script(
            "let p = new RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:$UDP'}]}); p.createDataChannel('x');"
            "p.createOffer().then(o => p.setLocalDescription(o))"
        ),
    ),
    ("webtransport", OK, script("new WebTransport('https://127.0.0.1:$UDP').ready.then(leak)")),
    ("form", ("ok", "timeout"), f"<form id=f action='{URL}/f' method=post></form><script>f.submit()</script>"),
    ("navigate", ("ok", "timeout"), script(f"location = '{URL}/n'")),
    ("popup", OK, script(f"for (let i = 0; i < 20; i++) open('{URL}/o' + i)")),
    ("worker", OK, script(f"new Worker(URL.createObjectURL(new Blob([\"fetch('{URL}/w')\"])))")),
    ("service_worker", OK, script("navigator.serviceWorker && navigator.serviceWorker.register('/s.js').then(leak)")),
    ("ping", OK, f"<a id=a href='#' ping='{URL}/ping'>x</a><script>a.click()</script>"),
    (
        "report",
        OK,
        f"<meta http-equiv=Content-Security-Policy content=\"img-src 'none'; report-uri {URL}/c\"><img src=x>",
    ),
    # files and neighbours
    ("file_frame", OK, "<iframe src='file://$FILE' width=600 height=400></iframe>"),
    ("file_image", OK, "<img src='file:///etc/hostname'><link rel=stylesheet href='file://$FILE'>"),
    (
        "target_image",
        OK,
        "<img src='file://$TARGET'><div style='background: url(file://$TARGET); height: 400px'></div>",
    ),
    ("target_object", OK, "<object data='file://$TARGET' width=400 height=400></object><embed src='file://$FILE'>"),
    ("file_style", OK, "<style>@import 'file://$FILE'; @font-face { font-family: f; src: url(file://$FILE) }</style>x"),
    ("file_in_svg", OK, "<svg width=400 height=400><image href='file://$TARGET' width=400 height=400 /></svg>"),
    (
        "environment",
        OK,
        "<iframe src='file:///proc/self/environ' width=900></iframe><iframe src='file:///proc/1/environ'>",
    ),
    ("file_popup", OK, script("open('file://$FILE'); open('about:blank').document.write('<img src=file://$TARGET>')")),
    ("blob_navigate", ("ok", "timeout"), script("location = URL.createObjectURL(new Blob(['<h1>x']))")),
    ("file_fetch", OK, fetched("file://$FILE")),
    ("file_navigate", ("ok", "timeout"), script("location = 'file://$FILE'")),
    ("file_refresh", OK, "<meta http-equiv=refresh content='0;url=file://$FILE'>x"),
    ("view_source", ("ok", "timeout"), script("location = 'view-source:file://$FILE'")),
    ("chrome_pages", ("ok", "timeout"), script("location = 'chrome://version'; fetch('chrome://gpu').then(leak)")),
    ("leave_storage", OK, script("localStorage.x = 1; document.cookie = 'x=1'; caches.open('x')")),
    ("find_storage", OK, script("if (localStorage.x || document.cookie) leak()")),
    ("channel_listen", OK, script("new BroadcastChannel('c').onmessage = leak; setInterval(() => 0, 50)")),
    ("channel_send", OK, script("new BroadcastChannel('c').postMessage(1)")),
    ("clipboard", OK, script("navigator.clipboard && navigator.clipboard.readText().then(leak)")),
    ("location_of_user", OK, script("navigator.geolocation.getCurrentPosition(leak)")),
    ("camera", OK, script("navigator.mediaDevices && navigator.mediaDevices.getUserMedia({video: true}).then(leak)")),
    # never ending
    ("busy_loop", ("timeout",), "<script>while (true);</script>"),
    ("busy_later", STUCK, "<script>setTimeout(() => { while (true); }, 0)</script>"),
    ("busy_promise", ("timeout", "crashed"), script("(function f() { Promise.resolve().then(f) })()")),
    ("dialogs", ("ok", "timeout"), script("for (let i = 0; i < 50; i++) { alert(i); confirm(i); prompt(i) }")),
    ("before_unload", OK, script("onbeforeunload = e => { e.preventDefault(); return 'no' }")),
    ("print", ("ok", "timeout"), script("print()")),
    ("reload", ("ok", "timeout", "crashed"), script("location.reload()")),
    ("download", OK, script("let a = document.createElement('a'); a.download = 'x'; a.href = 'data:,x'; a.click()")),
    ("busy_worker", STUCK, script("new Worker(URL.createObjectURL(new Blob(['while (true);'])))")),
    ("busy_frames", STUCK, script("(function f() { for (let i = 0; i < 1e7; i++); requestAnimationFrame(f) })()")),
    ("endless_document", ("timeout", "crashed"), script("while (true) document.write('<p>x')")),
    (
        "history",
        ("ok", "timeout", "crashed"),
        script("for (let i = 0; i < 20000; i++) history.pushState(0, '', '#' + i)"),
    ),
    ("endless_dialogs", ("ok", "timeout"), script("setInterval(() => { alert(1); print() }, 1)")),
    ("busy_style", STUCK, "<style>" + ":has(:has(*)) " * 3 + "{color:red}</style>" + "<div>" * 3000),
    # too much
    ("tall", OK, "<div style='height: 10000000px; background: linear-gradient(red, blue)'></div>"),
    ("wide", OK, "<div style='width: 10000000px; height: 100px; background: red'></div>"),
    ("tall_by_script", OK, script("document.body.style.height = '1e9px'")),
    (
        "false_height",
        OK,
        script("Math.max = () => 1e12; Object.defineProperty(document, 'documentElement', {get: () => null})"),
    ),
    (
        "memory",
        ("timeout", "crashed", "ok"),
        script("let a = []; while (true) a.push(new Array(1e6).fill(Math.random()))"),
    ),
    (
        "memory_buffers",
        ("timeout", "crashed", "ok"),
        script("let a = []; for (let i = 0; i < 64; i++) a.push(new ArrayBuffer(1e9))"),
    ),
    ("picture_bomb", STUCK, f"<img src='{png_bomb(30000)}' width=100>"),
    (
        "vector_bomb",
        STUCK,
        "<svg><g id=a0><rect width=9 height=9 /></g>"
        + "".join(f"<g id=a{i}>{f'<use href=#a{i - 1} />' * 9}</g>" for i in range(1, 8))
        + "</svg>",
    ),
    ("vector_loop", OK, "<svg><g id=a><use href=#b /></g><g id=b><use href=#a /></g></svg>"),
    (
        "variable_bomb",
        STUCK,
        "<style>p { --a0: xxxxxxxxxx; "
        + "".join(f"--a{i}: {f'var(--a{i - 1}) ' * 9};" for i in range(1, 9))
        + "font-family: var(--a8) }</style><p>x",
    ),
    ("grid_bomb", STUCK, "<div style='display: grid; grid-template: repeat(10000, 1px) / repeat(10000, 1px)'>x</div>"),
    ("frames", STUCK, "<iframe srcdoc='<p>x'></iframe>" * 200),
    (
        "frame_loop",
        STUCK,
        script("f = () => { let i = document.createElement('iframe'); document.body.append(i) }; setInterval(f)"),
    ),
    (
        "wasm_memory",
        STUCK,
        script("let a = []; for (let i = 0; i < 64; i++) a.push(new WebAssembly.Memory({initial: 65536}))"),
    ),
    ("graphics", STUCK, script("for (let i = 0; i < 64; i++) document.createElement('canvas').getContext('webgl')")),
    ("fixed_zoom", OK, "<html style='zoom: 1000'><body style='transform: scale(1e9); position: fixed'>x"),
    ("deep", ("ok", "timeout", "crashed"), "<div>" * 100_000),
    ("many", ("ok", "timeout"), "<p>x" * 50_000),
    ("filters", STUCK, "<div style='filter: " + "blur(99px) " * 40 + "; width: 100%; height: 700px'>x</div>"),
    (
        "huge_canvas",
        OK,
        script("let c = document.createElement('canvas'); c.width = c.height = 30000; c.getContext('2d')"),
    ),
    (
        "marquee",
        OK,
        "<marquee>x</marquee><blink>y</blink><style>@keyframes k {to {left: 9px}} p {animation: k 1s infinite}</style>",
    ),
    ("hang_page", STUCK, script("location = 'chrome://hang'")),
    ("kill_page", STUCK, script("location = 'chrome://kill'; location = 'chrome://gpucrash'")),
    ("quit_page", (*STUCK, "exception"), script("location = 'chrome://quit'; window.close()")),
    ("crash_page", ("crashed", "timeout", "ok"), script("location = 'chrome://crash'")),
    ("empty", OK, ""),
    ("null_bytes", OK, "a\0b\0<p>\0c"),
    ("surrogate", OK, "<p>\ud800 x"),
    ("not_markup", OK, "%PDF-1.7 " + "\x01\x02" * 500),
    ("unclosed", OK, "<table><tr><td><style>p{</styl<p>" * 50),
    *second(script),
    *third(script),
]


def source(attack: str, **places: object) -> str:
    """The page of an attack, its canaries filled in."""
    return Template(attack).safe_substitute({name: str(value) for name, value in places.items()})
