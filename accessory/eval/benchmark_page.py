"""The report of benchmark suites: numbers beside published ones, counts, notes, and examples with numbered marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from accessory.eval.controls import Control
from accessory.eval.example_cards import Chosen, choose_examples, scored_card
from accessory.eval.files import write_whole
from accessory.eval.options import ReportOptions
from accessory.eval.page import facts_section, fill_page, section
from accessory.eval.published import OURS, Number, Published
from accessory.eval.results import (
    CONTROL_TITLES,
    Average,
    Row,
    averages,
    interval,
    markdown,
    notes_of,
    number,
    rows_of,
    to_json,
)
from accessory.eval.scoring import Outcome
from accessory.page.marks import PictureFile
from accessory.page.pictures import marked_picture

PAGE, MARKDOWN, JSON, PICTURES = "report.html", "table.md", "results.json", "pictures"
# Pixels of the longer side, and size of the marks: pages show pictures at about half of that.
SIDE, MARK_SIZE = 800, 1.7
NOTHING = '<span class="zero">0</span>'
COUNTS = {
    "items": "items",
    "regions": "places asked about",
    "unanswered": "unanswered",
    "unparsable": "unparsable",
    "repeated": "named twice",
    "invented": "invented",
    "cut": "cut off at the longest length",
    "unjudged": "without a verdict",
}
SOMETIMES = ("repeated", "invented", "cut", "unjudged")  # left out where there are none


def write_benchmark_report(
    out: Path,
    outcomes: Sequence[Outcome],
    groups: Mapping[str, Sequence[str]],
    published: Published,
    options: ReportOptions,
    facts: Mapping[str, str],
) -> Path:
    """Writes `out`/report.html, table.md, results.json and pictures/; returns the page's path.

    `groups`: group → suites, for averages. The same arguments give the same bytes. Pictures of an earlier report are
    removed.
    """
    means = averages(outcomes, groups)
    rows = rows_of(outcomes, published)
    out.mkdir(parents=True, exist_ok=True)
    sections = [
        _results(rows, published),
        _averages(means),
        _counts(outcomes),
        _notes(outcomes),
        *_examples(out, outcomes, options),
        facts_section(facts),
    ]
    page = fill_page(options.title, _lead(outcomes), sections, style=("report.css", "benchmark.css"))
    write_whole(out / JSON, to_json(outcomes, means, published))
    write_whole(out / MARKDOWN, markdown(outcomes, means, published))
    write_whole(out / PAGE, page)
    return out / PAGE


def _lead(outcomes: Sequence[Outcome]) -> str:
    asked = [one for one in outcomes if one.control == "none"]
    items = sum(one.scores.tally.items for one in asked)
    missing = sum(len(one.scores.tally.faults) for one in asked)
    suites = "1 suite" if len(asked) == 1 else f"{len(asked)} suites"
    said = f"{suites}, {items:,} questions."
    if missing:
        said += f" {missing:,} of them could not be asked; the notes name them."
    return said


def _results(rows: Sequence[Row], published: Published) -> str:
    controls = [control for control in CONTROL_TITLES if any(control in row.controls for row in rows)]
    papers = any(row.published for row in rows)
    names = ["ours", "95 %", *(CONTROL_TITLES[control] for control in controls), *([OURS, "best published"] * papers)]
    heads = "".join(
        f'<th scope="col" role="columnheader"{_wide(name)}>{escape(name)}</th>' for name in ["number", *names]
    )
    bodies = []
    for suite, grouped in groupby(rows, key=lambda row: row.suite):
        suite_rows = list(grouped)
        title = escape(_spaced(suite))
        lines = []
        if len(suite_rows) > 1:
            lines.append(
                '<tr class="suite" role="row"><th scope="rowgroup" role="rowheader"'
                f' colspan="{len(names) + 1}">{title}</th></tr>'
            )
        for row in suite_rows:
            head = _number_name(row) if len(suite_rows) > 1 else f"<strong>{title}</strong> {_number_name(row)}"
            kind = ' class="strict"' if row.score.strict else ""
            cells = "".join(_row_cells(row, controls, papers))
            lines.append(f'<tr role="row"{kind}><th scope="row" role="rowheader">{head}</th>{cells}</tr>')
        bodies.append('<tbody role="rowgroup">\n' + "\n".join(lines) + "\n</tbody>")
    body = (
        '<div class="sheet scroll"><table class="numbers" role="table">\n<thead role="rowgroup"><tr role="row">'
        f"{heads}</tr></thead>\n" + "\n".join(bodies) + "\n</table></div>"
    )
    intro = "On the papers' scale, 0 to 100. The interval is a bootstrap over items."
    if any(row.score.strict for row in rows):
        intro += " A strict number counts silence as 0; the number without that word is the one that papers give."
    if papers:
        intro += (
            ' On the bars, <span class="swatch paper"></span> is the SPHINX-V of the paper and'
            ' <span class="swatch best"></span> the best published number.'
            f" Published numbers: {escape(published.sources)}."
        )
    return section("Results", intro, body)


def _number_name(row: Row) -> str:
    return escape(row.score.name) + (' <span class="aside">lower is better</span>' * row.score.lower_is_better)


def _row_cells(row: Row, controls: Sequence[Control], papers: bool) -> Iterator[str]:
    yield _cell("ours", number(row.score.value), _track(row))
    yield _cell("95 %", interval(row.score))
    for control in controls:
        score = row.controls.get(control)
        yield _cell(CONTROL_TITLES[control], "" if score is None else number(score.value))
    if papers:
        yield _cell(OURS, _paper(row.ours_published))
        yield _cell("best published", _paper(row.best_published))


def _wide(name: str) -> str:
    return ' class="share"' if name == "ours" else ""


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _paper(found: Number | None) -> str:
    """A published number with the model's name where it is not our own, and its note."""
    if found is None:
        return ""
    aside = ", ".join(filter(None, ["" if found.model == OURS else found.model, found.note]))
    return number(found.value) + (f' <span class="aside">{escape(aside)}</span>' if aside else "")


def _cell(name: str, text: str, more: str = "") -> str:
    kind = ' class="share"' if name == "ours" else "" if text else ' class="absent"'
    return f'<td{kind} role="cell" data-name="{escape(name, quote=True)}">{text}{more}</td>'


def _track(row: Row) -> str:
    """A bar from 0 to the most that there is: our number, its interval, published ones as signs; "" without an end."""
    value, most = row.score.value, row.score.most
    if value is None or most is None:
        return ""

    def place(number: float) -> float:
        return min(100.0, max(0.0, 100 * number / most))

    parts = [f'<span class="fill" style="width:{place(value):.1f}%"></span>']
    if row.score.interval is not None:
        low, high = (place(end) for end in row.score.interval)
        parts.append(f'<span class="whisker" style="left:{low:.1f}%;width:{high - low:.1f}%"></span>')
    for found, kind in ((row.ours_published, "paper"), (row.best_published, "best")):
        if found is not None:
            parts.append(f'<span class="peer {kind}" style="left:{place(found.value):.1f}%"></span>')
    return f'<span class="track" aria-hidden="true">{"".join(parts)}</span>'


def _averages(means: Sequence[Average]) -> str:
    if not means:
        return ""
    names = list(dict.fromkeys(one.name for one in means))
    rows = []
    for group, grouped in groupby(means, key=lambda one: one.group):
        of_group = {one.name: one for one in grouped}
        present = [of_group.get(name) for name in names]
        counted = next(iter(of_group.values()))
        cells = [_cell(name, "" if one is None else number(one.value)) for name, one in zip(names, present)]
        cells.append(_cell("suites", f"{counted.suites} of {counted.of}"))
        title = f'<th scope="row" role="rowheader">{escape(_spaced(group))}</th>'
        rows.append(f'<tr role="row">{title}{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col" role="columnheader">{escape(name)}</th>' for name in ("group", *names, "suites"))
    body = '<tbody role="rowgroup">\n' + "\n".join(rows) + "\n</tbody>"
    table = f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n{body}'
    intro = "Each suite of a group counts the same, however many items it has."
    return section("Averages", intro, f'<div class="sheet scroll"><table role="table">{table}</table></div>')


def _counts(outcomes: Sequence[Outcome]) -> str:
    columns = dict(COUNTS)
    for name in SOMETIMES:
        if not any(getattr(one.scores.tally, name) for one in outcomes):
            del columns[name]
    rows = []
    for one in outcomes:
        tally = one.scores.tally
        control = "" if one.control == "none" else f' <span class="aside">{CONTROL_TITLES[one.control]}</span>'
        counts = {title: getattr(tally, name) for name, title in columns.items()} | {"not asked": len(tally.faults)}
        cells = "".join(_cell(title, f"{count:,}" if count else NOTHING) for title, count in counts.items())
        title = f"{escape(_spaced(one.suite))}{control}"
        rows.append(f'<tr role="row"><th scope="row" role="rowheader">{title}</th>{cells}</tr>')
    heads = "".join(
        f'<th scope="col" role="columnheader">{name}</th>' for name in ("suite", *columns.values(), "not asked")
    )
    table = f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n<tbody role="rowgroup">' + "\n".join(rows)
    intro = (
        "Unanswered: the answer can be read, and says nothing of a place. Unparsable: no line of the answer says which"
        " place it is about. Invented: the answer names a place that is not marked."
    )
    return section(
        "Answers", intro, f'<div class="sheet scroll"><table class="counts" role="table">{table}</tbody></table></div>'
    )


def _notes(outcomes: Sequence[Outcome]) -> str:
    notes = notes_of(outcomes)
    if not notes:
        return ""
    body = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section("Notes", "", f'<ul class="notes sheet">{body}</ul>')


def _examples(out: Path, outcomes: Sequence[Outcome], options: ReportOptions) -> list[str]:
    """A section per suite whose pictures can be found."""
    folder = out / PICTURES
    if folder.is_dir():
        for old in folder.glob("*-example-*.jpg"):
            old.unlink()
    sections = []
    for one in outcomes:
        chosen = choose_examples(one, options) if one.control == "none" and one.picture_root is not None else []
        cards = [scored_card(example, _save(out, one, example, place)) for place, example in enumerate(chosen, start=1)]
        if cards:
            body = '<div class="cards">\n' + "\n".join(cards) + "\n</div>"
            sections.append(section(f"Examples: {escape(_spaced(one.suite))}", "", body))
    return sections


def _save(out: Path, outcome: Outcome, example: Chosen, place: int) -> PictureFile | None:
    """The picture with its marks beside the page; None where it has gone since it was asked about."""
    assert outcome.picture_root is not None
    path = outcome.picture_root / example.prediction.image_name
    if not path.is_file():
        return None
    (out / PICTURES).mkdir(exist_ok=True)
    picture = marked_picture(path, example.prediction.marks, mark_size=MARK_SIZE, largest=SIDE, fine=True)
    name = f"{outcome.suite}-example-{place:02}.jpg"
    picture.save(out / PICTURES / name, quality=88, subsampling=0)
    return PictureFile(f"{PICTURES}/{name}", picture.width, picture.height)
