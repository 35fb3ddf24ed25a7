// Before anything is drawn: the theme that was chosen here before, so that a dark page does not flash in white.
// Not a module, as modules run too late for that.
try {
  document.documentElement.dataset.theme = localStorage.getItem("stageline.theme") || "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // where a browser keeps nothing
}
