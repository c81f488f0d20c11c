// Paints numbered marks in their colours on a 2D context; a dark and a light edge make them stand out on any picture.
"use strict";

(function (canvas) {
  const DARK = "#141418";
  const LIGHT = "#ffffff";

  function trace(ctx, mark, place) {
    ctx.beginPath();
    if (mark.kind === "box") {
      const [x0, y0] = place(mark.coords.slice(0, 2));
      const [x1, y1] = place(mark.coords.slice(2));
      ctx.rect(x0, y0, x1 - x0, y1 - y0);
      return;
    }
    // The middle of a pixel is half a pixel right of and below its corner.
    const shift = mark.kind === "scribble" ? 0.5 : 0;
    mark.coords.forEach(([x, y], i) => {
      const [u, v] = place([x + shift, y + shift]);
      if (i) ctx.lineTo(u, v);
      else ctx.moveTo(u, v);
    });
    if (mark.kind === "mask") ctx.closePath();
    else if (mark.coords.length === 1) ctx.lineTo(...place([mark.coords[0][0] + shift, mark.coords[0][1] + shift]));
  }

  function middleOf(point, place) {
    return place([point.coords[0] + 0.5, point.coords[1] + 0.5]);
  }

  /** One mark; `unit` is the width of an edge, `strong` and `filled` make it stand out from the others. */
  function paintMark(ctx, mark, place, unit, strong, filled) {
    const color = canvas.colorOf(mark.id);
    const line = (filled ? 6 : strong ? 4.5 : 3) * unit;
    if (mark.kind === "point") {
      const [x, y] = middleOf(mark, place);
      const radius = (filled ? 10 : strong ? 7.5 : 5.5) * unit;
      [[DARK, 2], [LIGHT, 1], [color, 0]].forEach(([fill, edges]) => {
        ctx.beginPath();
        ctx.arc(x, y, radius + edges * unit, 0, 2 * Math.PI);
        ctx.fillStyle = fill;
        ctx.fill();
      });
      return;
    }
    ctx.lineJoin = mark.kind === "box" ? "miter" : "round";
    ctx.lineCap = "round";
    trace(ctx, mark, place);
    if (mark.kind === "mask" || (filled && mark.kind === "box")) {
      ctx.save();
      ctx.globalAlpha = mark.kind === "box" ? 0.25 : filled ? 0.55 : 0.35;
      ctx.fillStyle = color;
      ctx.fill("evenodd");
      ctx.restore();
    }
    [[DARK, 4], [LIGHT, 2], [color, 0]].forEach(([stroke, edges]) => {
      ctx.strokeStyle = stroke;
      ctx.lineWidth = line + edges * unit;
      ctx.stroke();
    });
  }

  const overlap = (a, b) =>
    Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));

  /** Top-left corners for a badge, the best first. */
  function corners(mark, place, width, height) {
    const [x0, y0, x1, y1] = canvas.bounds(mark);
    const [[a, b], [c, d]] = [place([x0, y0]), place([x1, y1])];
    if (mark.kind === "point") {
      const gap = height * 0.35;
      return [[a + gap, b - gap - height], [a - gap - width, b - gap - height], [a + gap, b + gap], [a - gap - width, b + gap]];
    }
    return [
      [a, b - height], [c - width, b - height], [a, d], [c - width, d],
      [a, b], [c - width, b], [a, d - height], [c - width, d - height],
    ];
  }

  /** A rectangle [x0, y0, x1, y1] per mark: inside `frame`, near the mark, clear of other badges and of points. */
  function placeBadges(marks, place, frame, height) {
    const dots = marks.filter((mark) => mark.kind === "point").map((mark) => {
      const [x, y] = middleOf(mark, place);
      return [x - height / 3, y - height / 3, x + height / 3, y + height / 3];
    });
    const placed = [];
    for (const mark of marks) {
      const width = height * (mark.id < 10 ? 1 : 1.35);
      const candidates = corners(mark, place, width, height).map(([x, y], rank) => {
        const u = canvas.clamp(x, frame[0], Math.max(frame[0], frame[2] - width));
        const v = canvas.clamp(y, frame[1], Math.max(frame[1], frame[3] - height));
        const at = [u, v, u + width, v + height];
        const sum = (others) => others.reduce((total, other) => total + overlap(at, other), 0);
        return { at, cost: 100 * sum(placed) + 10 * sum(dots) + rank * 1e-3 * width * height };
      });
      placed.push(candidates.reduce((best, other) => (other.cost < best.cost ? other : best)).at);
    }
    return placed;
  }

  function paintBadge(ctx, id, [x0, y0, x1, y1], unit) {
    const height = y1 - y0;
    [[DARK, 0], [LIGHT, 1], [canvas.colorOf(id), 2]].forEach(([fill, edges]) => {
      const inset = edges * unit;
      ctx.beginPath();
      ctx.roundRect(x0 + inset, y0 + inset, x1 - x0 - 2 * inset, height - 2 * inset, height * 0.3 - inset / 2);
      ctx.fillStyle = fill;
      ctx.fill();
    });
    ctx.fillStyle = canvas.textColorOf(id);
    ctx.font = `700 ${height * 0.6}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillText(String(id), (x0 + x1) / 2, (y0 + y1) / 2 + height * 0.03);
  }

  /** All marks. `place` maps picture positions to the context, `frame` is what badges stay in,
   * `strong` is a set of numbers, `filled` one number or null. */
  function paintMarks(ctx, marks, { place, frame, unit, strong, filled }) {
    const area = (mark) => { const [x0, y0, x1, y1] = canvas.bounds(mark); return (x1 - x0) * (y1 - y0); };
    // Large shapes first: a small mark inside a large one stays on top.
    for (const mark of [...marks].sort((a, b) => area(b) - area(a))) {
      paintMark(ctx, mark, place, unit, strong.has(mark.id), mark.id === filled);
    }
    // A number at the rim for a mark that is out of sight would look like a mark there.
    const seen = marks.filter((mark) => {
      const [x0, y0, x1, y1] = canvas.bounds(mark);
      const [[a, b], [c, d]] = [place([x0, y0]), place([x1, y1])];
      return c >= frame[0] && d >= frame[1] && a <= frame[2] && b <= frame[3];
    });
    placeBadges(seen, place, frame, 23 * unit).forEach((at, i) => paintBadge(ctx, seen[i].id, at, unit));
  }

  function paintHandles(ctx, mark, place, unit) {
    const shift = mark.kind === "scribble" ? 0.5 : 0;
    for (const [, x, y] of canvas.handlesOf(mark)) {
      const [u, v] = place([x + shift, y + shift]);
      ctx.fillStyle = DARK;
      ctx.fillRect(u - 6 * unit, v - 6 * unit, 12 * unit, 12 * unit);
      ctx.fillStyle = LIGHT;
      ctx.fillRect(u - 4.5 * unit, v - 4.5 * unit, 9 * unit, 9 * unit);
    }
  }

  function paintCrosshair(ctx, position, place, [x0, y0, x1, y1]) {
    const [x, y] = place(position);
    [[DARK, 4], [LIGHT, 1.5]].forEach(([stroke, width]) => {
      ctx.strokeStyle = stroke;
      ctx.lineWidth = width;
      ctx.beginPath();
      [[[x0, y], [x - 7, y]], [[x + 7, y], [x1, y]], [[x, y0], [x, y - 7]], [[x, y + 7], [x, y1]]].forEach(([from, to]) => {
        ctx.moveTo(...from);
        ctx.lineTo(...to);
      });
      ctx.stroke();
    });
  }

  Object.assign(canvas, { paintCrosshair, paintHandles, paintMarks });
})((globalThis.SphinxCanvas ??= {}));
