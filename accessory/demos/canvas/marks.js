// Marks on a picture, their geometry and their history: no DOM, all numbers in pixels of the original picture.
//
// Frame: x to the right, y down, the origin at the picture's top-left corner. A position is where a finger is, with
// fractions. A mark has whole numbers: a point and a scribble name pixels (0 … width − 1), the corners of a box and of
// a mask's outline lie between pixels (0 … width), so a box around everything is [0, 0, width, height].
"use strict";

(function (canvas) {
  const KINDS = ["point", "box", "scribble", "mask"];
  // The colours of SPHINX_V/overlay.py, so that a mark looks the same here and in a figure.
  const COLORS = ["#ff408c", "#3b81eb", "#ebdf3b", "#0ceb83", "#683980", "#a65b29", "#ff73d0", "#0d0dff", "#a60847", "#9ba608"];
  const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const colorOf = (id) => COLORS[(id - 1) % COLORS.length];

  /** Dark or light, whichever reads better on the colour of mark `id` (WCAG relative luminance). */
  function textColorOf(id) {
    const hex = colorOf(id);
    const linear = [1, 3, 5].map((at) => {
      const v = parseInt(hex.slice(at, at + 2), 16) / 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#141418" : "#ffffff";
  }

  /** The vertices of a mark as pairs: one for a point, two corners for a box, all of a scribble or mask. */
  function vertices(mark) {
    if (mark.kind === "point") return [mark.coords];
    if (mark.kind === "box") return [mark.coords.slice(0, 2), mark.coords.slice(2)];
    return mark.coords;
  }

  function withVertices(mark, pairs) {
    const flat = mark.kind === "point" ? [...pairs[0]] : mark.kind === "box" ? pairs.flat() : pairs;
    return { ...mark, coords: flat };
  }

  /** [x0, y0, x1, y1] around a mark's vertices. */
  function bounds(mark) {
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const [x, y] of vertices(mark)) {
      x0 = Math.min(x0, x); y0 = Math.min(y0, y); x1 = Math.max(x1, x); y1 = Math.max(y1, y);
    }
    return [x0, y0, x1, y1];
  }

  /** The largest coordinates of a kind: pixels end one earlier than the edges between them. */
  function limits(kind, size) {
    const last = kind === "point" || kind === "scribble" ? 1 : 0;
    return [size.width - last, size.height - last];
  }

  function whole(kind, [x, y], size) {
    const round = kind === "point" || kind === "scribble" ? Math.floor : Math.round;
    const [right, bottom] = limits(kind, size);
    return [clamp(round(x), 0, right), clamp(round(y), 0, bottom)];
  }

  /** Twice the area inside a closed outline, without sign. */
  function doubleArea(outline) {
    let sum = 0;
    outline.forEach(([x, y], i) => {
      const [u, v] = outline[(i + 1) % outline.length];
      sum += x * v - u * y;
    });
    return Math.abs(sum);
  }

  function distanceToSegment([x, y], [x0, y0], [x1, y1]) {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const t = length ? clamp(((x - x0) * dx + (y - y0) * dy) / length, 0, 1) : 0;
    return Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
  }

  /** The stroke with fewer vertices, none of the left-out ones farther than `slack` from it (Douglas and Peucker). */
  function simplified(pairs, slack) {
    const keep = new Set([0, pairs.length - 1]);
    const spans = [[0, pairs.length - 1]];
    while (spans.length) {
      const [from, to] = spans.pop();
      let [worst, at] = [slack, -1];
      for (let i = from + 1; i < to; i++) {
        const distance = distanceToSegment(pairs[i], pairs[from], pairs[to]);
        if (distance > worst) [worst, at] = [distance, i];
      }
      if (at > 0) {
        keep.add(at);
        spans.push([from, at], [at, to]);
      }
    }
    return pairs.filter((_, i) => keep.has(i));
  }

  /** A mark of `kind` from the positions that a pointer passed, or null where they enclose nothing. */
  function fromPositions(kind, positions, size, slack = 0) {
    const last = positions[positions.length - 1];
    if (kind === "point") return { kind, coords: whole(kind, last, size) };
    if (kind === "box") {
      const [[ax, ay], [bx, by]] = [whole(kind, positions[0], size), whole(kind, last, size)];
      const coords = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
      return coords[0] < coords[2] && coords[1] < coords[3] ? { kind, coords } : null;
    }
    const pairs = simplified(positions, slack).map((position) => whole(kind, position, size));
    const coords = pairs.filter(([x, y], i) => i === 0 || x !== pairs[i - 1][0] || y !== pairs[i - 1][1]);
    return kind === "scribble" || doubleArea(coords) > 0 ? { kind, coords } : null;
  }

  /** The mark shifted by whole pixels, as far as it stays inside the picture. */
  function moved(mark, dx, dy, size) {
    const [x0, y0, x1, y1] = bounds(mark);
    const [right, bottom] = limits(mark.kind, size);
    dx = clamp(Math.round(dx), Math.min(-x0, 0), Math.max(right - x1, 0));
    dy = clamp(Math.round(dy), Math.min(-y0, 0), Math.max(bottom - y1, 0));
    return withVertices(mark, vertices(mark).map(([x, y]) => [x + dx, y + dy]));
  }

  /** The mark with one of its eight handles at `position`; a shape is stretched with its bounds. Points have no size. */
  function resized(mark, handle, position, size) {
    if (mark.kind === "point") return mark;
    const old = bounds(mark);
    const [x, y] = whole(mark.kind, position, size);
    const [x0, y0, x1, y1] = old;
    const next = [
      handle.includes("w") ? Math.min(x, x1 - 1) : x0, handle.includes("n") ? Math.min(y, y1 - 1) : y0,
      handle.includes("e") ? Math.max(x, x0 + 1) : x1, handle.includes("s") ? Math.max(y, y0 + 1) : y1,
    ];
    if (mark.kind === "box") return { ...mark, coords: next };
    const stretch = (v, a, b, c, d) => (b > a ? Math.round(c + ((v - a) / (b - a)) * (d - c)) : v);
    const coords = mark.coords.map(([u, v]) => [
      stretch(u, x0, x1, next[0], next[2]), stretch(v, y0, y1, next[1], next[3]),
    ]);
    return mark.kind === "mask" && doubleArea(coords) === 0 ? mark : { ...mark, coords };
  }

  /** [name, x, y] of the eight handles on a mark's bounds; none for a point. */
  function handlesOf(mark) {
    if (mark.kind === "point") return [];
    const [x0, y0, x1, y1] = bounds(mark);
    const across = { w: x0, e: x1 };
    const down = { n: y0, s: y1 };
    return HANDLES.map((name) => [
      name, across[name.slice(-1)] ?? (x0 + x1) / 2, down[name[0]] ?? (y0 + y1) / 2,
    ]);
  }

  function inside(outline, [x, y]) {
    let odd = false;
    outline.forEach(([x0, y0], i) => {
      const [x1, y1] = outline[(i + 1) % outline.length];
      if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) odd = !odd;
    });
    return odd;
  }

  function touches(mark, [x, y], reach) {
    if (mark.kind === "box" || mark.kind === "mask") {
      const [x0, y0, x1, y1] = bounds(mark);
      if (x < x0 - reach || y < y0 - reach || x > x1 + reach || y > y1 + reach) return false;
      if (mark.kind === "box") return true;
      if (inside(mark.coords, [x, y])) return true;
    }
    // Pixels have their middle at a half.
    const shift = mark.kind === "mask" ? 0 : 0.5;
    const pairs = vertices(mark);
    return pairs.some((pair, i) => distanceToSegment([x - shift, y - shift], pairs[Math.max(0, i - 1)], pair) <= reach);
  }

  /** The number of the mark at a position, the smallest one where several lie there; null for none. */
  function markAt(marks, position, reach) {
    const found = marks.filter((mark) => touches(mark, position, reach));
    const extent = (mark) => { const [x0, y0, x1, y1] = bounds(mark); return (x1 - x0) * (y1 - y0); };
    found.sort((a, b) => extent(a) - extent(b) || b.id - a.id);
    return found.length ? found[0].id : null;
  }

  /** Refuses what is no list of at most `slots` marks; returns a copy numbered 1, 2, … with coordinates unchanged. */
  function checked(list, slots) {
    if (!Array.isArray(list)) throw new TypeError("Marks are no list; give [{kind, coords}, …].");
    if (list.length > slots) throw new RangeError(`${list.length} marks given, there are ${slots} slots; give fewer.`);
    return list.map((mark, i) => {
      const where = `Mark ${i + 1}`;
      if (!mark || !KINDS.includes(mark.kind)) {
        throw new TypeError(`${where} has kind ${JSON.stringify(mark?.kind)}; give one of ${KINDS.join(", ")}.`);
      }
      const pairsOf = { scribble: 1, mask: 3 }[mark.kind];
      const numbers = (value, count) => Array.isArray(value) && value.length === count && value.every(Number.isFinite);
      const fits = pairsOf
        ? Array.isArray(mark.coords) && mark.coords.length >= pairsOf && mark.coords.every((pair) => numbers(pair, 2))
        : numbers(mark.coords, mark.kind === "point" ? 2 : 4);
      if (!fits) throw new TypeError(`${where}: coords of a ${mark.kind} are ${FORMS[mark.kind]}, in finite pixels.`);
      if (mark.kind === "box" && (mark.coords[0] >= mark.coords[2] || mark.coords[1] >= mark.coords[3])) {
        throw new RangeError(`${where}: the box [${mark.coords}] has no area; give [x0, y0, x1, y1] with x0 < x1, y0 < y1.`);
      }
      return { kind: mark.kind, coords: structuredClone(mark.coords), id: i + 1 };
    });
  }

  const FORMS = {
    point: "[x, y]", box: "[x0, y0, x1, y1]", scribble: "[[x, y], …]", mask: "[[x, y], …] with at least 3 pairs",
  };

  /** What is marked now and what was before. Numbers follow the order: taking mark 1 away makes mark 2 the first. */
  class MarkList {
    constructor(slots) {
      this.slots = slots;
      this.reset();
    }

    reset() {
      this.all = [];
      this.past = [];
      this.future = [];
      this.lastStep = null;
    }

    get full() { return this.all.length >= this.slots; }
    get canUndo() { return this.past.length > 0; }
    get canRedo() { return this.future.length > 0; }

    get(id) { return this.all[id - 1] ?? null; }

    /** Steps with the same name in a row are undone together: holding an arrow key is one movement. */
    change(list, step = null) {
      const next = checked(list, this.slots);
      if (step === null || step !== this.lastStep) this.past.push(this.all);
      this.lastStep = step;
      this.future = [];
      this.all = next;
    }

    add(mark) { this.change([...this.all, mark]); }
    replace(id, mark, step = null) { this.change(this.all.map((old) => (old.id === id ? mark : old)), step); }
    remove(id) { this.change(this.all.filter((mark) => mark.id !== id)); }

    /** The next step starts anew, also under the same name. */
    endStep() { this.lastStep = null; }

    undo() { this.travel(this.past, this.future); }
    redo() { this.travel(this.future, this.past); }

    travel(from, to) {
      if (!from.length) return;
      to.push(this.all);
      this.all = from.pop();
      this.endStep();
    }
  }

  Object.assign(canvas, {
    COLORS, MarkList, bounds, checked, clamp, colorOf, fromPositions, handlesOf, markAt, moved, resized, textColorOf,
    vertices,
  });
})((globalThis.SphinxCanvas ??= {}));
