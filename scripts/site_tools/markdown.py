"""RFC Markdown as HTML: headings with their anchors, requirements that can be linked to, links between pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup
from rfc_tools.documents import anchor_of

_REQUIREMENT = re.compile(r"<strong>(IT-[A-Z]{3}-\d{3})</strong> \(([a-z]+)\)")
_MENTION = re.compile(r"(?<![\w>#-])(IT-[A-Z]{3}-\d{3})(?![\w-])")
_OUTSIDE = re.compile(r'<a href="(?:\.\./|0000-template)[^"]*">(.*?)</a>', re.DOTALL)
"""Links to what the site does not hold: their text stays."""
_LINK = re.compile(r'href="(?!https?:)([^"#]*?)\.md(#[^"]*)?"')
_LEVEL = re.compile(r"\b(MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


class _Renderer(RendererHTML):
    """Tables that scroll by themselves, and blocks of code with what their info string names."""

    def table_open(self, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
        return '<div class="scroll"><table>\n'

    def table_close(self, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
        return "</table></div>\n"

    def fence(self, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
        token = tokens[index]
        name = token.info.strip()
        caption = f"<figcaption>{escape(name)}</figcaption>" if " " in name else ""
        return f"<figure>{caption}<pre><code>{escape(token.content)}</code></pre></figure>\n"


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")


def headings(text: str) -> list[tuple[int, str, str]]:
    """Return (level, text, anchor) of each heading, in order."""
    tokens = _parser().parse(text)
    return [
        (int(token.tag[1]), tokens[place + 1].content, anchor_of(tokens[place + 1].content))
        for place, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def html(text: str) -> Markup:
    """Return a text as HTML. Raw HTML in it is shown, not used; comments are left out."""
    parser = _parser()
    tokens = parser.parse(_COMMENT.sub("", text))
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor_of(tokens[place + 1].content))
    out = str(parser.renderer.render(tokens, parser.options, {}))
    out = _LINK.sub(_page_link, _OUTSIDE.sub(r"\1", out))
    return Markup(_REQUIREMENT.sub(_requirement, _mentions(out)))  # noqa: S704 - the parser has escaped it


def sentence(text: str) -> Markup:
    """Return one sentence as HTML, its level marked."""
    return Markup(_LEVEL.sub(r"<em>\1</em>", _parser().renderInline(text)))  # noqa: S704 - escaped as well


def _page_link(match: re.Match[str]) -> str:
    name, anchor = match[1], match[2] or ""
    return f'href="{"index" if name == "README" else name}.html{anchor}"'


def _requirement(match: re.Match[str]) -> str:
    ref = match[1]
    role = f'<span class="role">{match[2]}</span>'
    return f'<a class="id" id="{ref}" href="../requirements.html#{ref}">{ref}</a> {role}'


def _mentions(out: str) -> str:
    """Link ids that are mentioned outside of code, links and definitions."""
    parts = re.split(r"(<(?:code|pre|a|strong)\b.*?</(?:code|pre|a|strong)>)", out, flags=re.DOTALL)
    return "".join(
        part if place % 2 else _MENTION.sub(r'<a href="../requirements.html#\1">\1</a>', part)
        for place, part in enumerate(parts)
    )
