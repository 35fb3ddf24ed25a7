// The figures on top of the view "Watch".

import { element } from "../page/dom.js";
import { amount, duration } from "../page/words.js";
import { cellsOf, sum } from "./history.js";

const NAMES = ["Requests/s", "Tokens/s", "First token, p95", "Running", "Waiting", "Replicas"];

/** Makes the tiles in `list` and gives the function that fills them: (history, model). */
export function makeTiles(list) {
  const values = NAMES.map((name) => {
    const value = element("dd", {}, "–");
    list.append(element("div", { class: "tile" }, element("dt", {}, name), value));
    return value;
  });
  return function fill(history, model) {
    const now = history.last;
    const cells = cellsOf(now, model);
    const latest = (points) => points.at(-1)?.[1] ?? NaN;
    const texts = [
      amount(latest(history.rate(model, now.atMs, "requests"))),
      amount(latest(history.rate(model, now.atMs, "tokens"))),
      duration(latest(history.quantile(model, now.atMs, "first", 0.95))),
      ...["running", "waiting", "replicas"].map((field) => amount(sum(cells, field))),
    ];
    texts.forEach((text, place) => (values[place].textContent = text));
  };
}
