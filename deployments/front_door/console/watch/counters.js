// How much counters grew between two looks at them.

/** Remembers the last value of every series, also of those that are not told for a while. */
export class Counters {
  #known = new Map();
  #doors = new Set();
  #first = true;

  /** The series with how much each has `grown`. What was there before the first look counts for nothing. A counter that fell
   * began anew. A series that is new began at 0, except where a front door is new that may have worked for long. */
  grown(samples) {
    const doors = new Set(samples.map(({ labels }) => labels.front_door));
    const found = [];
    for (const sample of samples) {
      const key = keyOf(sample);
      const before = this.#known.get(key);
      this.#known.set(key, sample.value);
      const unknown = before === undefined && (this.#first || !this.#doors.has(sample.labels.front_door));
      const grown = unknown ? 0 : sample.value >= (before ?? 0) ? sample.value - (before ?? 0) : sample.value;
      found.push({ ...sample, grown });
    }
    for (const door of doors) this.#doors.add(door);
    this.#first = false;
    return found;
  }
}

function keyOf({ name, labels }) {
  return JSON.stringify([name, ...Object.entries(labels).sort()]);
}
