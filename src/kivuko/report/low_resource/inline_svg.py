"""From a matplotlib figure to SVG that can stand in a page beside others: no id clashes, no fixed size or color."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kivuko.errors import MissingDependencyError
from kivuko.report.low_resource.plot_style import FONT, SETTINGS, VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_plotting() -> None:
    """Raise MissingDependencyError, which names the command to run, where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as problem:
        raise MissingDependencyError("the page's plots need matplotlib. Run: pip install 'kivuko[report]'") from problem


@contextlib.contextmanager
def plotting() -> Iterator[None]:
    """Draw in the page's style, whatever matplotlibrc the user keeps; everything is as before afterward."""
    check_plotting()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names in scripts that the layout's font lacks: the reader's font draws them
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def drawable(text: str) -> str:
    """Return the text with every character that XML has no place for replaced by U+FFFD."""
    return _NOT_IN_XML.sub("\ufffd", text)


def inline_svg(figure: Figure, prefix: str, heard: str) -> str:
    """Return the figure as an ``<svg>`` element.

    Args:
        prefix: goes before every id, so that figures of one page do not clash; unique on the page.
        heard: what a screen reader says in place of the image.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            # A style element here would restyle the whole page.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _rename(root, prefix)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": drawable(heard), "class": "plot"}
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Prefix ids that something refers to, drop the others, and turn fixed colors and fonts into the page's."""
    used = set()
    for element in root.iter():
        if (target := element.attrib.pop(f"{{{_XLINK}}}href", None)) is not None:
            used.add(target.removeprefix("#"))
            element.set("href", f"#{prefix}-{target.removeprefix('#')}")
        for name, value in element.attrib.items():
            if name != "href" and "url(#" in value:
                used |= set(_REFERENCE.findall(value))
                value = _REFERENCE.sub(lambda match: f"url(#{prefix}-{match[1]})", value)
            element.set(name, _themed(value) if name in ("style", "fill", "stroke") else value)
    for element in root.iter():
        if (name := element.attrib.pop("id", "")) in used:
            element.set("id", f"{prefix}-{name}")


def _themed(style: str) -> str:
    for color, variable in VARIABLES.items():
        style = style.replace(color, f"var({variable}, {color})")
    # matplotlib lists the font of the layout and its kin; the page has its own.
    return re.sub(rf"'{FONT}'[^;]*", "var(--sans, sans-serif)", style)
