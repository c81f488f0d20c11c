// The page as a whole: brings canvas, conversation and server together. SphinxDemo.start(element, Gradio's functions).
"use strict";

(function (demo) {
  class Studio {
    constructor(element, gradio) {
      const find = (name) => element.querySelector(`.sx-${name}`);
      const facts = gradio.props.facts;
      this.parts = { chatError: find("chat-error"), left: find("left") };
      this.pinned = null;
      this.hovered = null;
      this.wire = new demo.Wire(gradio);
      const [model, device] = find("model").children;
      model.textContent = facts.model;
      device.textContent = facts.device;
      this.board = createMarkCanvas(find("board"), {
        slots: facts.slots, onChange: () => this.marksChanged(), onHover: (id) => this.hover(id, false),
      });
      find("board").querySelector(".sv-empty").textContent = "Open a picture, or drop or paste one";
      const acts = { pick: (id) => this.pin(id), hover: (id) => this.hover(id, true), again: () => this.again() };
      this.chat = new demo.Chat({ log: find("log"), scroll: find("scroll"), steps: find("steps"), spoken: find("spoken") }, acts);
      this.composer = new demo.Composer(
        {
          presets: find("presets"), inserts: find("inserts"), numbers: find("numbers"), form: find("composer"),
          question: find("field textarea"), ask: find("ask"), stop: find("stop"), remember: find("remember"),
        },
        facts.questions, { ask: (...question) => this.ask(...question), stop: () => this.wire.stop() },
      );
      this.picture = new demo.Picture(
        this.wire, this.board, { root: element.querySelector(".sx"), file: find("file"), error: find("picture-error") },
        () => this.pictureOpened(),
      );
      this.segments = new demo.Segments(this.wire, this.board, this.picture, find("sam"), facts.sam);
      demo.showExamples(find("examples"), facts.examples, (example) => this.openExample(example));
      this.connectMenu(element, find("conversation"));
    }

    connectMenu(element, file) {
      const actions = { new: () => this.chat.clear(), json: () => this.saveJson(), png: () => this.savePng() };
      for (const [name, action] of Object.entries(actions)) {
        element.querySelector(`[data-do="${name}"]`).addEventListener("click", () => this.attempt(async () => {
          this.mustRest();
          await action();
        }));
      }
      file.addEventListener("change", () => {
        const [chosen] = file.files;
        file.value = "";
        if (chosen) this.attempt(() => this.openConversation(chosen));
      });
    }

    /** Does something that may be refused, and says why it was. */
    async attempt(action) {
      demo.showError(this.parts.chatError, null);
      try {
        await action();
      } catch (error) {
        demo.showError(this.parts.chatError, error);
      }
    }

    mustRest() {
      if (this.composer.busy) throw new Error("An answer is being written; stop it first.");
    }

    // Picture and marks.

    pictureOpened() {
      if (this.composer.busy) this.wire.stop();
      this.chat.clear();
      this.marksChanged();
    }

    async openExample(example) {
      if (!(await this.picture.open(demo.blobOf(example.source), example.name))) return;
      if (example.marks.length) this.board.setMarks(example.marks);
    }

    marksChanged() {
      if (!this.chat) return; // the canvas is being built
      const marks = this.board.marks();
      this.pin(null);
      this.composer.show(marks, this.picture.blob !== null);
      this.chat.settle(marks);
      this.chat.show(null);
      this.segments.changed();
    }

    /** A mark is pointed at: in the text (`fromText`), then the canvas shows it, or on the canvas, then the text does. */
    hover(id, fromText) {
      this.hovered = id;
      this.chat?.show(id ?? this.pinned);
      if (fromText) this.board.highlight(id ?? this.pinned);
    }

    /** A mark that stays lit until it is clicked again. */
    pin(id) {
      this.pinned = id === this.pinned ? null : id;
      this.board.highlight(this.pinned);
      this.chat.pressed(this.pinned);
      this.chat.show(this.pinned);
    }

    // Questions.

    /** `taken()` is called once the question stands in the conversation: what was typed is kept until then. */
    async ask(question, alone, taken = () => {}) {
      await this.attempt(async () => {
        if (this.composer.busy) return;
        const settings = this.composer.settings();
        const marks = this.picture.blob ? this.board.marks() : [];
        const before = alone ? [] : this.chat.standing(marks);
        const turn = this.chat.add(question, marks, alone);
        taken();
        await this.answer(turn, before, settings);
      });
    }

    /** The last question once more; where tokens are drawn at random, with the next seed. */
    async again() {
      await this.attempt(async () => {
        const turn = this.chat.last;
        if (this.composer.busy || !turn) return;
        const settings = this.composer.settings();
        turn.again += 1;
        settings.seed += turn.again;
        const before = turn.alone ? [] : this.chat.standing(turn.marks).filter((each) => each !== turn);
        this.chat.begin(turn);
        await this.answer(turn, before, settings);
      });
    }

    async answer(turn, before, settings) {
      const turns = [...before.map(({ question, answer }) => [question, answer]), [turn.question, null]];
      this.setBusy(true);
      try {
        const last = await this.picture.use((picture) =>
          this.wire.ask({ turns, picture, marks: turn.marks, settings }, (state) => this.chat.progress(turn, state)));
        this.chat.end(turn, last);
      } catch (error) {
        this.chat.fail(turn, error);
      } finally {
        this.setBusy(false);
      }
    }

    setBusy(busy) {
      this.composer.setBusy(busy);
      this.composer.show(this.board.marks(), this.picture.blob !== null);
    }

    // Files.

    stem() { return (this.picture.name || "conversation").replace(/\.[^.]*$/, ""); }

    async items() {
      const turns = this.chat.finished.map(({ question, answer, marks, alone }) => ({ question, answer, marks, alone }));
      const { name, size } = this.picture;
      return (await this.wire.call("save_conversation", { turns, name, size })).items;
    }

    /** The file is whole: the picture is in its first item, so that it can be opened anywhere. */
    async saveJson() {
      const items = await this.items();
      items[0].picture = await demo.dataUri(this.picture.blob);
      demo.save(new Blob([JSON.stringify(items, null, 1)], { type: "application/json" }), `${this.stem()}.conversation.json`);
    }

    /** The marked picture, with the conversation inside where there is one. */
    async savePng() {
      if (!this.picture.blob) throw new Error("Open a picture first.");
      let png = await this.board.exportPng();
      if (this.chat.finished.length) png = await demo.withText(png, JSON.stringify(await this.items()));
      demo.save(png, `${this.stem()}.marked.png`);
    }

    async openConversation(file) {
      this.mustRest();
      const items = await demo.readItems(file);
      const source = Array.isArray(items) ? items[0]?.picture : null;
      if (source) delete items[0].picture;
      const { image_name: name, image_size: size, turns } = await this.wire.call("read_conversation", { items });
      if (source && !(await this.picture.open(demo.blobOf(source), name))) return;
      const open = this.picture.size;
      if (!open || open[0] !== size[0] || open[1] !== size[1]) {
        throw new Error(`This conversation is about ${name} (${size.join(" × ")} pixels); open that picture first.`);
      }
      this.board.setMarks(turns[turns.length - 1].marks);
      this.chat.clear();
      for (const turn of turns) this.chat.add(turn.question, turn.marks, turn.alone, turn.answer);
      this.chat.settle(this.board.marks());
    }
  }

  demo.start = (element, gradio) => new Studio(element, gradio);
})((globalThis.SphinxDemo ??= {}));
