// One answer on the page: which variant gave it, its times, its text, its request id.

import { drawn, element, setText } from "../page/dom.js";
import { tone } from "../page/tones.js";
import { amount, duration } from "../page/words.js";
import { drawRhythm } from "./rhythm.js";
import { Stopwatch } from "./stopwatch.js";

const now = () => performance.now();

export class Lane {
  messages = []; // of the chat so far, as the API takes them
  stopwatch = new Stopwatch(0);
  #answer = null;

  /** `asked` is the variant that is asked for, or "" for any; `noteOf` says what is known of a variant. */
  constructor(asked, noteOf) {
    Object.assign(this, { asked, noteOf });
    this.name = element("h3", { class: "variant" }, asked || "any variant");
    this.note = element("p", { class: "lane-note" }, asked ? "pinned" : "");
    this.state = element("p", { class: "lane-state" });
    this.figures = element("dl", { class: "figures" });
    this.rhythm = drawn("svg", { class: "rhythm", "aria-hidden": "true", focusable: "false" });
    this.body = element("div", { class: "answer", "aria-live": "polite", tabindex: "0", role: "region" });
    this.body.setAttribute("aria-label", `Answer of ${asked || "any variant"}`);
    this.id = element("p", { class: "request-id" });
    this.node = element(
      "article",
      { class: "card lane" },
      element("header", {}, this.name, this.state, this.note),
      this.figures,
      this.rhythm,
      this.body,
      this.id,
    );
  }

  /** A request goes out. `said` is shown above its answer. Assistive technology reads the answer when it is whole. */
  begin(said = null) {
    this.stopwatch = new Stopwatch(now());
    this.body.setAttribute("aria-busy", "true");
    this.node.classList.remove("failed");
    this.node.classList.add("open");
    this.#answer = null;
    if (said !== null) {
      this.body.append(element("p", { class: "said" }, element("span", { class: "quiet" }, "You: "), said));
    } else {
      this.body.replaceChildren();
    }
    this.figures.replaceChildren();
    this.rhythm.replaceChildren();
    setText(this.id, "");
    setText(this.state, "waiting");
  }

  /** Who answers, as the answer's headers tell. */
  identify(variant, requestId) {
    if (variant) {
      setText(this.name, variant);
      const how = this.asked ? "pinned" : "chosen by the server";
      setText(this.note, [how, this.noteOf(variant)].filter(Boolean).join(", "));
      this.name.className = `variant ${tone(variant)}`;
      this.node.className = `card lane ${tone(variant)}`;
    }
    if (requestId) {
      const copy = () => navigator.clipboard?.writeText(requestId).catch(() => {});
      const button = element("button", { type: "button", class: "copy", onclick: copy }, "Copy");
      button.setAttribute("aria-label", `Copy the request id ${requestId}`);
      this.id.replaceChildren("Request ", element("code", {}, requestId), " ", button);
    }
  }

  /** More of the answer's text; `tokens` is how many there are in all. */
  append(text, tokens) {
    this.stopwatch.arrived(now(), tokens);
    if (this.#answer === null) {
      this.#answer = element("p", { class: "wrote" });
      this.body.append(this.#answer);
    }
    this.#answer.append(text);
    this.body.scrollTop = this.body.scrollHeight;
    setText(this.state, "answering");
    this.showFigures();
  }

  /** An answer that came whole. */
  show(...nodes) {
    this.body.append(...nodes);
  }

  /** The answer is complete; `how` says how it ended. */
  end(how) {
    this.#close(how);
  }

  fail(words) {
    this.node.classList.add("failed");
    this.body.append(element("p", { class: "problem" }, words));
    this.#close("failed");
  }

  #close(how) {
    this.stopwatch.ended(now());
    this.node.classList.remove("open");
    this.body.setAttribute("aria-busy", "false");
    setText(this.state, how);
    this.showFigures();
  }

  showFigures() {
    const { firstMs, tokensPerS, tokens, endedMs } = this.stopwatch;
    const rows = [];
    if (firstMs !== null) {
      rows.push(["First token", duration(firstMs / 1000)]);
      rows.push(["Tokens/s", tokensPerS === null ? "–" : amount(tokensPerS)], ["Tokens", `${tokens}`]);
    }
    if (endedMs !== null) rows.push(["In all", duration(endedMs / 1000)]);
    this.figures.replaceChildren(
      ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
    );
  }

  /** Draws when its parts arrived; see rhythm.js. */
  draw(spanMs) {
    if (this.stopwatch.arrivals.length) drawRhythm(this.rhythm, this.stopwatch, spanMs);
  }

  /** The time that the answer has taken so far, in milliseconds. */
  get spanMs() {
    return this.stopwatch.endedMs ?? this.stopwatch.arrivals.at(-1)?.atMs ?? 0;
  }
}
