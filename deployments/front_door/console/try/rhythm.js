// The rhythm of an answer: a line in time with a tick for each arrival. Beside each other, answers share one scale.

import { drawn } from "../page/dom.js";

const HEIGHT = 26;

/** Draws into `svg`. `spanMs` is the time that its whole width stands for. */
export function drawRhythm(svg, stopwatch, spanMs) {
  const width = svg.clientWidth || 300;
  const x = (ms) => ((ms / spanMs) * (width - 4) + 2).toFixed(1);
  const last = stopwatch.arrivals.at(-1)?.atMs ?? 0;
  const ticks = stopwatch.arrivals.map(({ atMs }) => `M${x(atMs)} 5V${HEIGHT - 5}`).join("");
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren(
    drawn("path", { class: "rhythm-rail", d: `M2 ${HEIGHT / 2}H${width - 2}` }),
    drawn("path", { class: "rhythm-run", d: `M2 ${HEIGHT / 2}H${x(last)}` }),
    drawn("path", { class: "rhythm-ticks", d: ticks }),
  );
}
