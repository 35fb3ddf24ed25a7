// Shares of a whole over time, stacked to 100%.

import { drawn } from "../page/dom.js";
import { FOOT, timeAxis, timeScale, valueLines } from "./axes.js";
import { linear, runs } from "./scale.js";

const HEAD = 8;
const ALONE_MS = 1000;

/** The SVG children of a chart of `points`: [[atMs, Map from key to share, or null]]. `keys` are stacked from the ground
 * up; `toneOf` gives a key's class. */
export function drawShares({ width, height, fromMs, toMs, keys, points, toneOf, words }) {
  const x = timeScale(fromMs, toMs, width);
  const y = linear(0, 1, height - FOOT, HEAD);
  const areas = runs(points, ([, shares]) => shares !== null).flatMap((found) => {
    // One look alone has no width of its own.
    const run = found.length > 1 ? found : [[found[0][0] - ALONE_MS, found[0][1]], found[0]];
    return keys.map((key, place) => {
      const under = ([, shares]) => keys.slice(0, place).reduce((sum, one) => sum + (shares.get(one) ?? 0), 0);
      const upper = run.map((point) => [x(point[0]), y(under(point) + (point[1].get(key) ?? 0))]);
      const lower = run.map((point) => [x(point[0]), y(under(point))]).reverse();
      const path = [...upper, ...lower].map(([left, top]) => `${left.toFixed(1)} ${top.toFixed(1)}`).join("L");
      return drawn("path", { class: `area ${toneOf(key)}`, d: `M${path}Z` });
    });
  });
  return [...areas, ...valueLines(1, y, width, words), ...timeAxis(fromMs, toMs, width, height)];
}
