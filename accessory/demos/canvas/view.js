// Which part of the picture is seen, and how large: display positions to picture positions and back; no DOM.
//
// The view is kept as a zoom and the picture position in the middle, so a display of another size shows the same place.
"use strict";

(function (canvas) {
  const LARGEST_PIXEL = 24; // display pixels per picture pixel, enough to hit a single one

  class View {
    constructor() {
      this.display = { width: 1, height: 1 };
      this.show({ width: 1, height: 1 });
    }

    /** A new picture of this size, seen whole. */
    show(size) {
      this.size = size;
      this.fit();
    }

    fit() {
      this.zoom = 1;
      this.middle = [this.size.width / 2, this.size.height / 2];
    }

    /** Display pixels per picture pixel. */
    get scale() { return this.fitScale * this.zoom; }
    get fitScale() { return Math.min(this.display.width / this.size.width, this.display.height / this.size.height); }
    get largestZoom() { return Math.max(8, LARGEST_PIXEL / this.fitScale); }

    resize(width, height) {
      this.display = { width, height };
      this.settle();
    }

    toPicture([x, y]) {
      const { display, middle, scale } = this;
      return [(x - display.width / 2) / scale + middle[0], (y - display.height / 2) / scale + middle[1]];
    }

    toDisplay([x, y]) {
      const { display, middle, scale } = this;
      return [(x - middle[0]) * scale + display.width / 2, (y - middle[1]) * scale + display.height / 2];
    }

    /** Zooms by a factor while the picture stays put under a display position. */
    zoomAt(factor, at) {
      const before = this.toPicture(at);
      this.zoom = canvas.clamp(this.zoom * factor, 1, this.largestZoom);
      const after = this.toPicture(at);
      this.middle = [this.middle[0] + before[0] - after[0], this.middle[1] + before[1] - after[1]];
      this.settle();
    }

    /** Drags the picture by display pixels. */
    pan(dx, dy) {
      this.middle = [this.middle[0] - dx / this.scale, this.middle[1] - dy / this.scale];
      this.settle();
    }

    /** Moves the view no farther than it takes to see a picture position. */
    reveal(position) {
      const [x, y] = this.toDisplay(position);
      const gap = Math.min(24, this.display.width / 4, this.display.height / 4);
      this.pan(
        canvas.clamp(x, gap, this.display.width - gap) - x,
        canvas.clamp(y, gap, this.display.height - gap) - y,
      );
    }

    /** No empty space beside a picture that is larger than the display; in the middle where it is smaller. */
    settle() {
      this.zoom = canvas.clamp(this.zoom, 1, this.largestZoom);
      this.middle = ["width", "height"].map((side, axis) => {
        const half = this.display[side] / 2 / this.scale;
        const whole = this.size[side];
        return half * 2 >= whole ? whole / 2 : canvas.clamp(this.middle[axis], half, whole - half);
      });
    }
  }

  canvas.View = View;
})((globalThis.SphinxCanvas ??= {}));
