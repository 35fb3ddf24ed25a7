// Asking for a stream and telling a lane what comes.

import { ask, Failure } from "../page/api.js";
import { eventsOf } from "./sse.js";

/** Streams the answer into `lane` and gives its whole text. `textOf` takes a choice of a chunk to its text. */
export async function streamInto(lane, path, body, textOf, signal) {
  const response = await ask(path, {
    body: { ...body, stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } },
    signal,
  });
  lane.identify(response.headers.get("x-stageline-variant"), response.headers.get("x-request-id"));
  let [whole, finish, done] = ["", null, false];
  for await (const data of eventsOf(response)) {
    if (data === "[DONE]") {
      done = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Failure(chunk.error.message, chunk.error.code);
    const choice = chunk.choices[0];
    if (!choice) continue; // the usage at the end
    finish = choice.finish_reason ?? finish;
    const text = textOf(choice);
    const tokens = chunk.usage?.completion_tokens ?? 0;
    if (text || tokens > lane.stopwatch.tokens) lane.append(text, tokens);
    whole += text;
  }
  if (!done) throw new Failure("The connection was lost in the middle of the answer.");
  lane.end(finish === "length" ? "cut at the most tokens" : "complete");
  return whole;
}

/** Asks for an answer in one piece, tells `lane` who gave it, and gives it. */
export async function wholeInto(lane, path, body, signal) {
  const response = await ask(path, { body, signal });
  lane.identify(response.headers.get("x-stageline-variant"), response.headers.get("x-request-id"));
  return response.json();
}
