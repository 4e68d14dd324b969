"""The policy of the pages allows no code and no style inside of them, so no template may hold any.

The admin's pages are laid out by a library that needs a weaker policy; what we add to them is held to the same rule,
but for the question that a button of the board of machines asks.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(
    path
    for folder in ("frontend", "notifications", "pipeline", "datasets")
    for path in (ROOT / folder).rglob("templates/**/*")
    # Programs that read mail know no style sheets and apply no policy.
    if path.suffix in (".html", ".svg") and path.name != "email.html"
)
TAGS = re.compile(r"{%\s*comment\b.*?endcomment\s*%}|{%.*?%}|{#.*?#}|{{.*?}}", re.DOTALL)
FORBIDDEN = {
    "a script without a source": re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", re.IGNORECASE),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[a-z][^>]*\sstyle\s*=", re.IGNORECASE),
    "an event handler": re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "a javascript: address": re.compile(r"javascript:", re.IGNORECASE),
    "something from another site": re.compile(r"(?:src|href)\s*=\s*[\"'](?:https?:)?//(?!www\.w3\.org)", re.IGNORECASE),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_templates_hold_none_of_it(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TEMPLATES
        for match in FORBIDDEN[what].finditer(TAGS.sub("", path.read_text()))
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a script without a source", "<script>alert(1)</script>"),
        ("a style element", "<style>"),
        ("a style attribute", '<p class="x" style="color: red">'),
        ("an event handler", "<a onclick='x()'>"),
        ("a javascript: address", '<a href="javascript:x()">'),
        ("something from another site", '<img src="//cdn.example.org/x.png">'),
    ],
)
def test_the_search_finds_it(what: str, text: str) -> None:
    assert FORBIDDEN[what].search(text)


def test_there_are_templates_to_look_at() -> None:
    assert len(TEMPLATES) > 30
