// What SAM takes each mark to mean: shown in the mark's colour, and to be made the mark itself.
"use strict";

(function (demo) {
  const PAUSE = 350; // milliseconds after the last change of the marks

  class Segments {
    constructor(wire, board, picture, root, available) {
      Object.assign(this, { wire, board, picture, root });
      this.masks = [];
      this.asked = 0; // only the newest request counts
      if (!available) {
        root.append(demo.make("p", { class: "sx-quiet" }, "Masks are off: the demo was started without SAM."));
        return;
      }
      this.shown = demo.make("input", { type: "checkbox", id: "sx-masks" });
      this.shown.checked = true;
      this.note = demo.make("span", { class: "sx-quiet", role: "status" });
      this.takers = demo.make("span", { class: "sx-takers" });
      root.append(demo.make("label", { for: "sx-masks", class: "sx-check" }, this.shown, "Show masks"), this.takers, this.note);
      this.shown.addEventListener("change", () => this.changed());
    }

    /** The marks or the picture are others now. */
    changed() {
      if (!this.shown) return;
      clearTimeout(this.timer);
      this.asked++;
      const marks = this.board.marks();
      if (!this.shown.checked || !marks.length || !this.picture.blob) return this.take([]);
      this.timer = setTimeout(() => this.find(marks), PAUSE);
    }

    async find(marks) {
      const ticket = ++this.asked;
      this.note.textContent = "Outlining …";
      try {
        const reply = await this.picture.use((picture) => this.wire.call("find_masks", { picture, marks }));
        if (ticket === this.asked) await this.take(reply.masks);
      } catch (error) {
        if (ticket === this.asked) this.note.textContent = error.message;
      }
    }

    async take(masks) {
      this.masks = masks;
      this.note.textContent = "";
      await this.board.showMasks(masks.map(({ id, source }) => ({ id, source })));
      const marks = this.board.marks();
      const useful = masks.filter(({ id, outline }) => outline.length >= 3 && marks[id - 1]?.kind !== "mask");
      this.takers.replaceChildren(...(useful.length ? ["Use the mask as the mark:"] : []), ...useful.map(({ id }) => this.taker(id)));
    }

    taker(id) {
      const element = demo.button("", { class: "sx-insert", "aria-label": `Use the mask of mark ${id} as the mark` }, () => {
        const { outline } = this.masks.find((mask) => mask.id === id);
        this.board.setMarks(this.board.marks().map((mark) => (mark.id === id ? { kind: "mask", coords: outline } : mark)));
        this.shown.focus(); // this button goes
      });
      element.append(demo.badge(id));
      return element;
    }
  }

  demo.Segments = Segments;
})((globalThis.SphinxDemo ??= {}));
