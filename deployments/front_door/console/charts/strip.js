// Counts over time, a row for each thing that is counted: steps up and down in one strip.

import { drawn } from "../page/dom.js";
import { FOOT, timeAxis, timeScale } from "./axes.js";

const LEFT = 4; // names are above the rows, not before them
const WORDS = 16; // above each row, for its name
const [LEAST, MOST, FULL] = [26, 150, 330]; // of a row's height; few rows share what many would fill

function rowHeight(rows, width) {
  return Math.max(LEAST, Math.min(MOST, Math.min(FULL, width / 2) / Math.max(1, rows)));
}

/** How high a strip of so many rows is. */
export function stripHeight(rows, width) {
  return Math.max(1, rows) * (rowHeight(rows, width) + WORDS) + FOOT;
}

/** The SVG children of a strip of `rows`: [{name, note, tone, points: [[atMs, count, alarm]]}]. Blocks are as high as the
 * count is of the largest; while there is none, the ground is all there is, and in alarm where none is a fault. */
export function drawStrip({ width, fromMs, toMs, rows }) {
  const height = stripHeight(rows.length, width);
  const high = rowHeight(rows.length, width);
  const most = Math.max(1, ...rows.flatMap(({ points }) => points.map(([, count]) => count)));
  const x = timeScale(fromMs, toMs, width, LEFT);
  const parts = rows.flatMap(({ name, note, tone, points }, place) => {
    const top = place * (high + WORDS);
    const ground = top + high + WORDS - 4;
    return [
      drawn("text", { class: "row-name", x: 4, y: top + 11 }, name),
      drawn("text", { class: "mark", x: width - 4, y: top + 11, "text-anchor": "end" }, note),
      drawn("path", { class: "grid zero", d: `M0 ${ground}H${width}` }),
      drawn("path", { class: `block ${tone}`, d: blocks(points, x, toMs, ground, (high - 6) / most) }),
      drawn("path", { class: "alarm-line", d: alarms(points, x, toMs, ground) }),
    ];
  });
  return [...parts, ...timeAxis(fromMs, toMs, width, height, LEFT)];
}

function blocks(points, x, toMs, ground, unit) {
  return spans(points, toMs)
    .filter(({ count }) => count > 0)
    .map(({ from, to, count }) => {
      const [left, right] = [x(from).toFixed(1), x(to).toFixed(1)];
      return `M${left} ${ground}V${(ground - count * unit).toFixed(1)}H${right}V${ground}Z`;
    })
    .join("");
}

function alarms(points, x, toMs, ground) {
  return spans(points, toMs)
    .filter(({ alarm }) => alarm)
    .map(({ from, to }) => `M${x(from).toFixed(1)} ${ground}H${x(to).toFixed(1)}`)
    .join("");
}

/** Neighbours with the same count as one span of time. */
export function spans(points, toMs) {
  const found = [];
  for (const [at, count, alarm = false] of points) {
    const last = found.at(-1);
    if (last) last.to = at;
    if (!last || last.count !== count || last.alarm !== alarm) found.push({ from: at, to: toMs, count, alarm });
  }
  if (found.length) found.at(-1).to = points.at(-1)[0];
  return found;
}
