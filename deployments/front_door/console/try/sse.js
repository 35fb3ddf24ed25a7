// Server-Sent Events out of a fetched stream. EventSource cannot send a POST or a key.

/** Takes a stream's text in pieces, cut anywhere, and gives the data of the events that are complete. */
export class EventParser {
  #rest = "";
  #data = [];

  /** The data of each event that ends in `text`. */
  push(text) {
    this.#rest += text;
    const complete = [];
    for (;;) {
      const end = /\r\n|\n|\r(?=[^])/.exec(this.#rest); // a last \r may be half of a \r\n
      if (end === null) return complete;
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      if (line === "") {
        if (this.#data.length) complete.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  }
}

/** The data of a response's events as they come, until the stream ends. */
export async function* eventsOf(response) {
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    reader.cancel().catch(() => {}); // leaving the loop early ends the request
  }
}
