// Text in which `<Region 2>` and `<Mark 2>` are buttons that light up mark 2. Everything else in it is text, never HTML.
"use strict";

(function (demo) {
  const NAMED = /<(Region|Mark) (\d{1,3})>|^(Region|Mark) (\d{1,3})(?=:)/gm;

  /** Puts `text` into `element`. `pick(id)` hears of clicks, `hover(id or null)` of the pointer and of the focus. */
  function write(element, text, { pick, hover }) {
    const parts = [];
    let end = 0;
    for (const match of text.matchAll(NAMED)) {
      parts.push(text.slice(end, match.index), mention(match[1] ?? match[3], Number(match[2] ?? match[4]), pick, hover));
      end = match.index + match[0].length;
    }
    element.replaceChildren(...parts, text.slice(end));
  }

  function mention(word, id, pick, hover) {
    const element = demo.button(word, { class: "sx-mention", "aria-pressed": "false" }, () => pick(id));
    element.append(" ", demo.badge(id));
    element.dataset.mark = String(id);
    element.addEventListener("pointerenter", () => hover(id));
    element.addEventListener("pointerleave", () => hover(null));
    element.addEventListener("focus", () => hover(id));
    element.addEventListener("blur", () => hover(null));
    return element;
  }

  /** How the model knows a mark: points are marks, everything else is a region. */
  const nameOf = (mark) => `<${mark.kind === "point" ? "Mark" : "Region"} ${mark.id}>`;

  Object.assign(demo, { nameOf, write });
})((globalThis.SphinxDemo ??= {}));
