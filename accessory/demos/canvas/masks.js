// Segmentation masks shown in the colour of their mark, and pictures decoded upright.
"use strict";

(function (canvas) {
  const OPACITY = 0.45;

  /** An upright bitmap of a Blob or an address; a page from disk may not fetch, so addresses go through an image. */
  async function decoded(source) {
    try {
      if (source instanceof Blob) return await createImageBitmap(source, { imageOrientation: "from-image" });
      const image = new Image();
      image.src = source;
      await image.decode();
      return await createImageBitmap(image, { imageOrientation: "from-image" });
    } catch (error) {
      throw new Error("This is no picture that the browser can read; give a JPEG, PNG or WebP file.", { cause: error });
    }
  }

  /** The bitmap's shape in one colour: what is transparent stays so. */
  function tinted(bitmap, color) {
    const sheet = new OffscreenCanvas(bitmap.width, bitmap.height);
    const ctx = sheet.getContext("2d");
    ctx.drawImage(bitmap, 0, 0);
    ctx.globalCompositeOperation = "source-in";
    ctx.fillStyle = color;
    ctx.fillRect(0, 0, sheet.width, sheet.height);
    bitmap.close();
    return sheet;
  }

  class Masks {
    constructor() { this.clear(); }

    clear() {
      this.all = [];
      this.ticket = null; // what is still being decoded was for the picture before
    }

    /** Takes the place of all masks before. A mask belongs to its mark as the mark is at the time of the call. */
    async show(list, marks) {
      const belonging = list.map(({ id }) => JSON.stringify(marks.get(id)));
      const ticket = (this.ticket = Symbol("masks"));
      const bitmaps = await Promise.all(list.map(({ source }) => decoded(source)));
      if (this.ticket !== ticket) return; // others were asked for meanwhile
      this.all = list.map(({ id }, i) => ({
        id, mark: belonging[i], sheet: tinted(bitmaps[i], canvas.colorOf(id)),
      }));
    }

    /** Paints those whose mark has not changed; undoing a change brings its mask back. */
    paint(ctx, marks, place) {
      ctx.save();
      ctx.globalAlpha = OPACITY;
      for (const { id, mark, sheet } of this.all) {
        if (JSON.stringify(marks.get(id)) !== mark) continue;
        const [x0, y0] = place([0, 0]);
        const [x1, y1] = place([sheet.width, sheet.height]);
        ctx.drawImage(sheet, x0, y0, x1 - x0, y1 - y0);
      }
      ctx.restore();
    }
  }

  Object.assign(canvas, { Masks, decoded });
})((globalThis.SphinxCanvas ??= {}));
