"""A page of a data configuration's items for people to look at, with marks drawn, and the same as one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from accessory.data.inspect.choice import Choice, Chosen, all_chosen, choose, marked
from accessory.data.inspect.sheet import draw_sheet
from accessory.data.labels import parse_labels
from accessory.page.marks import PictureFile, badge, picture_tag, with_tags
from accessory.page.resources import resource
from SPHINX_V.errors import ConfigError
from SPHINX_V.processing.conversation import clean

PAGE = "preview.html"
SHEET = "sheet.png"
PICTURES = "pictures"
MARK_SIZE = 1.6  # the page shows pictures of about 640 pixels at some 400


def preview(config: str | Path, only: str, out: Path, count: int, seed: int, max_prompts: int) -> tuple[Path, Path]:
    """Writes `out`/preview.html with `out`/pictures, and `out`/sheet.png; returns the paths of page and sheet.

    The same arguments give the same bytes; pictures of an earlier preview are removed. Raises ConfigError for a wrong
    configuration and where `out` cannot be written.
    """
    choices = choose(config, only, count, seed, max_prompts)
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for old in (out / PICTURES).glob("item-*.jpg"):
            old.unlink()
        pictures = _save_pictures(choices, out)
        (out / PAGE).write_text(_page(config, choices, pictures, seed), encoding="utf-8")
        draw_sheet([(choice.source.path.name, chosen) for choice, chosen in all_chosen(choices)]).save(out / SHEET)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written ({error.strerror}); name another folder.") from None
    return out / PAGE, out / SHEET


def _save_pictures(choices: Sequence[Choice], out: Path) -> list[PictureFile | str]:
    """The picture of every chosen item, in order, or why there is none."""
    saved: list[PictureFile | str] = []
    for number, (_, chosen) in enumerate(all_chosen(list(choices)), start=1):
        picture = marked(chosen, MARK_SIZE)
        if picture is None:
            saved.append("no picture" if chosen.picture is None else "the picture cannot be shown")
            continue
        name = f"{PICTURES}/item-{number:03}.jpg"
        picture.save(out / name, quality=90, subsampling=0)  # without subsampling: it smears thin coloured lines
        saved.append(PictureFile(name, picture.width, picture.height))
    return saved


def _page(config: str | Path, choices: Sequence[Choice], pictures: Sequence[PictureFile | str], seed: int) -> str:
    left = iter(pictures)
    sections = [_section(choice, [next(left) for _ in choice.chosen]) for choice in choices]
    shown, total = sum(len(choice.chosen) for choice in choices), sum(choice.total for choice in choices)
    sources = f"{len(choices)} source{'' if len(choices) == 1 else 's'}"
    return Template(resource("accessory.page", "page.html")).substitute(
        title=escape(Path(config).name),
        style=f"{resource('accessory.page', 'page.css')}\n{resource('accessory.data.inspect', 'preview.css').strip()}",
        lead=escape(f"{shown:,} of {total:,} items from {sources}, drawn with seed {seed}."),
        sections="\n".join(sections),
        footer=f'As one picture: <a href="{SHEET}">{SHEET}</a>.',
    )


def _section(choice: Choice, pictures: Sequence[PictureFile | str]) -> str:
    source = choice.source
    facts = [
        f"{len(choice.chosen):,} of {choice.total:,} items",
        f"type {source.type}",
        *([f"ratio {source.ratio:g}"] if source.ratio != 1 else []),
        f"pictures below {os.path.normpath(source.root)}",
    ]
    cards = "\n".join(_card(chosen, picture) for chosen, picture in zip(choice.chosen, pictures))
    broken = f'<ul class="faults"><li>{escape(choice.broken)}</li></ul>\n' if choice.broken else ""
    return (
        f"<section>\n<h2>{escape(source.path.name)}</h2>\n<p>{escape(' · '.join(facts))}</p>\n"
        f'{broken}<div class="cards">\n{cards}\n</div>\n</section>'
    )


def _card(chosen: Chosen, picture: PictureFile | str) -> str:
    size = "" if chosen.size is None else f" · {chosen.size[0]}×{chosen.size[1]}"
    shown = (
        f'<p class="absent">{escape(picture)}</p>' if isinstance(picture, str) else picture_tag(picture, chosen.prompts)
    )
    faults = "".join(f"<li>{escape(fault)}</li>" for fault in chosen.faults)
    parts = [
        '<article class="card">',
        f'<p class="kind"><span>item {chosen.number}</span> <span>{escape(chosen.task)}{size}</span></p>',
        shown,
        f'<ul class="faults">{faults}</ul>' if faults else "",
        *(_turn(question, answer) for question, answer in chosen.turns),
        "</article>",
    ]
    return "\n".join(part for part in parts if part)


def _turn(question: str, answer: str) -> str:
    return f'<div class="turn"><p class="question">{with_tags(clean(question))}</p>{_answer(clean(answer))}</div>'


def _answer(answer: str) -> str:
    """An answer of one line per mark as a list with badges, any other as text."""
    labels = parse_labels(answer)
    if not labels or len(labels) != len([line for line in answer.splitlines() if line.strip()]):
        return f'<p class="answer">{with_tags(answer)}</p>'
    rows = "".join(f"<li>{badge(number)}<span>{with_tags(label)}</span></li>" for number, label in labels.items())
    return f'<ul class="answers">{rows}</ul>'
