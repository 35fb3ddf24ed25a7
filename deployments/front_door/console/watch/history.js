// The frames of the last ten minutes, and what they add up to. Pure, but for what it is given to keep.

import { addBuckets, quantile } from "./quantile.js";

export const KEPT_MS = 600_000;
const RATE_MS = 5_000; // over which rates and shares are taken
const QUANTILE_MS = 10_000; // over which quantiles are: fewer answers make a jumping line

export class History {
  frames = [];

  push(frame) {
    this.frames.push(frame);
    const oldest = frame.atMs - KEPT_MS;
    while (this.frames[0].atMs < oldest) this.frames.shift();
  }

  get last() {
    return this.frames.at(-1) ?? null;
  }

  /** For each frame since `fromMs` what `value` makes of the cells of `model` ("" for all) in the frames of the last
   * `overMs` milliseconds: [[atMs, value]]. */
  series(model, fromMs, overMs, value) {
    const points = [];
    let start = 0;
    for (let end = 0; end < this.frames.length; end += 1) {
      const { atMs } = this.frames[end];
      while (this.frames[start].atMs <= atMs - overMs) start += 1;
      if (atMs < fromMs) continue;
      const window = this.frames.slice(start, end + 1);
      const seconds = window.reduce((sum, frame) => sum + frame.seconds, 0);
      const cells = window.flatMap((frame) => cellsOf(frame, model));
      points.push([atMs, seconds > 0 ? value(cells, seconds) : null]);
    }
    return points;
  }

  /** How fast a counter of the cells grows, by the second. */
  rate(model, fromMs, field) {
    return this.series(model, fromMs, RATE_MS, (cells, seconds) => sum(cells, field) / seconds);
  }

  /** A quantile of a histogram of the cells, in seconds; null while nothing was measured. */
  quantile(model, fromMs, field, share) {
    return this.series(model, fromMs, QUANTILE_MS, (cells) => {
      const buckets = new Map();
      for (const cell of cells) addBuckets(buckets, cell[field]);
      return quantile(share, buckets);
    });
  }

  /** Which share of the requests each variant was given: [[atMs, Map from variant to share]], null without requests. */
  shares(model, fromMs) {
    return this.series(model, fromMs, RATE_MS, (cells) => {
      const all = sum(cells, "requests");
      if (!all) return null;
      const shares = new Map();
      for (const { variant, requests } of cells) {
        if (requests) shares.set(variant, (shares.get(variant) ?? 0) + requests / all);
      }
      return shares;
    });
  }
}

/** The cells of one model, "" for all. */
export function cellsOf(frame, model) {
  return model ? frame.cells.filter((cell) => cell.model === model) : frame.cells;
}

export function sum(cells, field) {
  return cells.reduce((total, cell) => total + cell[field], 0);
}
