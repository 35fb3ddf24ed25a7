// The page: puts its parts together.

import { tryView } from "../try/view.js";
import { watchView } from "../watch/view.js";
import { askJson } from "./api.js";
import { byId, setText } from "./dom.js";
import { keyDialog, noticeKey } from "./key.js";
import { themeSwitch } from "./theme.js";

const VIEWS = ["try", "watch"];

themeSwitch(byId("theme"));
const refreshTry = tryView();

/** Asks for the models anew; what is wrong is said where the reader can do something about it. */
async function refreshModels() {
  try {
    await refreshTry();
    setText(byId("form-problem"), "");
    byId("form-problem").hidden = true;
  } catch (error) {
    if (error.status === 401) return noticeKey(error.message);
    setText(byId("form-problem"), error.message);
    byId("form-problem").hidden = false;
  }
}

let states = null;
const watch = watchView((now) => {
  if (now !== states) refreshModels();
  states = now;
});

keyDialog(() => {
  states = null;
  refreshModels();
  showVersion();
  watch.resume();
});

async function showVersion() {
  const { version } = await askJson("version", { timeoutS: 10 }).catch(() => ({ version: "" }));
  setText(byId("version"), version);
}

/** Shows the view that the address names, "Try" where it names none. */
function showView() {
  const named = location.hash.slice(1);
  if (named === "main") return; // the link that skips the header
  const shown = VIEWS.includes(named) ? named : VIEWS[0];
  for (const view of VIEWS) {
    byId(`view-${view}`).hidden = view !== shown;
    const link = document.querySelector(`nav [data-view="${view}"]`);
    if (view === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${shown === "try" ? "Try" : "Watch"} · Stageline`;
  watch.show();
}

window.addEventListener("hashchange", showView);
showView();
showVersion();
refreshModels();
watch.resume();
