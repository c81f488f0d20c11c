"""The embedded data set: pictures drawn by our own code, with marked questions whose answers are known exactly.

Command: `python -m accessory.data.synthetic OUT --items 8000 --heldout 200 --seed 0`.

Public helpers, kept stable:

- `draw_picture(domain, seed) -> Drawn(image, elements, domain)`: one picture; `domain` is "scene", "text", "screen"
  or "panel", `seed` a non-negative int or a sequence of them. `image` is RGB, longer side 144..208 pixels.
- `Element(kind, label, box, core)`: `box` xyxy pixels, `kind` "object" (label "red circle") or "word" (label "EXIT").
- `ask(drawn, series, rng) -> Item | None`: a question of a series such as ("labels", "box") about a drawn picture.
- `generate(out, items, heldout, seed, workers) -> Summary`: the whole data set on disk.

`plan` holds the tables to tune, `vocabulary` the words.
"""

from .build import generate
from .elements import Drawn, Element
from .files import Summary
from .pictures import draw_picture
from .questions import Item, ask

__all__ = ["Drawn", "Element", "Item", "Summary", "ask", "draw_picture", "generate"]
