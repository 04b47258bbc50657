"""SVG documents that attack what draws them: a name, the outcomes that are right, and the source.

$FILE is a file outside that holds a red square as SVG, $PICTURE the same as PNG, $URL an address on the loopback where
a test listens. "ok" is right only where what is drawn shows nothing of them.
"""

import base64
import struct
import zlib

REFUSED = ("forbidden",)
WRONG = ("exception",)
SLOW = ("timeout", "memory", "exception", "crashed")
NS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
BLACK = '<rect width="9" height="9"/>'


def bomb(side: int) -> str:
    """A picture of side x side pixels in a few kilobytes, as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    head = struct.pack("!IIBBBBB", side, side, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


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
    ("xinclude", REFUSED, svg('<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="$FILE" parse="text"/>')),
    ("base", ("ok",), svg('<g xml:base="file://$FILE"><use href="#a"/></g>')),
    ("animated_href", ("ok", "forbidden"), svg(
        '<image width="9" height="9"><set attributeName="href" to="$PICTURE" begin="0s"/></image>'
    )),
    ("link", REFUSED, svg('<a href="javascript:fetch(1)"><rect width="1" height="1"/></a>')),
    ("style_escaped", ("ok", "forbidden"), svg('<style>@\\69mport "$URL"; rect{fill:u\\72l($URL#a)}</style>')),
    ("style_comment", ("ok", "forbidden"), svg("<style>@im/**/port '$URL'; rect{fill:url/**/($URL)}</style>")),
    ("style_cdata", REFUSED, svg("<style><![CDATA[@import url($URL);]]></style>")),
    ("mask_url", REFUSED, svg('<rect width="9" height="9" mask="url($FILE#a)"/>')),
    ("cursor", REFUSED, svg('<rect width="1" height="1" style="cursor:url(file://$PICTURE)"/>')),
    ("font_file", REFUSED, svg("<font-face><font-face-src><font-face-uri href='$FILE'/></font-face-src></font-face>")),
    ("tref", REFUSED, svg('<text><tref xlink:href="$FILE#a"/></text>')),
    ("picture_bomb", ("ok", *SLOW), svg(f'<image href="{bomb(30_000)}" width="9" height="9"/>')),
    ("picture_garbage", ("ok", *SLOW), svg('<image href="data:image/png;base64,AAAA" width="9" height="9"/>')),
    ("gif_of_nothing", ("ok", *SLOW), svg('<image href="data:image/gif;base64,R0lGODdh/////w==" width="9"/>')),
    ("turbulence", ("ok", *SLOW), svg(
        '<filter id="f">' + '<feTurbulence baseFrequency="9" numOctaves="99"/>' * 200 + '</filter><g filter="url(#f)"/>'
    )),
    ("circle_of_patterns", ("ok", *SLOW), svg(
        '<pattern id="p" width="1" height="1"><rect width="9" height="9" fill="url(#p)"/></pattern>'
        '<rect width="9" height="9" fill="url(#p)"/>'
    )),
    ("circle_of_masks", ("ok", *SLOW), svg('<mask id="m"><rect width="9" height="9" mask="url(#m)"/></mask>')),
    ("circle_of_markers", ("ok", *SLOW), svg(
        '<marker id="m"><path d="M0 0L9 9" marker-end="url(#m)"/></marker><path d="M0 0L9 9" marker-end="url(#m)"/>'
    )),
    ("nested_svgs", ("ok", *SLOW), svg("<svg>" * 3_000 + "</svg>" * 3_000)),
    ("long_path", ("ok", *SLOW), svg('<path d="M0 0' + "L9 9L0 0" * 20_000 + '" stroke="black"/>')),
    ("long_text", ("ok", *SLOW), svg(f'<text y="5">{"wide " * 20_000}</text>')),
    ("dashes", ("ok", *SLOW), svg('<path d="M0 0H9" stroke="black" stroke-dasharray="0.0000001"/>')),
    ("declared_utf16", ("ok", "exception"), svg("", '<?xml version="1.0" encoding="utf-16"?>')),
    ("resolution", ("ok", "exception"), f'<svg {NS} width="9in" height="9cm" viewBox="0 0 9 9">{BLACK}</svg>'),
    ("negative", WRONG, f'<svg {NS} viewBox="0 0 -9 -9">{BLACK}</svg>'),
    ("many_numbers", ("ok", "exception"), f'<svg {NS} viewBox="{"1 " * 90_000}">{BLACK}</svg>'),
]  # fmt: skip
