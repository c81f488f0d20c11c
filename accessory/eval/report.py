"""The report of an evaluation: one page with its pictures beside it, and the same table in Markdown.

The page needs no network and no script; it follows the reader's light or dark setting and fits a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from accessory.eval.cards import Asked, Example, asked_card, example_card
from accessory.eval.curves import Curve, chart, last_value, number
from accessory.eval.page import facts_section, fill_page, section
from accessory.eval.table import ACCURACY, SWAPPED, Column, Table, columns_of, markdown, percent
from accessory.page.marks import PictureFile
from accessory.page.pictures import marked_picture
from SPHINX_V.prompts import Prompt

__all__ = ["Asked", "Example", "write_report"]

PAGE = "report.html"
MARKDOWN = "table.md"
PICTURES = "pictures"
# Longer side in pixels and size of the marks. Pages show these at about 270 and 150 pixels: half of that or less.
LARGE = (640, 1.9)
SMALL = (416, 1.8)

Rows = Sequence[Mapping[str, float]]


def write_report(
    out: Path,
    *,
    title: str,
    table: Table,
    curves: Mapping[str, Rows],
    examples: Sequence[Example],
    asked: Sequence[Asked],
    facts: Mapping[str, str],
) -> Path:
    """Writes `out`/report.html, `out`/table.md and `out`/pictures/*.png; returns the page's path.

    `table`: task → column → value; floats are shares in [0, 1] and get bars, whole numbers are counts. `curves`: stage
    → rows of its metrics.jsonl. The same arguments give the same bytes. Pictures of an earlier report are removed.
    Raises UsageError for an empty table and for a share outside [0, 1].
    """
    columns = columns_of(table)
    pictures = out / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for old in [*pictures.glob("example-*.png"), *pictures.glob("asked-*.png")]:
        old.unlink()
    sections = [
        _results(table, columns),
        _control(table),
        _examples(examples, out),
        _asked(asked, out),
        _curves(curves),
        facts_section(facts),
    ]
    page = fill_page(title, headline(table), sections, style=("report.css",))
    (out / MARKDOWN).write_text(markdown(table), encoding="utf-8")
    (out / PAGE).write_text(page, encoding="utf-8")
    return out / PAGE


def headline(table: Table) -> str:
    """The result in a sentence, from the table's first row, and what the control says about it."""
    task, row = next(iter(table.items()))
    if ACCURACY not in row:
        return f"{len(table)} {'task' if len(table) == 1 else 'tasks'} on pictures that the model has not seen."
    right = row[ACCURACY]
    said = f"On pictures that it has not seen, the model gets {percent(right)} of the marked places right ({task})."
    if SWAPPED not in row:
        return said
    swapped = row[SWAPPED]
    return f"{said} With the marks of another item it gets {percent(swapped)} right{_meaning(right, swapped)}"


def _meaning(right: float, swapped: float) -> str:
    """What the distance between the two numbers allows us to say."""
    if swapped <= right / 2 and right - swapped >= 0.2:
        return ": it reads the marks."
    if right - swapped >= 0.1:
        return ": it reads the marks in part, and can do without them in part."
    return ", which is no proof that it reads the marks."


def _results(table: Table, columns: Sequence[Column]) -> str:
    tones = {column.name: tone for tone, column in enumerate([c for c in columns if c.is_share], start=1)}
    heads = "".join(
        f'<th scope="col" role="columnheader"{_class(column)}>{escape(column.name)}</th>' for column in columns
    )
    rows = []
    for task, row in table.items():
        cells = "".join(_cell(column, row.get(column.name), tones.get(column.name, 0)) for column in columns)
        rows.append(f'<tr role="row"><th scope="row" role="rowheader">{escape(task)}</th>{cells}</tr>')
    body = (
        '<div class="sheet scroll"><table role="table">\n<thead role="rowgroup"><tr role="row">'
        f'<th scope="col" role="columnheader">task</th>{heads}</tr></thead>\n'
        '<tbody role="rowgroup">\n' + "\n".join(rows) + "\n</tbody>\n</table></div>"
    )
    return section("Results", "Share of exact answers on held-out pictures. An unanswered mark counts as wrong.", body)


def _class(column: Column) -> str:
    return ' class="share"' if column.is_share else ""


def _cell(column: Column, value: float | None, tone: int) -> str:
    bar = ""
    if column.is_share and value is not None:
        fill = f'<span class="fill tone{min(tone, 3)}" style="width:{100 * value:.1f}%"></span>'
        bar = f'<span class="track" aria-hidden="true">{fill}</span>'
    kind = _class(column) if value is not None else ' class="absent"'
    # On a phone the head of the table is gone and every cell shows its own name.
    name = escape(column.name, quote=True)
    return f'<td{kind} role="cell" data-name="{name}">{escape(column.text(value))}{bar}</td>'


def _control(table: Table) -> str:
    if not any(SWAPPED in row for row in table.values()):
        return ""
    said = (
        "An answer can be guessed from the question, or from the picture alone. To see how far guessing goes, every "
        "question is asked once more about the same picture, with the marks of another item on another picture. The "
        "true answers stay those of the first marks. A model that looks at the marks must now be wrong, except by "
        f"chance; one that guesses stays as right as before. So in the column “{SWAPPED}” low is good. Chance is not "
        "zero: of four directions one is right a quarter of the time, of two marks one is the larger half of the time, "
        "and a foreign mark may fall on the right object."
    )
    return section("What swapped marks show", said, "")


def _save(out: Path, name: str, path: Path, prompts: Sequence[Prompt], side: int, mark_size: float) -> PictureFile:
    picture = marked_picture(path, prompts, side, mark_size)
    picture.save(out / PICTURES / name, optimize=True)
    return PictureFile(f"{PICTURES}/{name}", picture.width, picture.height)


def _examples(examples: Sequence[Example], out: Path) -> str:
    if not examples:
        return ""
    cards = []
    for index, example in enumerate(examples, start=1):
        picture = _save(out, f"example-{index:02}.png", example.item.picture, example.item.prompts, *LARGE)
        swapped = None
        if example.swapped is not None:
            name = f"example-{index:02}-swapped.png"
            swapped = _save(out, name, example.item.picture, example.swapped_prompts, *SMALL)
        cards.append(example_card(example, picture, swapped))
    intro = "Marks are numbered on the picture and keep their colours in the text. ✓ is right, ✗ is wrong."
    if any(example.swapped is not None for example in examples):
        intro += " On the tinted ground: the control, where ✗ is what should happen."
    return section("Answers", intro, '<div class="cards">\n' + "\n".join(cards) + "\n</div>")


def _asked(asked: Sequence[Asked], out: Path) -> str:
    if not asked:
        return ""
    cards = [
        asked_card(one, _save(out, f"asked-{index:02}.png", one.picture, one.prompts, *LARGE))
        for index, one in enumerate(asked, start=1)
    ]
    intro = "Questions put to the model after training. These answers are not scored."
    return section("Asked freely", intro, '<div class="cards free">\n' + "\n".join(cards) + "\n</div>")


def _points(rows: Rows, key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row["step"]), float(row[key])) for row in rows if "step" in row and row.get(key) is not None)


def _curves(curves: Mapping[str, Rows]) -> str:
    losses, others = [], []
    for stage, rows in curves.items():
        loss = [
            Curve("loss", _points(rows, "loss"), 1),
            Curve("at the marks", _points(rows, "mark_loss"), 2),
            Curve("at their patches", _points(rows, "patch_loss"), 3),
        ]
        losses.append(_figure(stage, loss, "loss"))
        others.append(_figure(stage, [Curve("gradient norm", _points(rows, "grad_norm"), 1)], "gradient norm"))
        others.append(_figure(stage, [Curve("learning rate", _points(rows, "lr"), 1)], "learning rate"))
    if not any(losses):
        return ""
    body = '<div class="charts">\n' + "\n".join(filter(None, losses)) + "\n</div>"
    if any(others):
        more = '<div class="charts">\n' + "\n".join(filter(None, others)) + "\n</div>"
        body += f"\n<details><summary>Gradient norm and learning rate</summary>\n{more}</details>"
    intro = "Thin: every step. Thick: their running mean."
    return section("Training", intro, body)


def _figure(stage: str, curves: Sequence[Curve], y_label: str) -> str:
    drawn = chart(f"{stage}, {y_label}", curves, y_label)
    if not drawn:
        return ""
    keys = []
    for curve in curves:
        end = last_value(curve)
        if end is not None:
            keys.append(f'<span class="key tone{curve.tone}">{escape(curve.name)}, at the end {number(end)}</span>')
    caption = f"<figcaption><strong>{escape(stage)}</strong>{''.join(keys)}</figcaption>"
    return f'<figure class="sheet">{caption}\n{drawn}</figure>'
