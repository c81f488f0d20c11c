// Everything by keyboard: a crosshair that draws, marks that are chosen, moved, resized and removed.
"use strict";

(function (canvas) {
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const TOOL_KEYS = { v: "select", p: "point", b: "box", s: "scribble", l: "mask", h: "pan" };
  const LARGE = 40; // with Shift, a step is this part of the longer side

  class Keyboard {
    constructor(board) {
      this.board = board;
      board.stage.addEventListener("keydown", (event) => {
        // The browser shows no focus ring where a click brought the focus, also when keys follow.
        board.stage.classList.add("sv-keys");
        if (board.picture && this.handle(event)) event.preventDefault();
      });
      board.stage.addEventListener("keyup", (event) => {
        if (event.key === " ") board.spaceHeld = false;
      });
      board.stage.addEventListener("blur", () => {
        board.spaceHeld = false;
        board.hideCrosshair();
      });
    }

    /** True where the key was for us. */
    handle(event) {
      const { board } = this;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (event.ctrlKey || event.metaKey) {
        if (key === "z") return event.shiftKey ? board.redo() : board.undo(), true;
        if (key === "y") return board.redo(), true;
        return false;
      }
      if (ARROWS[key]) return this.arrow(ARROWS[key], event), true;
      if (event.altKey) return false;
      if (key === "Tab") return this.cycle(event.shiftKey ? -1 : 1);
      if (key === "Enter") return this.enter(), true;
      if (key === "Escape") return this.escape();
      if (key === "Delete" || key === "Backspace") return board.removeSelected(), true;
      if (key === "+" || key === "=") return board.zoom(1.25), true;
      if (key === "-") return board.zoom(0.8), true;
      if (key === "0") return board.fit(), true;
      if (key === " ") return (board.spaceHeld = true);
      if (TOOL_KEYS[key]) return board.setTool(TOOL_KEYS[key]), true;
      return false;
    }

    arrow([dx, dy], event) {
      const { board } = this;
      const { view } = board;
      const step = event.shiftKey ? Math.max(10, Math.round(Math.max(view.size.width, view.size.height) / LARGE)) : 1;
      if (board.tool === "pan") {
        view.pan(-dx * 40, -dy * 40);
        return board.repaint();
      }
      if (board.tool === "select") return this.nudge(dx * step, dy * step, event.altKey);
      const [x, y] = board.crosshair ?? board.lastCrosshair;
      board.crosshair = [canvas.clamp(x + dx * step, 0, view.size.width), canvas.clamp(y + dy * step, 0, view.size.height)];
      if (board.draft) board.draft.push(board.crosshair);
      view.reveal(board.crosshair);
      board.say(board.crosshair.join(", "));
      board.repaint();
    }

    /** Moves the selected mark, or with Alt its bottom right corner. */
    nudge(dx, dy, stretch) {
      const { board } = this;
      const mark = board.list.get(board.selected);
      if (!mark) return board.say("Tab chooses a mark; arrow keys then move it.");
      const { size } = board.view;
      const [, , x1, y1] = canvas.bounds(mark);
      const next = stretch ? canvas.resized(mark, "se", [x1 + dx, y1 + dy], size) : canvas.moved(mark, dx, dy, size);
      board.replace(mark.id, next, `${stretch ? "resize" : "move"} ${mark.id}`);
      board.view.reveal(canvas.bounds(next).slice(2));
    }

    /** The next mark; past the last one the key leaves the canvas as everywhere else, so nobody is caught here. */
    cycle(direction) {
      const { board } = this;
      const count = board.list.all.length;
      const next = board.selected === null ? (direction > 0 ? 1 : count) : board.selected + direction;
      if (next < 1 || next > count) {
        board.select(null);
        return false;
      }
      board.setTool("select", true);
      board.select(next);
      return true;
    }

    enter() {
      const { board } = this;
      if (board.tool === "select" || board.tool === "pan") {
        board.say("Press P, B, S or L to draw a point, box, scribble or lasso.");
      } else if (!board.crosshair) {
        board.crosshair = board.lastCrosshair;
        board.say(`${board.crosshair.join(", ")}. Arrow keys move the crosshair, Enter places.`);
      } else if (board.tool !== "point" && !board.draft) {
        if (!board.mayAdd()) return;
        board.draft = [board.crosshair];
        board.say("Started. Arrow keys go on, Enter ends, Escape gives up.");
      } else this.place();
      board.repaint();
    }

    place() {
      const { board } = this;
      if (!board.mayAdd()) return;
      const mark = canvas.fromPositions(board.tool, board.draft ?? [board.crosshair], board.view.size);
      if (!mark) return board.say("That has no area yet; arrow keys make it larger, Escape gives up.");
      board.draft = null;
      board.add(mark);
    }

    escape() {
      const { board } = this;
      const had = board.draft || board.selected !== null || board.crosshair;
      if (board.draft) board.draft = null;
      else if (board.crosshair) board.hideCrosshair();
      else board.select(null);
      board.repaint();
      return Boolean(had);
    }
  }

  canvas.Keyboard = Keyboard;
})((globalThis.SphinxCanvas ??= {}));
