// createMarkCanvas(element, {slots, onChange, onHover}): a canvas on which a person marks places in a picture.
//
// Marks are {"kind": "point|box|scribble|mask", "coords": […], "id": n}, in pixels of the original picture, upright as
// its EXIF orientation says; see marks.js. Load marks.js, view.js, paint.js, masks.js,
// toolbar.js, gestures.js and keyboard.js first.
"use strict";

(function (canvas) {
  const SLOTS = 10;

  class Board {
    constructor(element, { slots = SLOTS, onChange = () => {}, onHover = () => {} }) {
      this.list = new canvas.MarkList(slots);
      this.view = new canvas.View();
      this.masks = new canvas.Masks();
      this.onChange = onChange;
      this.onHover = onHover;
      this.picture = null;
      this.tool = "box";
      this.selected = null;
      this.highlighted = null;
      this.hovered = null;
      this.draft = null; // positions of the mark being drawn
      this.preview = null; // the mark as it would be after the movement going on
      this.crosshair = null;
      this.lastCrosshair = [0, 0];
      this.spaceHeld = false;
      this.parts = canvas.build(element, this.actions());
      this.stage = this.parts.stage;
      this.gestures = new canvas.Gestures(this);
      this.keyboard = new canvas.Keyboard(this);
      new ResizeObserver(() => this.measure()).observe(this.stage);
      this.measure();
      this.refresh();
    }

    actions() {
      return {
        setTool: (tool) => this.setTool(tool),
        undo: () => this.undo(),
        redo: () => this.redo(),
        remove: () => this.removeSelected(),
        clear: () => this.clear(),
        zoomOut: () => this.zoom(0.8),
        zoomIn: () => this.zoom(1.25),
        fit: () => this.fit(),
        hover: (id) => this.hover(id),
        choose: (id) => {
          this.setTool("select", true);
          this.select(id);
        },
      };
    }

    // The picture.

    async setPicture(source) {
      this.loading = source;
      const picture = await canvas.decoded(source);
      if (this.loading !== source) return; // another picture was asked for meanwhile
      this.picture?.close();
      this.picture = picture;
      const size = { width: picture.width, height: picture.height };
      this.stage.style.aspectRatio = `${size.width} / ${size.height}`;
      this.view.show(size);
      this.list.reset();
      this.masks.clear();
      this.lastCrosshair = [Math.floor(size.width / 2), Math.floor(size.height / 2)];
      Object.assign(this, { selected: null, highlighted: null, hovered: null, draft: null, preview: null, crosshair: null });
      this.parts.empty.hidden = true;
      this.measure();
      this.refresh();
      this.say(`Picture of ${size.width} × ${size.height} pixels.`);
      this.onChange(this.marks());
    }

    async showMasks(list) {
      await this.masks.show(list, this.list);
      this.repaint();
    }

    async exportPng() {
      if (!this.picture) throw new Error("There is no picture yet; call setPicture first.");
      const { width, height } = this.view.size;
      const sheet = new OffscreenCanvas(width, height);
      const ctx = sheet.getContext("2d");
      ctx.drawImage(this.picture, 0, 0);
      this.masks.paint(ctx, this.list, (position) => position);
      const unit = Math.max(0.7, Math.max(width, height) / 900);
      canvas.paintMarks(ctx, this.list.all, {
        place: (position) => position, frame: [0, 0, width, height], unit, strong: new Set(), filled: null,
      });
      return sheet.convertToBlob({ type: "image/png" });
    }

    // The marks.

    marks() { return structuredClone(this.list.all); }

    mayAdd() {
      if (this.list.full) this.say(`All ${this.list.slots} marks are used; delete one to draw another.`);
      return !this.list.full;
    }

    add(mark) {
      this.list.add(mark);
      this.selected = this.list.all.length;
      this.changed(`${this.selected}: ${canvas.describe(mark)}`);
    }

    replace(id, mark, step = null) {
      if (JSON.stringify(mark) === JSON.stringify(this.list.get(id))) return;
      this.list.replace(id, mark, step);
      this.changed(`${id}: ${canvas.describe(mark)}`);
    }

    setMarks(list) {
      this.list.change(list);
      this.selected = null;
      this.changed(`${list.length} marks`);
    }

    removeSelected() {
      if (this.selected === null) return this.say("Select a mark to delete it.");
      const id = this.selected;
      this.list.remove(id);
      this.selected = null;
      this.changed(`Mark ${id} deleted${this.list.all.length >= id ? "; the marks after it have new numbers" : ""}.`);
    }

    clear() {
      if (!this.list.all.length) return;
      this.list.change([]);
      this.selected = null;
      this.changed("All marks deleted; undo brings them back.");
    }

    undo() { this.travel(this.list.canUndo, "Undone", () => this.list.undo()); }
    redo() { this.travel(this.list.canRedo, "Done again", () => this.list.redo()); }

    travel(possible, word, step) {
      if (!possible) return this.say("Nothing left.");
      step();
      if (!this.list.get(this.selected)) this.selected = null;
      this.changed(`${word}: ${this.list.all.length} marks.`);
    }

    changed(words) {
      this.draft = null;
      this.preview = null;
      this.hovered = null;
      this.say(words);
      this.refresh();
      this.onChange(this.marks());
    }

    select(id) {
      this.selected = this.list.get(id) ? id : null;
      this.list.endStep();
      if (this.selected !== null) this.say(`${id}: ${canvas.describe(this.list.get(id))}, selected`);
      this.refresh();
    }

    highlight(id) {
      this.highlighted = this.list.get(id) ? id : null;
      this.repaint();
    }

    hover(id) {
      if (id === this.hovered) return;
      this.hovered = id;
      this.onHover(id);
      this.repaint();
    }

    // What is seen.

    setTool(tool, quietly = false) {
      this.tool = tool;
      this.draft = null;
      this.stage.style.cursor = { select: "default", pan: "grab" }[tool] ?? "crosshair";
      if (!quietly) this.say(`Tool: ${canvas.toolName(tool)}`);
      this.refresh();
    }

    zoom(factor) {
      const { width, height } = this.view.display;
      this.view.zoomAt(factor, this.crosshair ? this.view.toDisplay(this.crosshair) : [width / 2, height / 2]);
      this.viewChanged();
    }

    fit() {
      this.view.fit();
      this.viewChanged();
    }

    viewChanged() {
      this.parts.percent.textContent = `${Math.round(this.view.zoom * 100)} %`;
      this.repaint();
    }

    hideCrosshair() {
      if (!this.crosshair) return;
      this.lastCrosshair = this.crosshair;
      this.crosshair = null;
      this.draft = null;
      this.repaint();
    }

    say(words) { this.parts.status.textContent = words; }

    /** Brings the elements around the stage up to date, and the stage. */
    refresh() {
      const { parts, list } = this;
      const off = {
        undo: !list.canUndo, redo: !list.canRedo, remove: this.selected === null, clear: !list.all.length,
      };
      for (const [name, element] of Object.entries(parts.buttons)) {
        if (name in off) element.setAttribute("aria-disabled", String(off[name]));
      }
      for (const element of parts.stage.parentElement.querySelectorAll(".sv-group:first-child button")) {
        element.setAttribute("aria-pressed", String(element.dataset.name === this.tool));
      }
      parts.count.textContent = `${list.all.length} / ${list.slots}`;
      canvas.fillList(parts.list, list.all, this.selected, this.actions());
      this.viewChanged();
    }

    measure() {
      const { clientWidth, clientHeight } = this.stage;
      this.painted = null; // a layer whose size is set is empty, also where the size is the old one
      const ratio = window.devicePixelRatio || 1;
      for (const layer of [this.parts.picture, this.parts.marks]) {
        layer.width = Math.max(1, Math.round(clientWidth * ratio));
        layer.height = Math.max(1, Math.round(clientHeight * ratio));
      }
      this.view.resize(Math.max(1, clientWidth), Math.max(1, clientHeight));
      this.repaint();
    }

    repaint() {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null;
        if (this.picture) this.paint();
      });
    }

    paint() {
      this.paintPicture();
      const ctx = this.context(this.parts.marks);
      const place = (position) => this.view.toDisplay(position);
      const [left, top] = place([0, 0]);
      const [right, bottom] = place([this.view.size.width, this.view.size.height]);
      const frame = [
        Math.max(0, left), Math.max(0, top), Math.min(this.view.display.width, right), Math.min(this.view.display.height, bottom),
      ];
      const shown = this.list.all.map((mark) => (mark.id === this.preview?.id ? this.preview : mark));
      const draft = this.draft && canvas.fromPositions(this.tool, this.draft, this.view.size, 0.5 / this.view.scale);
      if (draft) shown.push({ ...draft, id: this.list.all.length + 1 });
      this.masks.paint(ctx, this.list, place);
      const strong = new Set([this.selected, this.highlighted, this.hovered]);
      canvas.paintMarks(ctx, shown, { place, frame, unit: 1, strong, filled: this.highlighted });
      const selected = shown.find((mark) => mark.id === this.selected);
      if (selected && this.tool === "select") canvas.paintHandles(ctx, selected, place, 1);
      if (this.crosshair) canvas.paintCrosshair(ctx, this.crosshair, place, frame);
    }

    /** The picture's own layer is painted anew only where the view is another one: a large picture takes its time. */
    paintPicture() {
      const { picture, view } = this;
      const [x, y] = view.toDisplay([0, 0]);
      const { width, height } = this.parts.picture;
      const seen = [x, y, view.scale, width, height].join();
      if (this.painted?.picture === picture && this.painted.seen === seen) return;
      this.painted = { picture, seen };
      const ctx = this.context(this.parts.picture);
      // Zoomed in, large pixels are shown as they are, so that one can be aimed at.
      ctx.imageSmoothingEnabled = view.scale < 3 || view.zoom < 1.5;
      ctx.imageSmoothingQuality = "high";
      ctx.drawImage(picture, x, y, view.size.width * view.scale, view.size.height * view.scale);
    }

    /** A cleared context in display pixels. */
    context(layer) {
      const ctx = layer.getContext("2d");
      ctx.setTransform(1, 0, 0, 1, 0, 0);
      ctx.clearRect(0, 0, layer.width, layer.height);
      ctx.scale(layer.width / this.view.display.width, layer.height / this.view.display.height);
      return ctx;
    }
  }

  /**
   * Builds the canvas inside `element`. `slots`: how many marks there may be. `onChange(marks)` hears of every change of
   * the marks, `onHover(id or null)` of the mark under the mouse. `setPicture` takes a Blob or an address, clears the
   * marks, and resolves when the picture is seen or rejects where it is none; `size` is then that of the picture. `setMarks` throws TypeError or RangeError
   * for what is no list of marks. `showMasks([{id, source}, …])` tints what is not transparent in each `source`, a Blob
   * or address of a picture as large as the marked one, until its mark changes. `exportPng` resolves to a Blob of the marked picture in its own size.
   */
  function createMarkCanvas(element, options = {}) {
    const board = new Board(element, options);
    return {
      setPicture: (source) => board.setPicture(source),
      size: () => ({ ...board.view.size }),
      marks: () => board.marks(),
      setMarks: (list) => board.setMarks(list),
      select: (id) => board.select(id),
      highlight: (id) => board.highlight(id),
      undo: () => board.undo(),
      redo: () => board.redo(),
      clear: () => board.clear(),
      showMasks: (list) => board.showMasks(list),
      exportPng: () => board.exportPng(),
    };
  }

  globalThis.createMarkCanvas = createMarkCanvas;
})((globalThis.SphinxCanvas ??= {}));
