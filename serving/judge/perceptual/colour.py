"""Colour as people see it: CIELAB, CIEDE2000 and names.

Guarantees: `difference` is CIEDE2000 (Sharma, Wu, Dalal 2005; their published pairs are a test) between every two
colours of two lists, and every colour has exactly one name out of `NAMES`, a closed list.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Lab = NDArray[np.float32]  # [..., 3]: L 0..100, a and b about -128..127

# Anchors in sRGB; the nearest one by CIEDE2000 names a colour. Several anchors may share a name.
_ANCHORS: tuple[tuple[str, str], ...] = (
    ("black", "000000 1a1a1a 2e2e2e"),
    ("gray", "555555 7f7f7f a9a9a9 708090"),
    ("light gray", "c8c8c8 d3d3d3 e6e6e6 e5e5e5"),
    ("white", "ffffff f7f7f7"),
    ("red", "ff0000 d62728 dc143c b22222 e41a1c 8b0000 ff6347 cd5c5c"),
    ("orange", "ff7f0e ffa500 ff8c00 f4a460 e69f00 ff7f50"),
    ("yellow", "ffff00 ffd700 f0e442 f0e68c ffffb3"),
    ("green", "008000 2ca02c 00ff00 32cd32 228b22 006400 98df8a 90ee90 55a868 2e8b57"),
    ("olive", "bcbd22 808000 6b8e23 9acd32"),
    ("teal", "008080 17becf 20b2aa 40e0d0 00ffff 66c2a5 00ced1 5f9ea0"),
    ("blue", "0000ff 1f77b4 4169e1 000080 6495ed 4682b4 377eb8 00008b 1e90ff"),
    ("light blue", "add8e6 87ceeb 87cefa aec7e8 b0c4de"),
    ("purple", "9467bd 800080 9370db 4b0082 8a2be2 c5b0d5 984ea3 440154 6a5acd"),
    ("pink", "ffc0cb e377c2 ff69b4 ff00ff ff1493 f7b6d2 ffb6c1 da70d6"),
    ("brown", "8c564b a52a2a 8b4513 a0522d d2b48c cd853f deb887"),
)
NAMES = tuple(name for name, _ in _ANCHORS)


def to_lab(rgb: NDArray[np.uint8]) -> Lab:
    """sRGB [h, w, 3] to CIELAB (D65) [h, w, 3], float32."""
    return cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)  # type: ignore[return-value]


def to_rgb(colours: Lab) -> NDArray[np.float32]:
    """CIELAB [n, 3] to sRGB 0..1 [n, 3]."""
    return np.clip(cv2.cvtColor(colours[None], cv2.COLOR_LAB2RGB)[0], 0, 1)


def difference(first: Lab, second: Lab) -> NDArray[np.float64]:
    """CIEDE2000 of `first` [n, 3] against `second` [m, 3] -> [n, m]; 0 = equal, about 1 = just noticeable, 100 =
    black against white."""
    l1, a1, b1 = (first[:, None, i].astype(np.float64) for i in range(3))
    l2, a2, b2 = (second[None, :, i].astype(np.float64) for i in range(3))
    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean_c7 / (mean_c7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    coloured = c1 * c2 > 0
    turn = (h2 - h1 + 180) % 360 - 180
    turn = np.where(np.abs(h2 - h1) == 180, h2 - h1, turn)
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(np.where(coloured, turn, 0) / 2))
    far = np.abs(h1 - h2) > 180
    mean_h = np.where(far, (h1 + h2 + np.where(h1 + h2 < 360, 360, -360)) / 2, (h1 + h2) / 2)
    mean_h = np.where(coloured, mean_h, h1 + h2)
    t = 1 - 0.17 * np.cos(np.radians(mean_h - 30)) + 0.24 * np.cos(np.radians(2 * mean_h))
    t += 0.32 * np.cos(np.radians(3 * mean_h + 6)) - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotation = -np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    rotation = rotation * 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    dl, dc, dh = (l2 - l1) / s_l, (c2 - c1) / s_c, delta_h / s_h
    return np.sqrt(np.maximum(dl**2 + dc**2 + dh**2 + rotation * dc * dh, 0.0))


def _anchors() -> tuple[list[str], Lab]:
    names = [name for name, codes in _ANCHORS for _ in codes.split()]
    rgb = [tuple(bytes.fromhex(code)) for _, codes in _ANCHORS for code in codes.split()]
    return names, to_lab(np.array([rgb], dtype=np.uint8))[0]


_ANCHOR_NAMES, _ANCHOR_LAB = _anchors()


def names(colours: Lab) -> list[str]:
    """The name of each colour of [n, 3]."""
    if len(colours) == 0:
        return []
    return [_ANCHOR_NAMES[i] for i in difference(colours, _ANCHOR_LAB).argmin(axis=1)]
