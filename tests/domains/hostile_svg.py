"""SVG documents that attack what draws them: a name, the outcomes that are right, and the source.

$FILE is a file outside that holds a red square as SVG, $PICTURE the same as PNG, $URL an address on the loopback where
a test listens. "ok" is right only where what is drawn shows nothing of them.
"""

REFUSED = ("forbidden",)
WRONG = ("exception",)
SLOW = ("timeout", "memory", "exception", "crashed")
NS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
BLACK = '<rect width="9" height="9"/>'


def svg(inner: str, head: str = "") -> str:
    return f'{head}<svg {NS} viewBox="0 0 9 9">{inner}{BLACK}</svg>'


ATTACKS: list[tuple[str, tuple[str, ...], str]] = [
    ("script", REFUSED, svg("<script>fetch('$URL')</script>")),
    ("script_cdata", REFUSED, svg("<script><![CDATA[fetch('$URL')]]></script>")),
    ("script_prefixed", REFUSED, svg('<a:script xmlns:a="http://www.w3.org/2000/svg">1</a:script>')),
    ("script_href", REFUSED, svg('<script href="$URL"/>')),
    ("on_load", REFUSED, svg('<g onload="fetch(1)"/>')),
    ("foreign", REFUSED, svg("<foreignObject><iframe src='file://$FILE'/></foreignObject>")),
    ("foreign_case", REFUSED, svg("<FOREIGNOBJECT/>")),
    ("image_file", REFUSED, svg('<image href="file://$PICTURE" width="9" height="9"/>')),
    ("image_path", REFUSED, svg('<image href="$PICTURE" width="9" height="9"/>')),
    ("image_relative", REFUSED, svg('<image href="../../../../../..$PICTURE" width="9" height="9"/>')),
    ("image_xlink", REFUSED, svg('<image xlink:href="$PICTURE" width="9" height="9"/>')),
    ("image_net", REFUSED, svg('<image href="$URL" width="9" height="9"/>')),
    ("image_svg_data", REFUSED, svg('<image href="data:image/svg+xml,&lt;svg/&gt;" width="9" height="9"/>')),
    ("image_entity", REFUSED, svg('<image href="&#102;ile://$PICTURE" width="9" height="9"/>')),
    ("fe_image", REFUSED, svg('<filter id="f"><feImage href="$PICTURE"/></filter><rect filter="url(#f)"/>')),
    ("use_file", REFUSED, svg('<use href="$FILE#a"/>')),
    ("pattern_href", REFUSED, svg('<pattern id="p" href="$FILE#a"/>')),
    ("fill_url", REFUSED, svg('<rect fill="url($URL#a)"/>')),
    ("style_url", REFUSED, svg("<rect style=\"fill:url('$URL#a')\"/>")),
    ("style_import", REFUSED, svg("<style>@import url($URL);</style>")),
    ("style_font", REFUSED, svg("<style>@font-face{font-family:a;src:url($URL)}</style>")),
    ("stylesheet", ("ok", "exception"), svg("", '<?xml-stylesheet href="$URL"?>')),
    ("entity", REFUSED, svg("<text>&a;</text>", '<!DOCTYPE svg [<!ENTITY a SYSTEM "file://$FILE">]>')),
    ("laughs", REFUSED, svg("&b;", '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>')),
    ("external_dtd", REFUSED, svg("", '<!DOCTYPE svg SYSTEM "$URL">')),
    ("huge", ("ok",), f'<svg {NS} width="1000000" height="1000000">{BLACK}</svg>'),
    ("thin", WRONG, f'<svg {NS} width="1000000" height="1">{BLACK}</svg>'),
    ("nothing_wide", WRONG, f'<svg {NS} width="0" height="9">{BLACK}</svg>'),
    ("not_a_number", ("ok", "exception"), f'<svg {NS} viewBox="0 0 nan inf">{BLACK}</svg>'),
    ("not_svg", WRONG, "<html><script>1</script></html>"),
    ("not_xml", WRONG, "<svg><g></svg>"),
    ("quote", WRONG, "'''\nimport os\nos.system('id')\n'''"),
    ("quote_end", WRONG, "\\'); raise SystemExit  # <svg"),
    ("null", WRONG, "<svg>\0</svg>"),
    ("surrogate", WRONG, "<svg>\ud800</svg"),
    ("deep", (*SLOW, "ok"), svg("<g>" * 20_000 + "</g>" * 20_000)),
    ("many_uses", (*SLOW, "ok"), svg(
        '<g id="a0"><rect width="1" height="1"/></g>'
        + "".join(f'<g id="a{n + 1}">' + f'<use href="#a{n}"/>' * 10 + "</g>" for n in range(9))
    )),
    ("circle_of_uses", ("ok", *SLOW), svg('<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>')),
    ("large_blur", ("ok", *SLOW), svg(
        '<filter id="f"><feGaussianBlur stdDeviation="1e6"/></filter><g filter="url(#f)"/>'
    )),
    ("large_numbers", ("ok", *SLOW), svg('<path d="M0 0 L1e38 1e38 Z" stroke-width="1e38" stroke="red"/>')),
]  # fmt: skip
