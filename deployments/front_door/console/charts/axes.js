// What all charts in time have in common: the marks of time below, lines for values behind.

import { drawn } from "../page/dom.js";
import { linear, timeMarks } from "./scale.js";

export const LEFT = 56; // for the words of values
export const RIGHT = 4;
const NARROW = 400; // on a phone
export const FOOT = 20; // below a chart, for the marks of time

/** The scale of time of a chart. */
export function timeScale(fromMs, toMs, width, left = LEFT) {
  return linear(fromMs, toMs, left, width - RIGHT);
}

/** The marks of time along the foot. */
export function timeAxis(fromMs, toMs, width, height, left = LEFT) {
  const x = timeScale(fromMs, toMs, width, left);
  return timeMarks(toMs - fromMs, width < NARROW ? 2 : 5).map(({ agoMs, words }) => {
    const at = x(toMs - agoMs);
    const anchor = agoMs === 0 ? "end" : at < left + 24 ? "start" : "middle";
    return drawn("text", { class: "mark", x: at.toFixed(1), y: height - 4, "text-anchor": anchor }, words);
  });
}

/** Lines at 0, the half and the top, with words before them. */
export function valueLines(top, y, width, words) {
  return [0, top / 2, top].flatMap((value) => {
    const at = y(value).toFixed(1);
    const line = drawn("path", { class: value ? "grid" : "grid zero", d: `M${LEFT} ${at}H${width}` });
    const text = { class: "mark", x: LEFT - 8, y: Number(at) + 4, "text-anchor": "end" };
    return [line, drawn("text", text, value ? words(value) : "0")];
  });
}
