// From values to places on a chart. Pure functions.

/** A round number at or above `value`, to end an axis with: 1, 2, 2.5 or 5 times a power of ten. */
export function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((top) => top >= value * (1 - 1e-9));
}

/** A function that takes `from`..`to` to `start`..`end`. */
export function linear(from, to, start, end) {
  const slope = to === from ? 0 : (end - start) / (to - from);
  return (value) => start + (value - from) * slope;
}

/** Where a time axis of so many milliseconds has its marks, in milliseconds before its end, and their words: the end,
 * and at most `most` others. */
export function timeMarks(spanMs, most = 5) {
  const steps = [15_000, 30_000, 60_000, 120_000, 300_000];
  const step = steps.find((one) => spanMs / one <= most) ?? steps.at(-1);
  const marks = [];
  for (let ago = 0; ago <= spanMs; ago += step) marks.push({ agoMs: ago, words: agoWords(ago) });
  return marks;
}

function agoWords(ms) {
  if (ms === 0) return "now";
  return ms < 60_000 ? `−${ms / 1000} s` : `−${ms / 60_000} min`;
}

/** The path of a line through points [x, y], broken where y is null. */
export function linePath(points) {
  let path = "";
  let pen = false;
  for (const [x, y] of points) {
    if (y === null) pen = false;
    else {
      const place = `${x.toFixed(1)} ${y.toFixed(1)}`;
      path += pen ? `L${place}` : `M${place}h0`; // without the h0 a point alone would not be seen
      pen = true;
    }
  }
  return path;
}

/** Runs of points that hang together: cut where `whole` is false for one. */
export function runs(points, whole) {
  const found = [];
  let open = false;
  for (const point of points) {
    if (whole(point)) {
      if (open) found.at(-1).push(point);
      else found.push([point]);
      open = true;
    } else open = false;
  }
  return found;
}
