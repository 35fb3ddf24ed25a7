// Numbers and failures as people read them. Pure functions.

/** Seconds as "34 ms", "1.25 s", "2 min". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${Number(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** A rate or a count: three digits of it, and "1.2 k" above a thousand. */
export function amount(value) {
  if (!Number.isFinite(value)) return "–";
  if (value >= 10_000) return `${(value / 1000).toFixed(value < 100_000 ? 1 : 0)} k`;
  if (value >= 100 || Number.isInteger(value)) return `${Math.round(value)}`;
  return value.toFixed(value < 10 ? 2 : 1);
}

export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
}

/** Bytes as "412 MiB". */
export function bytes(count) {
  if (count >= 2 ** 30) return `${(count / 2 ** 30).toFixed(1)} GiB`;
  return `${Math.round(count / 2 ** 20)} MiB`;
}

/** A time of day, to the second. */
export function timeOfDay(atMs) {
  return new Date(atMs).toLocaleTimeString([], { hourCycle: "h23" });
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

/** What an answer that is no success says to the reader. `body` is what came with it, parsed or null. */
export function failure(status, body, retryAfter) {
  const told = body?.error?.message ?? (typeof body?.error === "string" ? body.error : null);
  if (status === 401) return told ? `The server wants an API key: ${told}` : "The server wants an API key.";
  const said = told ?? `The server failed with status ${status} and did not say why.`;
  return retryAfter ? `${said} Try again in ${retryAfter} s.` : said;
}
