// A chart's values as lines of a table: a line for every tenth of its time, the newest first. Pure.

import { timeOfDay } from "../page/words.js";

const LINES = 10;

/** `series` is [{name, points: [[atMs, value or null]]}]; the first line has the heads. */
export function tableRows({ fromMs, toMs }, series, words) {
  const lines = [["Time", ...series.map(({ name }) => name)]];
  for (let line = 0; line < LINES; line += 1) {
    const at = toMs - (line * (toMs - fromMs)) / LINES;
    const cells = series.map(({ points }) => before(points, at));
    if (cells.every((cell) => cell === undefined)) continue; // the page did not watch yet
    lines.push([timeOfDay(at), ...cells.map((cell) => (cell === null || cell === undefined ? "–" : words(cell)))]);
  }
  return lines;
}

/** The last value at or before a time; undefined where there is none. */
function before(points, at) {
  return points.findLast(([time]) => time <= at)?.[1];
}
