// Asking the server. Addresses are relative to the page, so that it works behind a proxy with a prefix too.

import { key } from "./key.js";
import { failure } from "./words.js";

/** An answer that is no success, or none at all (`status` 0), in words. */
export class Failure extends Error {
  constructor(words, status = 0, requestId = null, variant = null) {
    super(words);
    Object.assign(this, { status, requestId, variant });
  }
}

/** The response, if it is a success. With `body` it is a POST. Raises Failure, or the AbortError of `signal`. */
export async function ask(path, { body, signal, timeoutS } = {}) {
  const headers = {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const limit = timeoutS ? AbortSignal.timeout(timeoutS * 1000) : null;
  const signals = [signal, limit].filter(Boolean);
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signals.length ? AbortSignal.any(signals) : undefined,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit?.aborted) throw new Failure(`The server did not answer within ${timeoutS} s.`);
    if (error instanceof TypeError) {
      // Either nobody is there, or the key has characters that no header can hold.
      throw new Failure("The server cannot be reached. Is it running, and is the API key typed right?");
    }
    throw error;
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Failure(
    failure(response.status, told, response.headers.get("retry-after")),
    response.status,
    response.headers.get("x-request-id"),
    response.headers.get("x-stageline-variant"),
  );
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}
