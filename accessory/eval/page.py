"""A page of HTML from its sections: one template and style for all reports, no network and no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from accessory.page.marks import with_tags
from accessory.page.resources import resource


def fill_page(title: str, lead: str, sections: Iterable[str], style: Sequence[str]) -> str:
    """The whole page; empty sections are left out. `style`: names of style sheets
    beside this module, in order, after that of all pages."""
    sheets = [resource("accessory.page", "page.css"), *(resource("accessory.eval", name) for name in style)]
    return Template(resource("accessory.page", "page.html")).substitute(
        title=escape(title),
        style="\n".join(sheet.strip() for sheet in sheets),
        lead=escape(lead),
        sections="\n".join(filter(None, sections)),
        footer='Numbers: <a href="table.md">table.md</a>.',
    )


def section(heading: str, intro: str, body: str) -> str:
    """A section; heading, intro and body are HTML."""
    said = f"<p>{intro}</p>\n" if intro else ""
    return f"<section>\n<h2>{heading}</h2>\n{said}{body}\n</section>"


def question_heading(question: str, history: Sequence[tuple[str, str]]) -> str:
    """A card's question, below the turns that came before it."""
    turns = (f"{with_tags(asked)}<br>{with_tags(answer)}" for asked, answer in history)
    before = "".join(f'<p class="before">{turn}</p>' for turn in turns)
    return f'{before}<h3 class="question">{with_tags(question)}</h3>'


def facts_section(facts: Mapping[str, str]) -> str:
    """Facts of a run, name by name; "" where there are none."""
    if not facts:
        return ""
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    return section("Facts of the run", "", f'<dl class="facts sheet">{pairs}</dl>')
