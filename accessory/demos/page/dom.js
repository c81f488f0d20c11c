// Making elements, and the few things that all parts of the page do with them.
"use strict";

(function (demo) {
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function button(label, attributes, onClick) {
    const element = make("button", { type: "button", ...attributes }, label);
    element.addEventListener("click", () => {
      // Not `disabled`, which would lose the focus of those who use the keyboard.
      if (element.getAttribute("aria-disabled") !== "true") onClick(element);
    });
    return element;
  }

  function enable(element, on) {
    element.setAttribute("aria-disabled", String(!on));
  }

  /** A sentence that says what is wrong, or nothing. */
  function showError(element, error) {
    element.textContent = error ? error.message : "";
    element.hidden = !error;
  }

  /** The number of a mark on a plate of its colour, as on the canvas. */
  function badge(id) {
    const plate = make("span", { class: "sx-badge" }, String(id));
    plate.style.background = SphinxCanvas.colorOf(id);
    plate.style.color = SphinxCanvas.textColorOf(id);
    return plate;
  }

  const same = (a, b) => a.kind === b.kind && JSON.stringify(a.coords) === JSON.stringify(b.coords);

  /** Are the first of `all` these marks? Then whatever was said of them still holds. */
  function isBeginning(marks, all) {
    return marks.length <= all.length && marks.every((mark, i) => same(mark, all[i]));
  }

  Object.assign(demo, { badge, button, enable, isBeginning, make, same, showError });
})((globalThis.SphinxDemo ??= {}));
