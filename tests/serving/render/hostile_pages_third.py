"""The third red team's pages, by class, tried after the second corpus had been shut; `hostile_pages` adds them."""

from collections.abc import Callable

OK = ("ok",)
STUCK = ("timeout", "crashed", "ok")
URL = "http://127.0.0.1:$TCP"


def third(script: Callable[[str], str]) -> list[tuple[str, tuple[str, ...], str]]:
    """The pages; `script`: a page whose script may call leak()."""
    return [
        # network and files by rarer markup
        ("stylesheet_by_svg", OK, f"<svg><style>@import '{URL}/s';</style><rect width=9 height=9 /></svg>"),
        ("foreign_object", OK,
         f"<svg><foreignObject width=99 height=99><img src='{URL}/f'><iframe src='{URL}/g'></iframe>"
         "</foreignObject></svg>"),
        ("object_in_frame_of_srcdoc", OK,
         f"<iframe srcdoc=\"<base href='{URL}/'><object data=o></object><img src=i>\">"),
        ("target_in_a_filter", OK, "<svg width=400 height=400><filter id=f><feImage href='file://$TARGET'/></filter>"
         "<rect width=400 height=400 filter='url(#f)' /></svg>"),
        ("target_in_a_pattern", OK, "<svg width=400 height=400><pattern id=p width=400 height=400><image width=400 "
         "height=400 href='file://$TARGET' /></pattern><rect width=400 height=400 fill='url(#p)' /></svg>"),
        ("target_as_border", OK, "<p style=\"border: 99px solid; border-image: url('file://$TARGET') 30\">x"),
        ("target_as_content", OK, "<style>p::before {content: url('file://$TARGET')}</style><p>x"),
        ("target_by_shape", OK, "<p style=\"shape-outside: url('file://$TARGET'); float: left; offset-path: "
         f"url('{URL}/o')\">x"),
        ("page_of_the_browser_in_a_frame", OK, "<iframe src='chrome://version'></iframe><iframe src='about:srcdoc'>"
         "</iframe><iframe src='view-source:file://$FILE'></iframe><embed src='chrome://gpu'>"),
        ("frame_of_another_scheme", OK, "<iframe src='ftp://127.0.0.1/x'></iframe><iframe src='ws://127.0.0.1:$TCP'>"
         "</iframe><iframe src='blob:null/x'></iframe><iframe src='filesystem:file:///temporary/x'></iframe>"),
        ("link_of_every_kind", OK, "".join(f"<link rel='{kind}' href='{URL}/{kind}'>" for kind in
         ("icon", "apple-touch-icon", "alternate stylesheet", "search", "pingback", "compression-dictionary",
         "expect"))),
        ("old_markup", OK,
         f"<body background='{URL}/b'><table background='{URL}/t'><tr><td background='{URL}/d'>x</table>"
         f"<bgsound src='{URL}/s'><applet codebase='{URL}' code=x></applet><layer src='{URL}/l'></layer>"),
        ("frameset", OK, f"<frameset cols='50%,*'><frame src='{URL}/a'><frame src='file://$FILE'></frameset>"),
        ("policy_that_lifts_ours", OK, "<meta http-equiv=Content-Security-Policy content=\"default-src *\">"
         f"<meta http-equiv=x-dns-prefetch-control content=on><a href='//canary.invalid'>x</a><img src='{URL}/p'>"),
        ("speculation_by_hover", OK, f'<script type=speculationrules>{{"prefetch": [{{"urls": ["{URL}/s"], '
         '"eagerness": "immediate"}}]}}</script><a href="#x" autofocus>x</a>'),
        ("import_map", OK, f'<script type=importmap>{{"imports": {{"a": "{URL}/m.js"}}}}</script>'
         "<script type=module>import 'a'</script>x"),
        ("xml_style", OK, f"<?xml-stylesheet href='{URL}/x.xsl' type='text/xsl'?><p>x"),
        # size
        ("css_without_end", STUCK,
         "<style>" + "p:is(" * 5000 + ")" * 5000 + "{color: red}" + "*{}" * 50_000 + "</style><p>x"),
        ("calc_in_calc", OK, f"<p style='width: {'calc(1px + ' * 300}1px{')' * 300}; height: calc(1e38px * 1e38)'>x"),
        ("counters", STUCK, "<style>p {counter-increment: c 2147483647} p::before {content: counter(c, hebrew)}</style>"
         + "<p>x" * 2000),
        ("columns", STUCK, "<div style='columns: 1000; column-gap: 0; width: 99999px; height: 1px'>" + "x " * 9000),
        ("table_without_end", STUCK, "<table><tr><td colspan=1000 rowspan=65534>x<td colspan=1000>y</table>"),
        ("negative_margins", OK, "<div style='margin: -999999px; padding: 999999px'>x</div>"),
        ("huge_borders", OK, "<div style='border: 99999999px solid red; outline: 99999999px solid'>x</div>"),
        ("shadows", STUCK, f"<p style='box-shadow: {', '.join(['0 0 999px 999px red'] * 200)}'>x"),
        ("gradients", STUCK,
         f"<p style='height: 999px; background: {', '.join(['conic-gradient(red, blue 1deg)'] * 99)}'>x"),
        ("turbulence", STUCK, "<svg width=2000 height=2000><filter id=f><feTurbulence baseFrequency=.9 numOctaves=20 />"
         "<feMorphology radius=99 /></filter><rect width=2000 height=2000 filter='url(#f)' /></svg>"),
        ("inputs", OK, "<input type=file><input type=color><input type=date><input type=range><select size=99>"
         + "<option>x" * 3000 + "</select><textarea rows=9999 cols=9999>"),
        ("zoom_and_dpi", OK,
         "<style>@media (min-resolution: 2dppx) {p {height: 9999px}} html {zoom: 500%}</style><p>x"),
        ("writing_to_the_left", OK,
         "<html dir=rtl style='writing-mode: vertical-rl'><p style='width: 9999px'>x\u202e y"),
        # scripts: other ways out, and into the next page
        ("opener_of_frames", OK,
         script("let f = document.createElement('iframe'); f.name = 'next'; document.body.append(f);"
                                        "window.name = 'x'.repeat(1e6); open('about:blank', 'next')")),
        ("message_channels", OK,
         script("let c = new MessageChannel(); c.port1.onmessage = () => c.port2.postMessage(1);"
                                        "c.port2.onmessage = () => c.port1.postMessage(1); c.port1.postMessage(1)")),
        ("locks_of_the_origin", OK,
         script("navigator.locks?.request('x', () => new Promise(() => {})).catch(() => 0)")),
        ("files_of_the_origin", OK, script("navigator.storage?.getDirectory?.().then(leak).catch(() => 0);"
                                           "window.showOpenFilePicker?.().then(leak).catch(() => 0)")),
        ("sockets_of_every_kind", OK, script("for (const n of ['TCPSocket', 'UDPSocket', 'TCPServerSocket']) "
                                             "if (window[n]) leak(); try { new RTCPeerConnection } catch {}")),
        ("payment_and_sharing", OK,
         script("try { new PaymentRequest([{supportedMethods: '" + URL + "/p'}], {}) } catch {};"
                                           "navigator.share?.({url: 'x'}).catch(() => 0)")),
        ("print_in_a_circle", STUCK, script("onafterprint = () => print(); onbeforeprint = () => alert(1); print()")),
        ("full_screen", OK, script("document.documentElement.requestFullscreen?.().then(leak).catch(() => 0);"
                                   "document.body.requestPointerLock?.()")),
        ("moves_its_window", ("ok", "exception"),
         script("resizeTo(9, 9); moveTo(-9999, 0); scrollTo(0, 99999); window.close(); stop()")),
        ("replaces_itself", STUCK, script("document.documentElement.replaceWith(document.createElement('p'))")),
        ("empties_its_document", STUCK, script("while (document.firstChild) document.firstChild.remove()")),
        ("styles_that_throw", OK, script("Object.defineProperty(document, 'adoptedStyleSheets', {get() { throw 1 },"
                                         "set() { throw 1 }}); Element.prototype.getAnimations = () => { throw 1 }")),
        ("promise_of_fonts_without_end", STUCK, script(
            "Object.defineProperty(document, 'fonts', {get: () => ({ready: new Promise(() => {})})});"
            "new FontFace('x', 'url(data:,x)').load().catch(() => 0)")),
        ("thenable_prototype", STUCK,
         script("Object.prototype.then = function () {}; Array.prototype.then = () => {}")),
        ("date_that_throws", OK, script("Date = () => { throw 1 }; Math.random = null; performance.now = leak")),
        ("history_of_states", STUCK, script("setInterval(() => history.replaceState({}, '', '?' + Math.random()), 1)")),
        ("addresses_by_the_million", STUCK,
         script("for (let i = 0; i < 2e5; i++) URL.createObjectURL(new Blob(['x']))")),
        ("regular_expression", ("timeout", "crashed"), script("/(a+)+$/.test('a'.repeat(50) + 'b')")),
        ("sort_that_lies", STUCK, script("Array.from({length: 1e5}, (_, i) => i).sort(() => Math.random() - .5)")),
        ("console_flood", STUCK, script("for (let i = 0; i < 20000; i++) console.log('%c\\x1b[2J' + 'x'.repeat(999))")),
        ("errors_without_end", STUCK,
         script("onerror = () => { setTimeout(() => { throw '\\x1b]0;x\\x07' }) }; throw 1")),
    ]  # fmt: skip
