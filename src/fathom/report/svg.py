"""SVG of a figure as a part of a page: unique ids, and the font and colors of the page, light or dark."""

import re
from collections.abc import Mapping

from fathom.core.html import escape
from fathom.report.style import FAINT, FILL, INK, MethodStyle

PAGE = {INK: "currentColor", FAINT: "var(--line)", FILL: "var(--heat)"}  # color in the file -> color on the page


def inline(svg: str, name: str, alt: str, method_styles: Mapping[str, MethodStyle]) -> str:
    """Convert an SVG file to a part of a page.

    Args:
        svg: File that matplotlib wrote, with text as text.
        name: Prefix of all ids, so that a page can hold several figures.
        alt: Description for screen readers.
        method_styles: Styles of the query methods, whose colors become the page's `--q0`, `--q1`, ...
    """
    svg = svg[svg.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r"<style[^>]*>.*?</style>"):
        svg = re.sub(unwanted + r"\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), svg)
    colors = PAGE | {style.light: f"var(--q{style.number})" for style in method_styles.values()}
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda m: colors.get(m.group(), m.group()), svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    opening = f'<svg class="figure" role="img" aria-label="{escape(alt)}" fill="currentColor" '
    return svg.replace("<svg ", opening, 1)
