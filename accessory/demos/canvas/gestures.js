// Mouse, pen and touch on the stage: drawing, moving, resizing, panning, and two fingers that zoom.
"use strict";

(function (canvas) {
  const REACH = { mouse: 9, pen: 12, touch: 22 }; // display pixels from which a mark or handle can be taken
  const CLICK = 3; // display pixels below which a drag is a click
  const SLACK = 0.75; // display pixels that a drawn line may differ from the kept one

  class Gestures {
    constructor(board) {
      this.board = board;
      this.pointers = new Map();
      this.gesture = null;
      const { stage } = board;
      stage.addEventListener("pointerdown", (event) => this.down(event));
      stage.addEventListener("pointermove", (event) => this.move(event));
      stage.addEventListener("pointerup", (event) => this.up(event));
      stage.addEventListener("pointercancel", (event) => this.up(event, true));
      stage.addEventListener("pointerleave", () => board.hover(null));
      stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    }

    at(event) {
      const frame = this.board.stage.getBoundingClientRect();
      return [event.clientX - frame.left - this.board.stage.clientLeft, event.clientY - frame.top - this.board.stage.clientTop];
    }

    down(event) {
      const { board } = this;
      if (!board.picture || (event.pointerType === "mouse" && event.button > 1)) return;
      event.preventDefault(); // no text selection, no middle-button scrolling; hence the focus by hand
      board.stage.focus({ preventScroll: true, focusVisible: false });
      board.stage.setPointerCapture(event.pointerId);
      board.stage.classList.remove("sv-keys");
      board.hideCrosshair();
      const at = this.at(event);
      this.pointers.set(event.pointerId, at);
      if (this.pointers.size === 2) this.pinch();
      else if (this.pointers.size === 1) this.start(event, at);
    }

    start(event, at) {
      const { board } = this;
      if (board.tool === "pan" || event.button === 1 || board.spaceHeld) {
        this.gesture = { kind: "pan", last: at };
      } else if (board.tool === "select") {
        this.take(at, REACH[event.pointerType] ?? REACH.mouse);
      } else if (board.mayAdd()) {
        this.gesture = { kind: "draw", from: at, far: false };
        board.draft = [board.view.toPicture(at)];
      }
      board.repaint();
    }

    /** Takes a handle of the selected mark, or else the mark under the pointer, or else nothing. */
    take(at, reach) {
      const { board } = this;
      const position = board.view.toPicture(at);
      const handle = this.handleAt(at, reach);
      const id = handle ? board.selected : canvas.markAt(board.list.all, position, reach / board.view.scale);
      if (id !== board.selected) board.select(id);
      if (id !== null) this.gesture = { kind: handle ? "resize" : "move", handle, id, from: position, start: at };
    }

    handleAt(at, reach) {
      const { board } = this;
      const mark = board.list.get(board.selected);
      if (!mark) return null;
      const [x0, y0, x1, y1] = canvas.bounds(mark);
      // A small mark keeps a middle by which it can be moved.
      const near = Math.min(reach, Math.max(5, (Math.min(x1 - x0, y1 - y0) * board.view.scale) / 3));
      const distances = canvas.handlesOf(mark).map(([name, x, y]) => {
        const [u, v] = board.view.toDisplay([x, y]);
        return [Math.hypot(u - at[0], v - at[1]), name];
      });
      distances.sort((a, b) => a[0] - b[0]);
      return distances.length && distances[0][0] <= near ? distances[0][1] : null;
    }

    pinch() {
      this.board.draft = null;
      this.board.preview = null;
      this.gesture = { kind: "pinch", ...this.span() };
      this.board.repaint();
    }

    span() {
      const [a, b] = [...this.pointers.values()];
      return {
        middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2],
        distance: Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1])),
      };
    }

    move(event) {
      const { board } = this;
      if (!board.picture) return;
      const at = this.at(event);
      if (!this.pointers.has(event.pointerId)) {
        if (event.pointerType === "mouse") this.pass(at);
        return;
      }
      this.pointers.set(event.pointerId, at);
      const { gesture } = this;
      if (!gesture) return;
      if (gesture.kind === "pinch") this.spread(gesture);
      else if (gesture.kind === "pan") {
        board.view.pan(at[0] - gesture.last[0], at[1] - gesture.last[1]);
        gesture.last = at;
      } else if (gesture.kind === "draw") {
        if (!board.draft) return; // given up by a key meanwhile
        gesture.far ||= Math.hypot(at[0] - gesture.from[0], at[1] - gesture.from[1]) >= CLICK;
        const between = event.getCoalescedEvents?.() ?? [];
        for (const each of between.length ? between : [event]) board.draft.push(board.view.toPicture(this.at(each)));
      } else this.edit(gesture, at);
      board.repaint();
    }

    /** The mouse without a button: what is under it is shown. */
    pass(at) {
      const { board } = this;
      const handle = board.tool === "select" ? this.handleAt(at, REACH.mouse) : null;
      const id = canvas.markAt(board.list.all, board.view.toPicture(at), REACH.mouse / board.view.scale);
      board.hover(id);
      const cursors = { select: handle ? `${handle}-resize` : id ? "move" : "default", pan: "grab" };
      board.stage.style.cursor = cursors[board.tool] ?? "crosshair";
    }

    spread(gesture) {
      const next = this.span();
      const { view } = this.board;
      view.zoomAt(next.distance / gesture.distance, gesture.middle);
      view.pan(next.middle[0] - gesture.middle[0], next.middle[1] - gesture.middle[1]);
      Object.assign(gesture, next);
      this.board.viewChanged();
    }

    edit(gesture, at) {
      const { board } = this;
      const mark = board.list.get(gesture.id);
      if (Math.hypot(at[0] - gesture.start[0], at[1] - gesture.start[1]) >= CLICK) gesture.far = true;
      if (!gesture.far || !mark) return;
      const [x, y] = board.view.toPicture(at);
      const next = gesture.kind === "resize"
        ? canvas.resized(mark, gesture.handle, [x, y], board.view.size)
        : canvas.moved(mark, x - gesture.from[0], y - gesture.from[1], board.view.size);
      board.preview = next;
    }

    up(event, cancelled = false) {
      const { board, gesture } = this;
      if (!this.pointers.delete(event.pointerId)) return;
      // After a pinch, the finger that stays draws nothing.
      if (this.pointers.size) return;
      this.gesture = null;
      const { draft, preview } = board;
      board.draft = null;
      board.preview = null;
      if (!cancelled && gesture?.kind === "draw" && draft) this.finish(gesture, draft);
      else if (!cancelled && preview) board.replace(gesture.id, preview);
      board.repaint();
    }

    finish(gesture, draft) {
      const { board } = this;
      const mark = gesture.far || board.tool === "point" || board.tool === "scribble"
        ? canvas.fromPositions(board.tool, draft, board.view.size, SLACK / board.view.scale)
        : null;
      if (mark) board.add(mark);
      else board.say(board.tool === "box" ? "Drag from corner to corner to draw a box." : "Drag around something to mark it.");
    }

    wheel(event) {
      const { board } = this;
      if (!board.picture) return;
      if (event.ctrlKey || event.metaKey) {
        board.view.zoomAt(Math.exp(-canvas.clamp(event.deltaY, -60, 60) * 0.01), this.at(event));
      } else if (board.view.zoom > 1) board.view.pan(-event.deltaX, -event.deltaY);
      else return; // the page scrolls
      event.preventDefault();
      board.viewChanged();
    }
  }

  canvas.Gestures = Gestures;
})((globalThis.SphinxCanvas ??= {}));
