"""The frame of every page: style and script inside, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from openseek.report.html import Html, h, join
from openseek.report.svg import asset


def document(
    title: str, links: Sequence[Html], name: str, main: Html, scripts: Sequence[str] = ()
) -> str:
    """Build a whole HTML file.

    Args:
        title: Title of the window.
        links: Links of the navigation.
        name: What stands above them.
        main: The page's content.
        scripts: Further scripts of this package, beside the one that all pages have.
    """
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("link", rel="icon", href="data:,"),
        h("title", title),
        h("style", Html(asset("chart.css") + asset("style.css"))),
    )
    body = h(
        "body",
        h("div", h("nav", h("b", name), *links), main, cls="page"),
        h("div", id="tip", role="status"),
        h("script", Html("".join(asset(s) for s in ("script.js", *scripts)))),
    )
    return "<!doctype html>\n" + join([h("html", head, body, lang="en")]) + "\n"
