// The charts of the view "Watch", drawn from the history.

import { Figure } from "../charts/figure.js";
import { drawLines } from "../charts/lines.js";
import { drawShares } from "../charts/shares.js";
import { drawStrip, stripHeight } from "../charts/strip.js";
import { setText } from "../page/dom.js";
import { byPrecision, tone } from "../page/tones.js";
import { amount, duration, percent, plural } from "../page/words.js";
import { cellsOf } from "./history.js";
import { tableRows } from "./table.js";

const HEIGHT = 150;
const SMALL = 120;
const LEAST_SPAN_MS = 60_000;

/** Makes the figures in `place` and gives the function that draws them: (history, model, spanMs), the latter
 * being the most of the past that is shown. */
export function makeCharts(place) {
  const replicas = new Figure("Replicas over time", "Red where the last one was lost.", HEIGHT);
  const shares = new Figure("Requests by variant", "Share of the requests that each variant was given, over 5 s.", HEIGHT);
  const first = new Figure("Time to the first token", "Of generated answers, over 10 s.", SMALL);
  const whole = new Figure("Time to the whole answer", "Over 10 s.", SMALL);
  const tokens = new Figure("Tokens a second", "Generated, over 5 s.", SMALL);
  const answers = new Figure("Answers a second", "Texts and sentences count by themselves, over 5 s.", SMALL);
  replicas.node.classList.add("tall");
  place.prepend(replicas.node, shares.node); // the list of events comes after these
  place.append(...[first, whole, tokens, answers].map((figure) => figure.node));

  return function draw(history, model, spanMs) {
    const toMs = history.last.atMs;
    // What was not watched yet takes up no room.
    const watchedMs = Math.max(LEAST_SPAN_MS, toMs - history.frames[0].atMs);
    const span = { fromMs: toMs - Math.min(spanMs, watchedMs), toMs };
    showReplicas(replicas, history, model, span);
    showShares(shares, history, model, span);
    showLatency(first, history, model, span, "first");
    showLatency(whole, history, model, span, "whole");
    showRate(tokens, history, model, span, "tokens");
    showRate(answers, history, model, span, "answers");
  };
}

function showReplicas(figure, history, model, span) {
  const frames = history.frames.filter(({ atMs }) => atMs >= span.fromMs);
  const all = cellsOf(history.last, model).map((cell) => ({
    name: model ? cell.variant : `${cell.model}:${cell.variant}`,
    note: cell.replicas ? plural(cell.replicas, "replica") : (cell.state ?? ""),
    tone: tone(cell.variant),
    points: frames.map((frame) => {
      const then = frame.cells.find((one) => one.model === cell.model && one.variant === cell.variant);
      return [frame.atMs, then?.replicas ?? 0, then?.state === "unavailable"];
    }),
  }));
  // What slept all the time only takes up room.
  const rows = all.filter(({ note, points }) => note !== "asleep" || points.some(([, count]) => count > 0));
  const asleep = all.filter((row) => !rows.includes(row)).map(({ name }) => name);
  setText(figure.help, asleep.length ? `Asleep all the time: ${asleep.join(", ")}.` : figure.helpText);
  figure.show({
    legend: [],
    children: drawStrip({ width: figure.width, ...span, rows }),
    height: stripHeight(rows.length, figure.width),
    summary: `Now ${all.map(({ name, note }) => `${name}: ${note}`).join(", ") || "none"}.`,
    rows: () => tableRows(span, rows.map(({ name, points }) => ({ name, points })), String),
  });
}

function showShares(figure, history, model, span) {
  const points = history.shares(model, span.fromMs);
  const keys = [...new Set(points.flatMap(([, shares]) => [...(shares?.keys() ?? [])]))].sort(byPrecision);
  const now = points.at(-1)?.[1] ?? null;
  const said = (key) => (now ? percent(now.get(key) ?? 0) : "–");
  figure.show({
    legend: keys.map((key) => ({ tone: tone(key), name: key, value: said(key) })),
    children: drawShares({ width: figure.width, height: HEIGHT, ...span, keys, points, toneOf: tone, words: percent }),
    summary: now ? `Now ${keys.map((key) => `${key} ${said(key)}`).join(", ")}.` : "No requests at present.",
    rows: () =>
      tableRows(
        span,
        keys.map((name) => ({ name, points: points.map(([at, all]) => [at, all ? (all.get(name) ?? 0) : null]) })),
        percent,
      ),
  });
}

function showLatency(figure, history, model, span, field) {
  const series = [
    { name: "Half of them (p50)", tone: "ink-line", points: history.quantile(model, span.fromMs, field, 0.5) },
    { name: "95 of 100 (p95)", tone: "signal-line", points: history.quantile(model, span.fromMs, field, 0.95) },
  ];
  showCurves(figure, span, series, duration, 0.05);
}

function showRate(figure, history, model, span, field) {
  const points = history.rate(model, span.fromMs, field);
  showCurves(figure, span, [{ name: "All variants", tone: "ink-line", points }], amount, 1);
}

function showCurves(figure, span, series, words, least) {
  const last = ({ points }) => points.at(-1)?.[1] ?? null;
  const said = (one) => (last(one) === null ? "–" : words(last(one)));
  figure.show({
    legend: series.map((one) => ({ ...one, value: said(one) })),
    children: drawLines({ width: figure.width, height: SMALL, ...span, series, words, least }),
    summary: series.some((one) => last(one) !== null)
      ? `Now ${series.map((one) => `${one.name} ${said(one)}`).join(", ")}.`
      : "Nothing to measure at present.",
    rows: () => tableRows(span, series, words),
  });
}
