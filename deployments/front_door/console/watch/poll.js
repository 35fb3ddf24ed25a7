// Asking again and again, while somebody looks.

const EVERY_MS = 1000;
const LEAST_PAUSE_MS = 250; // a server that is slow to answer is not asked without a break

/** Calls `look` about each second until it gives false, and not while the tab is hidden or it is paused. `resume` goes on
 * after that. */
export function polling(look) {
  let [timer, asking, paused, over] = [null, false, false, false];

  async function once() {
    if (asking || paused || over || document.hidden) return;
    asking = true;
    const began = performance.now();
    try {
      over = (await look()) === false;
    } finally {
      asking = false;
      const took = performance.now() - began;
      clearTimeout(timer);
      timer = setTimeout(once, Math.max(LEAST_PAUSE_MS, EVERY_MS - took));
    }
  }

  document.addEventListener("visibilitychange", once);
  return {
    pause(is) {
      paused = is;
      once();
    },
    resume() {
      over = false;
      once();
    },
  };
}
