// The API key: where it is kept, and the dialog to enter it.
//
// sessionStorage ends with the tab. The key never goes into an address, a log or another storage.

import { byId, setText } from "./dom.js";

const KEPT = "stageline.key";
let inMemory = ""; // where the browser keeps nothing

export function key() {
  try {
    return sessionStorage.getItem(KEPT) ?? inMemory;
  } catch {
    return inMemory;
  }
}

function keep(value) {
  inMemory = value;
  try {
    if (value) sessionStorage.setItem(KEPT, value);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // It is in memory.
  }
}

/** Opens the dialog. `reason` says why, where the reader did not ask for it. */
export function askForKey(reason = "") {
  const dialog = byId("key-dialog");
  setText(byId("key-reason"), reason);
  byId("key").value = key();
  if (!dialog.open) dialog.showModal();
  byId("key").focus();
  byId("key").select();
}

/** Something that the reader did not do just now needs a key: a line that leads to the dialog, and no dialog. */
export function noticeKey(reason) {
  setText(byId("notice-text"), reason);
  byId("notice").hidden = false;
}

/** `changed` is called with each new key. */
export function keyDialog(changed) {
  const dialog = byId("key-dialog");
  const use = (value) => {
    keep(value);
    setText(byId("open-key"), value ? "API key: set" : "API key");
    byId("notice").hidden = true;
    if (dialog.open) dialog.close();
    changed();
  };
  setText(byId("open-key"), key() ? "API key: set" : "API key");
  byId("open-key").addEventListener("click", () => askForKey());
  byId("notice-key").addEventListener("click", () => askForKey(byId("notice-text").textContent));
  byId("close-key").addEventListener("click", () => dialog.close());
  byId("forget-key").addEventListener("click", () => use(""));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    use(byId("key").value.trim());
  });
}
