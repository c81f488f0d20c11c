// The elements around the stage: tools, actions, the line that says what happened, and the list of marks.
"use strict";

(function (canvas) {
  const ICONS = {
    select: "M5 3l13 8-6 1.4L9 18z",
    point: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6M12 2v4M12 18v4M2 12h4M18 12h4",
    box: "M4 6h16v12H4z",
    scribble: "M3 15c3-9 6-9 6-4s-2 8 1 8 4-10 6-10-1 7 5 6",
    mask: "M12 4c5 0 9 2.6 9 6s-4 6-9 6-9-2.600-9-6 4-6 9-6M8 15.500c-2 1.500-1 3.500 1 3.500s2 2-1 2.500",
    pan: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
    undo: "M8 5L4 9l4 4M4 9h10a5 5 0 0 1 0 10H9",
    redo: "M16 5l4 4-4 4M20 9H10a5 5 0 0 0 0 10h5",
    remove: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
    clear: "M6 6l12 12M18 6L6 18",
    zoomOut: "M5 12h14",
    zoomIn: "M5 12h14M12 5v14",
    fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  };
  const TOOLS = [
    ["select", "Select", "V"], ["point", "Point", "P"], ["box", "Box", "B"], ["scribble", "Scribble", "S"],
    ["mask", "Lasso", "L"], ["pan", "Pan", "H"],
  ];
  const ACTIONS = [
    ["undo", "Undo", "Ctrl+Z"], ["redo", "Redo", "Ctrl+Shift+Z"], ["remove", "Delete", "Delete"],
    ["clear", "Clear all", ""],
  ];
  const ZOOMS = [["zoomOut", "Zoom out", "−"], ["zoomIn", "Zoom in", "+"], ["fit", "Fit picture", "0"]];
  const HELP = [
    ["P B S L", "draw a point, box, scribble or lasso"], ["V H", "select, pan"], ["Arrows", "move the crosshair or the mark by 1 px"],
    ["Shift", "larger steps"], ["Alt + arrows", "resize the mark"], ["Enter", "start and end drawing"],
    ["Tab", "next mark"], ["Delete", "remove the mark"], ["Ctrl + Z", "undo; with Shift, redo"],
    ["+ − 0", "zoom in, out, whole picture"], ["Ctrl + wheel", "zoom; two fingers on a touch screen"],
  ];
  const NAMES = { point: "Point", box: "Box", scribble: "Scribble", mask: "Lasso" };

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  function button([name, label, key], onClick, labelClass) {
    const shortcut = key ? ` (${key})` : "";
    const element = make("button", { type: "button", class: "sv-button", "aria-label": label, title: label + shortcut });
    element.dataset.name = name;
    element.append(icon(name));
    if (labelClass) element.append(make("span", { class: labelClass }, label));
    element.addEventListener("click", () => {
      // Not `disabled`: a button that goes dead under the finger would lose the focus.
      if (element.getAttribute("aria-disabled") !== "true") onClick();
    });
    return element;
  }

  function group(label, buttons) {
    return make("div", { class: "sv-group", role: "group", "aria-label": label }, ...buttons);
  }

  function whereabouts(mark) {
    const [x0, y0, x1, y1] = canvas.bounds(mark).map((v) => Math.round(v * 100) / 100);
    return mark.kind === "point" ? `${x0}, ${y0}` : `${x0}, ${y0} – ${x1}, ${y1}`;
  }

  /** In words, for the status line and the list: what a mark is and where, in pixels. */
  function describe(mark) {
    return `${NAMES[mark.kind]} ${whereabouts(mark)}`;
  }

  /** Builds everything inside `root`; `act` holds what the buttons do. Returns the parts that change. */
  function build(root, act) {
    const tools = TOOLS.map((tool) => button(tool, () => act.setTool(tool[0]), "sv-label"));
    const actions = ACTIONS.map((action) => button(action, act[action[0]], "sv-label sv-extra"));
    const zooms = ZOOMS.map((zoom) => button(zoom, act[zoom[0]], null));
    const percent = make("span", { class: "sv-percent" }, "100 %");
    zooms.splice(1, 0, percent);
    const layers = [make("canvas"), make("canvas")];
    layers.forEach((layer) => layer.setAttribute("aria-hidden", "true"));
    const empty = make("p", { class: "sv-empty" }, "No picture yet");
    const stage = make("div", {
      class: "sv-stage", tabindex: "0", role: "application", "aria-roledescription": "drawing canvas",
      "aria-label": "Picture to mark. Keys are listed below the marks.",
    }, ...layers, empty);
    const status = make("p", { class: "sv-status", role: "status", "aria-live": "polite" });
    const count = make("span", { class: "sv-count" });
    const list = make("ol", { class: "sv-marks", "aria-label": "Marks" });
    const keys = make("dl", {}, ...HELP.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)]));
    const help = make("details", { class: "sv-help" }, make("summary", {}, "Keys"), keys);
    root.classList.add("sv-canvas");
    root.replaceChildren(
      make("div", { class: "sv-bar" }, group("Tools", tools), group("Changes", actions), group("View", zooms)),
      stage, make("div", { class: "sv-line" }, status, count), list, help,
    );
    const buttons = Object.fromEntries([...root.querySelectorAll("button")].map((each) => [each.dataset.name, each]));
    return { stage, picture: layers[0], marks: layers[1], empty, status, count, list, percent, buttons };
  }

  /** One button per mark, kept in place where it can be so that the focus stays. */
  function fillList(list, marks, selected, act) {
    while (list.children.length > marks.length) list.lastElementChild.remove();
    marks.forEach((mark, i) => {
      let chip = list.children[i]?.firstElementChild;
      if (!chip) {
        chip = make("button", { type: "button", class: "sv-chip" }, make("b"), " ", make("span"), " ", make("small"));
        chip.addEventListener("click", () => act.choose(i + 1));
        chip.addEventListener("pointerenter", () => act.hover(i + 1));
        chip.addEventListener("pointerleave", () => act.hover(null));
        list.append(make("li", {}, chip));
      }
      const [badge, name, place] = chip.children;
      badge.textContent = String(mark.id);
      badge.style.background = canvas.colorOf(mark.id);
      badge.style.color = canvas.textColorOf(mark.id);
      name.textContent = NAMES[mark.kind];
      place.textContent = whereabouts(mark);
      chip.setAttribute("aria-pressed", String(mark.id === selected));
    });
  }

  Object.assign(canvas, { build, describe, fillList, toolName: (name) => TOOLS.find((tool) => tool[0] === name)[1] });
})((globalThis.SphinxCanvas ??= {}));
