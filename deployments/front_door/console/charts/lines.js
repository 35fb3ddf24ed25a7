// Lines over time: one or several series on one scale of values.

import { drawn } from "../page/dom.js";
import { FOOT, timeAxis, timeScale, valueLines } from "./axes.js";
import { linear, linePath, niceTop } from "./scale.js";

const HEAD = 8;

/** The SVG children of a chart of `series`: [{tone, points: [[atMs, value or null]]}]. */
export function drawLines({ width, height, fromMs, toMs, series, words, least = 0 }) {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value ?? 0));
  const top = niceTop(Math.max(least, ...values));
  const x = timeScale(fromMs, toMs, width);
  const y = linear(0, top, height - FOOT, HEAD);
  const place = ([at, value]) => [x(at), value === null ? null : y(value)];
  return [
    ...valueLines(top, y, width, words),
    ...series.map(({ tone, points }) =>
      drawn("path", { class: `curve ${tone}`, d: linePath(points.map(place)) }),
    ),
    ...timeAxis(fromMs, toMs, width, height),
  ];
}
