// Looks at the cluster and keeps what it saw: frames, the last status, events.

import { ask, askJson } from "../page/api.js";
import { Counters } from "./counters.js";
import { countedEvents, frameEvents, stageEvents, stagesOf } from "./events.js";
import { counting, frameOf, WANTED } from "./frames.js";
import { History } from "./history.js";
import { parseMetrics } from "./metrics_text.js";

const TIMEOUT_S = 10;
const MOST_EVENTS = 200;
const GAP_S = 5; // a longer time between two looks is a gap: the tab was hidden, or the watch was paused

export class Watcher {
  history = new History();
  status = null; // the last body of /status
  events = []; // {atMs, kind, words}, the newest first
  #counters = new Counters();
  #stages = new Map();
  #reached = true;

  /** One look. Raises Failure. */
  async look() {
    try {
      const [status, page] = await Promise.all([
        askJson("status", { timeoutS: TIMEOUT_S }),
        ask("metrics", { timeoutS: TIMEOUT_S }).then((response) => response.text()),
      ]);
      this.take(Date.now(), status, page);
    } catch (error) {
      if (error.status === 0 && this.#reached) {
        this.#reached = false;
        this.#note(Date.now(), [{ kind: "fault", words: error.message }]);
      }
      throw error;
    }
  }

  /** What one look saw, at `atMs`. */
  take(atMs, status, page) {
    const samples = parseMetrics(page, WANTED);
    const grown = this.#counters.grown(counting(samples));
    const before = this.history.last;
    const passed = before ? (atMs - before.atMs) / 1000 : 0;
    const frame = frameOf(atMs, passed > GAP_S ? 0 : passed, samples, grown);
    this.history.push(frame);
    this.status = status;
    const stages = stagesOf(status);
    const happened = [
      ...(this.#reached ? [] : [{ kind: "recovery", words: "The server answers again" }]),
      ...countedEvents(grown),
      ...(before ? frameEvents(before, frame) : []),
      ...stageEvents(this.#stages, stages),
    ];
    this.#reached = true;
    this.#stages = stages;
    this.#note(atMs, happened);
  }

  #note(atMs, happened) {
    this.events = [...happened.map((one) => ({ atMs, ...one })), ...this.events].slice(0, MOST_EVENTS);
  }
}
