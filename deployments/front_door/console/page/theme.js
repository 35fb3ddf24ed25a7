// The switch between light and dark. "auto" leaves it to the system; theme.css does the rest.

const KEPT = "stageline.theme";

export function themeSwitch(select) {
  select.value = document.documentElement.dataset.theme || "auto";
  select.addEventListener("change", () => {
    document.documentElement.dataset.theme = select.value;
    try {
      localStorage.setItem(KEPT, select.value);
    } catch {
      // A browser that keeps nothing: it holds until the page is closed.
    }
  });
}
