// The picture: from a file, a drop, the clipboard or the examples; shown on the canvas and known to the server.
"use strict";

(function (demo) {
  const MOST_BYTES = 16 * 2 ** 20; // what the server takes

  class Picture {
    /** `onOpen()` hears of a new picture. */
    constructor(wire, board, parts, onOpen) {
      Object.assign(this, { wire, board, parts, onOpen });
      this.clear();
      parts.file.addEventListener("change", () => {
        this.open(parts.file.files[0]);
        parts.file.value = ""; // so that the same file can be opened again
      });
      this.takeDrops(parts.root);
      document.addEventListener("paste", (event) => this.openFirst(event.clipboardData, event));
    }

    clear() {
      Object.assign(this, { blob: null, name: "", size: null, identity: null });
    }

    takeDrops(root) {
      root.addEventListener("dragover", (event) => {
        if (![...event.dataTransfer.types].includes("Files")) return;
        event.preventDefault();
        root.classList.add("sx-drop");
      });
      root.addEventListener("dragleave", (event) => {
        if (!root.contains(event.relatedTarget)) root.classList.remove("sx-drop");
      });
      root.addEventListener("drop", (event) => {
        root.classList.remove("sx-drop");
        this.openFirst(event.dataTransfer, event);
      });
    }

    openFirst(transfer, event) {
      const file = [...(transfer?.files ?? [])].find((each) => each.type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      this.open(file);
    }

    /** Opens a Blob under a name; the server sees it first, for it is the one that may refuse. True where it is open. */
    async open(blob, name = blob?.name ?? "picture") {
      if (!blob) return false;
      this.parts.root.setAttribute("aria-busy", "true");
      try {
        if (blob.size > MOST_BYTES) {
          throw new Error(`${name} has ${(blob.size / 2 ** 20).toFixed(1)} MiB, the limit is 16; make the picture smaller.`);
        }
        const reply = await this.send(blob, name);
        await this.board.setPicture(blob);
        const { width, height } = this.board.size();
        if (width !== reply.size[0] || height !== reply.size[1]) {
          throw new Error(`Browser (${width} × ${height}) and server (${reply.size.join(" × ")}) read ${name} differently; save it as PNG.`);
        }
        Object.assign(this, { blob, name, size: reply.size, identity: reply.picture });
        demo.showError(this.parts.error, null);
        this.onOpen();
        return true;
      } catch (error) {
        demo.showError(this.parts.error, error);
        return false;
      } finally {
        this.parts.root.removeAttribute("aria-busy");
      }
    }

    async send(blob, name) {
      return this.wire.call("open_picture", { name, source: await demo.dataUri(blob) });
    }

    /** Does something with the server's name of the picture, or null; what the server has forgotten it gets again. */
    async use(action) {
      try {
        return await action(this.identity);
      } catch (error) {
        if (!error.lost) throw error;
        if (this.blob) this.identity = (await this.send(this.blob, this.name)).picture;
        return action(this.identity);
      }
    }
  }

  /** Buttons with small pictures; `open(example)` hears of clicks. */
  function showExamples(list, examples, open) {
    for (const example of examples) {
      const image = demo.make("img", { src: example.source, alt: "", width: 56, height: 44 });
      const element = demo.button("", { class: "sx-example", "aria-label": `Example: ${example.label}`, title: example.label }, () => open(example));
      element.append(image);
      list.append(demo.make("li", {}, element));
    }
  }

  Object.assign(demo, { Picture, showExamples });
})((globalThis.SphinxDemo ??= {}));
