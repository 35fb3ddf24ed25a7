// The times of one answer. Pure: whoever uses it says what time it is, in milliseconds.

export class Stopwatch {
  arrivals = []; // of text: {atMs since the start, tokens so far}
  endedMs = null;

  constructor(startedAt) {
    this.startedAt = startedAt;
  }

  /** Something arrived, and there are `tokens` in all by now. */
  arrived(at, tokens) {
    this.arrivals.push({ atMs: at - this.startedAt, tokens });
  }

  ended(at) {
    this.endedMs = at - this.startedAt;
  }

  /** Milliseconds to the first token; null before it. */
  get firstMs() {
    return this.arrivals[0]?.atMs ?? null;
  }

  get tokens() {
    return this.arrivals.at(-1)?.tokens ?? 0;
  }

  /** Tokens a second after the first arrival, which the prompt takes part in; null where nothing came after it. */
  get tokensPerS() {
    const [first, last] = [this.arrivals[0], this.arrivals.at(-1)];
    if (!first || last.atMs <= first.atMs) return null;
    return (last.tokens - first.tokens) / ((last.atMs - first.atMs) / 1000);
  }
}
