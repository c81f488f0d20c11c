"""Draws the architecture as SVG: every size in it comes from a configuration, none is typed here."""

from __future__ import annotations

from html import escape

from SPHINX_V.config import NUM_VIEWS, SphinxVConfig, ViTConfig
from SPHINX_V.overlay import PALETTE, text_color

WIDTH, HEIGHT = 1200, 872
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
INK, SOFT, LINE, GROUND, SHEET = "#1c2430", "#5a6472", "#8a94a0", "#f6f5f1", "#ffffff"
ENCODERS, LANGUAGE, MARKS, WORDS = "#e4edf2", "#d3e6dc", "#f7e3ea", "#f6ecd2"  # grounds of boxes, by what they hold
LETTER = 0.56  # mean width of a letter in ems of its size, for the check that words fit their boxes

# Columns and rows of the drawing, in its pixels.
VISION_X, TOWER_W, GAP = 40, 168, 16
MARKS_X, MARKS_W = 792, 176
TEXT_X, TEXT_W = 984, 176
INPUT_Y, TOWER_Y, QFORMER_Y, PROJECTION_Y, SEQUENCE_Y, LLAMA_Y, ANSWER_Y = 84, 296, 400, 484, 600, 712, 806


def architecture(config: SphinxVConfig, title: str) -> str:
    """The drawing of a model with these sizes."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="{FONT}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(title)}: picture, marks and question become one sequence for LLaMA</title>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="{GROUND}"/>',
        _text(40, 50, title, 24, weight=650),
        *_legend(),
        *_picture_and_views(config),
        *_towers(config),
        *_marks(config),
        *_question(config),
        *_sequence(config),
        *_language_model(config),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(
    x: float, y: float, text: str, size: float = 14, color: str = INK, anchor: str = "start", weight: int = 400
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{color}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text, quote=False)}</text>'
    )


def _box(x: float, y: float, w: float, h: float, fill: str, title: str, *lines: str) -> str:
    """A box with a title and smaller lines, all centred. Words that cannot fit are a mistake of ours."""
    for words, size in ((title, 15), *((line, 12.5) for line in lines)):
        assert len(words) * size * LETTER <= w, f"{words!r} is wider than its box of {w:g} px"
    middle = x + w / 2
    first = y + h / 2 + 5 - 8.5 * len(lines)
    said = [_text(middle, first, title, 15, anchor="middle", weight=600)]
    said += [_text(middle, first + 17 * n, line, 12.5, SOFT, "middle") for n, line in enumerate(lines, start=1)]
    return "\n".join([_plate(x, y, w, h, fill), *said])


def _plate(x: float, y: float, w: float, h: float, fill: str) -> str:
    size = f'width="{w:g}" height="{h:g}" rx="8"'
    return f'<rect x="{x:g}" y="{y:g}" {size} fill="{fill}" stroke="{LINE}" stroke-width=".8"/>'


def _arrow(*places: tuple[float, float]) -> str:
    points = " ".join(f"{x:g},{y:g}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="1.5" marker-end="url(#tip)"/>'


def _badge(x: float, y: float, number: int, size: float = 18) -> str:
    color = PALETTE[number - 1]
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" rx="5" fill="rgb{color}" stroke="{SHEET}"/>'
        + _text(x + size / 2, y + size * 0.75, str(number), size * 0.72, f"rgb{text_color(color)}", "middle", 700)
    )


def _legend() -> list[str]:
    parts = []
    x = 700.0
    for fill, words in ((ENCODERS, "encoders"), (LANGUAGE, "projections and LLM"), (MARKS, "marks"), (WORDS, "text")):
        parts.append(
            f'<rect x="{x:g}" y="38" width="16" height="16" rx="4" fill="{fill}" stroke="{LINE}" stroke-width=".8"/>'
        )
        parts.append(_text(x + 23, 51, words, 13.5, SOFT))
        x += 52 + 7.4 * len(words)
    return parts


def _scene(x: float, y: float, side: float) -> str:
    """A small picture: hills, a circle, a star, a square; drawn in units of 100."""
    return (
        f'<g transform="translate({x:g} {y:g}) scale({side / 100:g})">'
        '<rect width="100" height="100" fill="#cfe0ea"/><path d="M0 66Q26 50 52 64T100 58V100H0z" fill="#a9c0a0"/>'
        '<path d="M0 84Q34 70 66 82T100 78V100H0z" fill="#8aa883"/><circle cx="30" cy="34" r="14" fill="#d9403c"/>'
        '<path fill="#3b62d6" d="M72 50l4.7 11.2 12.1 1-9.2 7.9 2.8 11.8-10.4-6.3-10.4 6.3 2.8-11.8-9.2-7.9 12.1-1z"/>'
        '<rect x="58" y="14" width="19" height="19" rx="2" fill="#f0c53a"/></g>'
    )


def _picture_and_views(config: SphinxVConfig) -> list[str]:
    vision = config.vision
    side = 152
    x, y = VISION_X, INPUT_Y + 8
    red, blue = (f"rgb{PALETTE[n]}" for n in (0, 1))
    box = (x + 0.13 * side, y + 0.17 * side, 0.34 * side)
    parts = [
        _text(x, y - 6, "picture with marks", 13.5, SOFT),
        _scene(x, y, side),
        f'<rect x="{box[0]:g}" y="{box[1]:g}" width="{box[2]:g}" height="{box[2]:g}" fill="none" stroke="{red}" '
        'stroke-width="3"/>',
        f'<circle cx="{x + 0.72 * side:g}" cy="{y + 0.67 * side:g}" r="5" fill="{blue}" stroke="{SHEET}"/>',
        _badge(box[0] - 4, box[1] - 14, 1),
        _badge(x + 0.75 * side, y + 0.50 * side, 2),
        _arrow((x + side + 8, y + side / 2), (x + side + 46, y + side / 2)),
    ]
    # The whole view and the four quarters, all of one size.
    tile = 84
    left = x + side + 60
    size = f"{vision.view_size}×{vision.view_size}"
    said = (
        f"padded, {vision.picture_size}×{vision.picture_size}; {NUM_VIEWS} views of {size}: the whole and its quarters"
    )
    parts.append(_text(left, y - 6, said, 13.5, SOFT))
    top = y + (side - tile) / 2
    for number in range(NUM_VIEWS):
        place = left + number * (tile + 14)
        row, column = divmod(number - 1, 2)
        clip = f"view{number}"
        window = f'<rect x="{place:g}" y="{top:g}" width="{tile}" height="{tile}" rx="5"/>'
        parts.append(f'<clipPath id="{clip}">{window}</clipPath>')
        scene = _scene(place, top, tile) if number == 0 else _scene(place - column * tile, top - row * tile, 2 * tile)
        parts.append(f'<g clip-path="url(#{clip})">{scene}</g>')
    end = left + NUM_VIEWS * (tile + 14) - 14
    parts.append(_bracket(left, end, top + tile + 8))
    parts.append(_text((left + end) / 2, top + tile + 34, "each view goes through all encoders", 13, SOFT, "middle"))
    parts.append(_line((left + end) / 2, top + tile + 42, TOWER_Y - 26))
    return parts


def _line(x: float, y0: float, y1: float) -> str:
    return f'<path d="M{x:g} {y0:g}V{y1:g}" stroke="{LINE}" stroke-width="1.2"/>'


def _bracket(x0: float, x1: float, y: float) -> str:
    return f'<path d="M{x0:g} {y:g}v6H{x1:g}v-6" fill="none" stroke="{LINE}" stroke-width="1.2"/>'


def _tower_x(number: int) -> float:
    return VISION_X + number * (TOWER_W + GAP)


def _vit(tower: ViTConfig) -> tuple[str, str]:
    return f"{_count(tower.layers, 'layer')}, width {tower.width:,}", f"{tower.heads} heads"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _towers(config: SphinxVConfig) -> list[str]:
    vision = config.vision
    patches = 1 + vision.grid**2
    mixed = f"1 + {vision.grid}² tokens"
    depths = " · ".join(str(depth) for depth in vision.convnext.depths)
    boxes = [
        ("CLIP ViT", *_vit(vision.clip), mixed),
        ("ConvNeXt", f"{depths} blocks", f"width {vision.convnext.dims[-1]:,}", mixed),
        ("DINOv2 ViT", *_vit(vision.dinov2), mixed),
        ("BLIP-2 ViT", *_vit(vision.blip2_vit)),
    ]
    height = 84
    parts = []
    for number, (title, *lines) in enumerate(boxes):
        x = _tower_x(number)
        parts.append(_arrow((x + TOWER_W / 2, TOWER_Y - 26), (x + TOWER_W / 2, TOWER_Y - 3)))
        parts.append(_box(x, TOWER_Y, TOWER_W, height, ENCODERS, title, *lines))
    parts.append(_bracket_up(_tower_x(0) + TOWER_W / 2, _tower_x(3) + TOWER_W / 2, TOWER_Y - 26))
    qformer = vision.qformer
    x = _tower_x(3)
    said = (f"{_count(qformer.layers, 'layer')}, width {qformer.width:,}", f"{qformer.num_query_tokens} query tokens")
    parts += [
        _arrow((x + TOWER_W / 2, TOWER_Y + height), (x + TOWER_W / 2, QFORMER_Y - 3)),
        _box(x, QFORMER_Y, TOWER_W, 62, ENCODERS, "Q-Former", *said),
        _arrow((x + TOWER_W / 2, QFORMER_Y + 62), (x + TOWER_W / 2, PROJECTION_Y - 3)),
    ]
    # Three towers side by side, channel by channel.
    middle = _tower_x(1) + TOWER_W / 2
    parts.append(_bracket(_tower_x(0) + TOWER_W / 2, _tower_x(2) + TOWER_W / 2, TOWER_Y + height + 8))
    sum_of = f"{vision.clip.width:,} + {vision.convnext.dims[-1]:,} + {vision.dinov2.width:,} = {vision.mixed_width:,}"
    parts.append(_text(middle, TOWER_Y + height + 38, "side by side in channels:", 13, SOFT, "middle"))
    parts.append(_text(middle, TOWER_Y + height + 56, sum_of, 13, SOFT, "middle"))
    parts.append(_arrow((middle, TOWER_Y + height + 66), (middle, PROJECTION_Y - 3)))
    dim = config.llm.dim
    wide = 3 * TOWER_W + 2 * GAP
    mixing = f"Linear {vision.mixed_width:,} → {dim:,}, LayerNorm"
    parts.append(_box(_tower_x(0), PROJECTION_Y, wide, 52, LANGUAGE, mixing, f"{patches} tokens per view"))
    parts.append(_box(x, PROJECTION_Y, TOWER_W, 52, LANGUAGE, f"{qformer.width:,} → {dim:,}", "Linear, LayerNorm"))
    for place in (middle, x + TOWER_W / 2):
        parts.append(_arrow((place, PROJECTION_Y + 52), (place, SEQUENCE_Y - 25)))
    return parts


def _bracket_up(x0: float, x1: float, y: float) -> str:
    return f'<path d="M{x0:g} {y:g}H{x1:g}" fill="none" stroke="{LINE}" stroke-width="1.2"/>'


def _marks(config: SphinxVConfig) -> list[str]:
    prompts = config.prompts
    x, w = MARKS_X, MARKS_W
    middle = x + w / 2
    dim = config.llm.dim
    parts = [
        _text(x, INPUT_Y + 2, "marks", 13.5, SOFT),
        _plate(x, INPUT_Y + 12, w, 96, SHEET),
        _badge(x + 14, INPUT_Y + 26, 1),
        _text(x + 42, INPUT_Y + 40, "box x0, y0, x1, y1", 13),
        _badge(x + 14, INPUT_Y + 52, 2),
        _text(x + 42, INPUT_Y + 66, "point x, y", 13),
        _text(x + 14, INPUT_Y + 94, f"up to {prompts.num_slots}", 13, SOFT),
    ]
    features = ("of each corner,", f"{prompts.frequencies} frequencies: {prompts.corner_width}")
    steps = (
        (TOWER_Y - 74, 74, MARKS, "Fourier features", *features),
        (
            TOWER_Y + 30,
            74,
            MARKS,
            "Prompt encoder",
            "+ learned kind of mark",
            f"{prompts.num_slots} slots of {prompts.width}",
        ),
        (PROJECTION_Y, 52, LANGUAGE, f"{prompts.width} → {dim:,}", "Linear, LayerNorm"),
    )
    above = INPUT_Y + 108.0
    for y, height, fill, title, *lines in steps:
        parts.append(_arrow((middle, above), (middle, y - 3)))
        parts.append(_box(x, y, w, height, fill, title, *lines))
        above = y + height
    parts.append(_arrow((middle, above), (middle, SEQUENCE_Y - 3)))
    return parts


def _question(config: SphinxVConfig) -> list[str]:
    x, w = TEXT_X, TEXT_W
    middle = x + w / 2
    question = ("What is <Region 1>?", "What is <Mark 2>?")
    parts = [
        _text(x, INPUT_Y + 2, "question", 13.5, SOFT),
        _plate(x, INPUT_Y + 12, w, 96, SHEET),
        *(_text(x + 14, INPUT_Y + 54 + 20 * n, line, 13.5) for n, line in enumerate(question)),
        _arrow((middle, INPUT_Y + 108), (middle, TOWER_Y + 27)),
        _box(x, TOWER_Y + 30, w, 74, WORDS, "Tokenizer", "SentencePiece,", f"{config.llm.vocab_size:,} pieces"),
        _arrow((middle, TOWER_Y + 104), (middle, PROJECTION_Y - 3)),
        _box(x, PROJECTION_Y, w, 52, LANGUAGE, "Token embeddings", f"{config.llm.dim:,} wide"),
        _arrow((middle, PROJECTION_Y + 52), (middle, SEQUENCE_Y - 3)),
    ]
    return parts


def _sequence(config: SphinxVConfig) -> list[str]:
    """The bar of tokens; the views' part has a label on its upper edge that says what one view is made of."""
    per_view = config.vision.tokens_per_view + 2
    marks = config.prompts.num_slots + 2
    queries = config.vision.qformer.num_query_tokens
    height = 52
    x = float(VISION_X)
    made_of = f"one view: start + {queries} + {per_view - 2 - queries} + end = {per_view} tokens"
    parts = [_text((_tower_x(0) + _tower_x(3) + TOWER_W) / 2, SEQUENCE_Y - 10, made_of, 13, SOFT, "middle")]
    parts.append(_box(x, SEQUENCE_Y, 52, height, WORDS, "BOS"))
    x += 58
    width = (_tower_x(3) + TOWER_W - x - 6 * (NUM_VIEWS - 1)) / NUM_VIEWS
    for number in range(NUM_VIEWS):
        name = "whole view" if number == 0 else f"quarter {number}"
        parts.append(_box(x, SEQUENCE_Y, width, height, LANGUAGE, name, f"{per_view}"))
        x += width + 6
    parts.append(_box(MARKS_X, SEQUENCE_Y, MARKS_W, height, MARKS, "marks", f"start + {marks - 2} + end = {marks}"))
    parts.append(_box(TEXT_X, SEQUENCE_Y, TEXT_W, height, WORDS, "text", "the conversation"))
    below = SEQUENCE_Y + height
    parts.append(_bracket(VISION_X + 58, MARKS_X + MARKS_W, below + 6))
    total = f"{NUM_VIEWS} · {per_view} + {marks} = {config.visual_length:,} visual tokens"
    parts.append(_text((VISION_X + 58 + MARKS_X + MARKS_W) / 2, below + 30, total, 14.5, INK, "middle", 600))
    return parts


def _language_model(config: SphinxVConfig) -> list[str]:
    llm = config.llm
    wide = WIDTH - 2 * VISION_X
    middle = WIDTH / 2
    groups = "" if llm.kv_heads == llm.n_heads else f" ({llm.kv_heads} for keys and values)"
    sizes = (
        f"{llm.n_layers} layers, width {llm.dim:,}, {llm.n_heads} heads{groups}, SwiGLU {llm.ffn_dim:,}, "
        f"rotary positions, causal attention over up to {llm.max_seq_len:,} tokens"
    )
    answer = "<Region 1> is a red circle, <Mark 2> is a blue star."
    return [
        _arrow((middle, SEQUENCE_Y + 90), (middle, LLAMA_Y - 3)),
        _box(VISION_X, LLAMA_Y, wide, 62, LANGUAGE, "LLaMA", sizes),
        _arrow((middle, LLAMA_Y + 62), (middle, ANSWER_Y - 3)),
        _plate(middle - 240, ANSWER_Y, 480, 42, SHEET),
        _text(middle, ANSWER_Y + 27, answer, 16, anchor="middle"),
    ]
