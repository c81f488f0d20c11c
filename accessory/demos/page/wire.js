// Calls to the server and answers from it, through Gradio: `server` for calls, the event "ask" for streams.
"use strict";

(function (demo) {
  /** What the server said no to: a sentence for the reader, and what it has lost ("session" or "picture"), if anything. */
  class Refused extends Error {
    constructor({ error, lost }) {
      super(error);
      this.lost = lost;
    }
  }

  const FAILED = { error: "The server does not answer. Look whether it still runs, then try again." };

  class Wire {
    constructor({ trigger, props, server, watch }) {
      Object.assign(this, { trigger, server });
      this.key = null;
      this.asking = null; // {ticket, onState, resolve, reject} of the answer being written
      this.tickets = 0;
      this.waiting = [];
      watch("value", () => this.hear(props.value));
      this.hear(props.value);
    }

    hear(value) {
      if (value?.kind === "session" && value.key !== this.key) {
        this.key = value.key;
        this.waiting.splice(0).forEach((resolve) => resolve(value.key));
      }
      if (value?.kind === "answer" && value.ticket === this.asking?.ticket) this.take(value);
    }

    /** The session's key, which comes with the page; `anew` where the server has forgotten it. */
    session(anew = false) {
      if (anew) {
        this.key = null;
        this.trigger("hello");
      }
      return this.key ? Promise.resolve(this.key) : new Promise((resolve) => this.waiting.push(resolve));
    }

    /** Rejects with Refused. A forgotten session is begun again; what was in it is not there then. */
    async call(name, details = {}, again = true) {
      const session = await this.session();
      let reply = null;
      try {
        reply = await this.server[name]({ session, ...details });
      } catch (error) {
        console.error(error);
      }
      if (!reply || typeof reply !== "object" || reply.detail) throw new Refused(FAILED);
      if (reply.lost === "session" && again) {
        await this.session(true);
        return this.call(name, details, false);
      }
      if (reply.error) throw new Refused(reply);
      return reply;
    }

    /** `onState` hears of each state of the answer; resolves to the last one, rejects with Refused. */
    async ask(question, onState) {
      const session = await this.session();
      const ticket = ++this.tickets;
      return new Promise((resolve, reject) => {
        this.asking = { ticket, onState, resolve, reject };
        this.trigger("ask", { session, ticket, question });
      });
    }

    take(state) {
      const { onState, resolve, reject } = this.asking;
      if (state.done) this.asking = null;
      if (state.error) {
        if (state.lost === "session") this.session(true);
        reject(new Refused(state));
      } else {
        onState(state);
        if (state.done) resolve(state);
      }
    }

    /** Ends the answer being written; where the server cannot be reached, the waiting for it. */
    async stop() {
      const { asking } = this;
      try {
        await this.call("stop_answer");
      } catch (error) {
        if (this.asking === asking) this.asking = null;
        asking?.reject(error);
      }
    }
  }

  Object.assign(demo, { Refused, Wire });
})((globalThis.SphinxDemo ??= {}));
