// The conversation: questions and answers as they are written, and which of them the next question stands on.
"use strict";

(function (demo) {
  const ENDS = {
    stop: "", eos: "", cancelled: "stopped", timeout: "out of time", length: "cut: the longest answer was reached",
  };

  class Chat {
    /** `act`: pick(id), hover(id or null), again(), and `spoken`, an element that screen readers listen to. */
    constructor(parts, act) {
      Object.assign(this, { act, log: parts.log, scroll: parts.scroll, steps: parts.steps, spoken: parts.spoken });
      this.turns = [];
      this.marks = []; // as they are now
      this.lit = null;
      this.divider = demo.make("li", { class: "sx-divider" }, "The marks have changed: a new conversation");
    }

    get last() { return this.turns[this.turns.length - 1] ?? null; }
    get finished() { return this.turns.filter((turn) => turn.answer !== null); }

    clear() {
      this.turns = [];
      this.log.replaceChildren();
      this.steps.hidden = false;
    }

    /** Where the conversation begins that a question about `marks` goes on with: from the last turn back as long as the
     * marks it was about are still there. A question about other marks starts anew. */
    beginning(marks) {
      let from = this.turns.length;
      while (from > 0 && demo.isBeginning(this.turns[from - 1].marks, marks)) from--;
      return from;
    }

    standing(marks) {
      return this.turns.slice(this.beginning(marks)).filter((turn) => turn.answer !== null);
    }

    /** Does number `id` in this turn mean a mark that is there now? Numbers change hands when marks are deleted. */
    means(turn, id) {
      const [then, now] = [turn.marks[id - 1], this.marks[id - 1]];
      return Boolean(then && now && demo.same(then, now));
    }

    write(element, text, turn) {
      demo.write(element, text, {
        pick: (id) => {
          if (this.means(turn, id)) this.act.pick(id);
          else this.spoken.textContent = `There is no mark ${id} any more.`;
        },
        hover: (id) => this.act.hover(id !== null && this.means(turn, id) ? id : null),
      });
      this.check(turn);
    }

    /** Names of marks that are not there (any more) look it. */
    check(turn) {
      for (const element of turn.element?.querySelectorAll(".sx-mention") ?? []) {
        const id = Number(element.dataset.mark);
        const there = this.means(turn, id);
        element.classList.toggle("sx-gone", !there);
        element.title = there ? `Show mark ${id} on the picture` : `Mark ${id} of this question is not on the picture`;
      }
    }

    /** The marks are these now: shows which turns no longer count. */
    settle(marks) {
      this.marks = marks;
      this.turns.forEach((turn) => this.check(turn));
      const cut = this.beginning(marks);
      this.turns.forEach((turn, i) => turn.element.classList.toggle("sx-past", i < cut));
      if (cut) this.turns[cut - 1].element.after(this.divider);
      else this.divider.remove();
    }

    /** A turn that waits for its answer; `alone`: without what was said before. `answer` is given for one from a file. */
    add(question, marks, alone, answer = null) {
      const turn = { question, marks: structuredClone(marks), alone, answer, again: 0, warnings: [], element: null };
      turn.asked = demo.make("p", { class: "sx-asked" });
      turn.odd = demo.make("div", { class: "sx-odd", hidden: "" });
      turn.text = demo.make("p", { class: "sx-text" });
      turn.note = demo.make("span", { class: "sx-note" });
      turn.acts = demo.make("span", { class: "sx-acts" },
        demo.button("Again", { class: "sx-link", title: "Answer this question again" }, () => this.act.again()),
        demo.button("Copy", { class: "sx-link", title: "Copy the answer" }, () => this.copy(turn)));
      turn.element = demo.make("li", { class: "sx-turn" },
        demo.make("div", { class: "sx-you" }, demo.make("span", { class: "sx-hidden" }, "You: "), turn.asked),
        turn.odd,
        demo.make("div", { class: "sx-model-says" }, demo.make("span", { class: "sx-hidden" }, "SPHINX-V: "), turn.text,
          demo.make("p", { class: "sx-under" }, turn.note, turn.acts)));
      this.write(turn.asked, question, turn);
      this.turns.push(turn);
      this.log.append(turn.element);
      this.steps.hidden = true;
      if (answer === null) this.begin(turn);
      else this.end(turn, { text: answer, finish: "eos" });
      return turn;
    }

    begin(turn) {
      turn.answer = null;
      turn.element.classList.remove("sx-failed");
      turn.element.classList.add("sx-writing");
      turn.text.textContent = "";
      this.doubt(turn, []);
      turn.note.textContent = "Looking …";
      turn.acts.hidden = true;
      this.follow(true);
    }

    /** Sentences about what in the question is probably not meant; those of the turns that it stands on are told there. */
    doubt(turn, warnings) {
      turn.warnings = warnings;
      const before = turn.alone ? [] : this.standing(turn.marks).filter((each) => each !== turn);
      const told = before.flatMap((each) => each.warnings);
      const news = warnings.filter((sentence) => !told.includes(sentence));
      turn.odd.replaceChildren(...news.map((sentence) => demo.make("p", {}, sentence)));
      turn.odd.hidden = !news.length;
    }

    progress(turn, { text, place, warnings }) {
      this.doubt(turn, warnings);
      if (place) turn.note.textContent = `Waiting: number ${place} in the queue`;
      else if (text) turn.note.textContent = "Writing …";
      if (text) this.write(turn.text, text, turn);
      this.show(this.lit);
      this.follow();
    }

    end(turn, { text, finish, tokens }) {
      turn.answer = text;
      this.write(turn.text, text || "(an empty answer)", turn);
      const facts = [tokens === undefined ? "" : `${tokens} tokens`, turn.alone ? "asked alone" : "", ENDS[finish]];
      turn.note.textContent = facts.filter(Boolean).join(", ");
      this.rest(turn);
      if (tokens !== undefined) this.spoken.textContent = [turn.odd.innerText, `Answer: ${text}`].filter(Boolean).join("\n");
    }

    fail(turn, error) {
      turn.text.textContent = error.message;
      turn.note.textContent = "";
      turn.element.classList.add("sx-failed");
      this.spoken.textContent = error.message;
      this.rest(turn);
    }

    rest(turn) {
      turn.element.classList.remove("sx-writing");
      turn.acts.hidden = false;
      this.turns.forEach((each) => {
        const [again, copy] = each.acts.children;
        again.hidden = each !== this.last;
        copy.hidden = each.answer === null;
      });
      this.show(this.lit);
      this.follow();
    }

    async copy(turn) {
      try {
        await navigator.clipboard.writeText(turn.answer ?? "");
        this.spoken.textContent = "Copied.";
        turn.note.textContent = "copied";
      } catch {
        turn.note.textContent = "the browser does not allow copying";
      }
    }

    /** Lights up where a mark is named; null for none. */
    show(id) {
      this.lit = id;
      for (const element of this.log.querySelectorAll(".sx-mention")) {
        element.classList.toggle("sx-lit", element.dataset.mark === String(id) && !element.classList.contains("sx-gone"));
      }
    }

    pressed(id) {
      for (const element of this.log.querySelectorAll(".sx-mention")) {
        const there = !element.classList.contains("sx-gone");
        element.setAttribute("aria-pressed", String(there && element.dataset.mark === String(id)));
      }
    }

    /** Keeps the end in sight, except of somebody who has scrolled up to read. */
    follow(always = false) {
      const { scroll } = this;
      if (always || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 120) scroll.scrollTop = scroll.scrollHeight;
    }
  }

  demo.Chat = Chat;
})((globalThis.SphinxDemo ??= {}));
