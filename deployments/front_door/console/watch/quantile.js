// Quantiles out of a histogram's buckets, as Prometheus' histogram_quantile computes them.

/** `buckets` is a Map from an upper bound (a number, the last one Infinity) to how many values are at or under it.
 * Linear within a bucket; the last bound where the value is beyond all of them; null where there is no value. */
export function quantile(share, buckets) {
  const sorted = [...buckets].sort(([left], [right]) => left - right);
  const all = sorted.at(-1)?.[1] ?? 0;
  if (!all) return null;
  const rank = share * all;
  let [under, below] = [0, 0]; // the bucket's lower bound, and how many values are under it
  for (const [bound, count] of sorted) {
    if (count >= rank && count > below) {
      return bound === Infinity ? under : under + (bound - under) * ((rank - below) / (count - below));
    }
    [under, below] = [bound === Infinity ? under : bound, count];
  }
  return under;
}

/** Adds `more` to `sum`, both such Maps. */
export function addBuckets(sum, more) {
  for (const [bound, count] of more) sum.set(bound, (sum.get(bound) ?? 0) + count);
}
