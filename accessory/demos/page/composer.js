// Where a question is put: buttons for the wordings of the training data, a field for one's own words, and settings.
"use strict";

(function (demo) {
  const LABELS = {
    labels: "Labels", ocr: "Text", brief: "Brief", detailed: "Detailed", summary: "Summary", relation: "Relations",
  };
  // [name, label, smallest, largest, step, beginning]
  const NUMBERS = [
    ["temperature", "Temperature", 0, 10, "any", 0.1], ["top_p", "Top-p", 0, 1, "any", 0.5], ["top_k", "Top-k (0: off)", 0, null, 1, 0],
    ["repetition_penalty", "Repetition penalty", 0, null, "any", 1], ["max_gen_len", "Most tokens", 1, null, 1, 512],
    ["seed", "Seed", 0, null, 1, 0],
  ];

  class Composer {
    /** `act`: ask(question, alone, whenTaken), stop(). `questions`: task → [wording for regions, wording for points]. */
    constructor(parts, questions, act) {
      Object.assign(this, { parts, questions, act });
      this.marks = [];
      this.busy = false;
      this.presets = Object.keys(questions).map((task) => {
        const element = demo.button(LABELS[task] ?? task, { class: "sx-preset" }, () => act.ask(this.wording(task), true));
        element.dataset.task = task;
        return element;
      });
      parts.presets.append(...this.presets);
      this.inputs = Object.fromEntries(NUMBERS.map((number) => this.field(number)));
      parts.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.send();
      });
      parts.question.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.send();
      });
      parts.stop.addEventListener("click", () => act.stop());
      this.show([], false);
    }

    field([name, label, least, most, step, beginning]) {
      const input = demo.make("input", { type: "number", id: `sx-${name}`, min: least, step, value: beginning });
      if (most !== null) input.max = most;
      this.parts.numbers.append(demo.make("div", {}, demo.make("label", { for: input.id }, label), input));
      return [name, input];
    }

    settings() {
      const values = Object.entries(this.inputs).map(([name, input]) => {
        if (!input.value.trim()) throw new Error(`Settings: ${name} is empty; give a number.`);
        return [name, Number(input.value)];
      });
      return Object.fromEntries(values);
    }

    /** In the form for points where all marks are points, else in that for regions. */
    wording(task) {
      return this.questions[task][this.marks.length && this.marks.every((mark) => mark.kind === "point") ? 1 : 0];
    }

    send() {
      const text = this.parts.question.value.trim();
      if (!text || this.busy) return;
      this.act.ask(text, !this.parts.remember.checked, () => { this.parts.question.value = ""; });
    }

    insert(mark) {
      const { question } = this.parts;
      const { selectionStart: at, value } = question;
      const space = at && !/\s$/.test(value.slice(0, at)) ? " " : "";
      question.setRangeText(`${space}${demo.nameOf(mark)}`, at, question.selectionEnd, "end");
      question.focus();
    }

    /** What can be asked now. */
    show(marks, picture) {
      this.marks = marks;
      for (const preset of this.presets) {
        const needed = preset.dataset.task === "relation" ? 2 : 1;
        demo.enable(preset, picture && marks.length >= needed && !this.busy);
        preset.title = marks.length >= needed ? this.wording(preset.dataset.task) : `Mark at least ${needed} first`;
      }
      const { inserts } = this.parts;
      while (inserts.children.length > marks.length) inserts.lastElementChild.remove();
      marks.forEach((mark, i) => {
        if (!inserts.children[i]) {
          const element = demo.button("", { class: "sx-insert" }, () => this.insert(this.marks[i]));
          element.append(demo.badge(i + 1));
          inserts.append(element);
        }
        inserts.children[i].setAttribute("aria-label", `Write ${demo.nameOf(mark)}`);
        inserts.children[i].title = `Write ${demo.nameOf(mark)}`;
      });
    }

    setBusy(busy) {
      const focused = document.activeElement;
      this.busy = busy;
      const { ask, stop, question } = this.parts;
      ask.hidden = busy;
      stop.hidden = !busy;
      // The button that had the focus is gone; its successor is where one looks for it.
      if (focused === ask && busy) stop.focus();
      if (focused === stop && !busy) question.focus();
    }
  }

  demo.Composer = Composer;
})((globalThis.SphinxDemo ??= {}));
