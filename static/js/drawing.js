// Who draws when: one animation frame draws the panels that changed and can be seen. Nothing
// is drawn while the page is hidden or paused; state goes on being applied meanwhile.

export class Drawing {
  paused = false;

  #panels = new Map();
  #frame = 0;
  #observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const panel = this.#panels.get(entry.target);
        if (panel) panel.visible = entry.isIntersecting;
      }
      this.#ask();
    },
    { rootMargin: '50% 0px' },
  );

  constructor() {
    document.addEventListener('visibilitychange', () => this.#ask());
  }

  /**
   * Adds a panel: `draw()` is called when one of `topics` (null: the link) changed. With
   * `ticks` also once a second, for ages; with `always` even when paused. Until `draw` answers
   * true (it had something to show) it is called out of sight too, so that scrolling down
   * meets no blank panels.
   */
  add(element, { topics, draw, ticks = false, always = false }) {
    const panel = { topics: new Set(topics), draw, ticks, always, dirty: true, restyle: false, visible: false, shown: false };
    this.#panels.set(element, panel);
    this.#observer.observe(element);
    this.#ask();
  }

  /** The element has gone. */
  remove(element) {
    this.#panels.delete(element);
    this.#observer.unobserve(element);
  }

  /** A topic changed (null: the link). */
  changed(name) {
    for (const panel of this.#panels.values()) if (panel.topics.has(name)) panel.dirty = true;
    this.#ask();
  }

  /** A second passed. */
  tick() {
    for (const panel of this.#panels.values()) if (panel.ticks) panel.dirty = true;
    this.#ask();
  }

  /** Everything looks different: theme, zone, range. */
  all() {
    for (const panel of this.#panels.values()) {
      panel.dirty = true;
      panel.restyle = true;
    }
    this.#ask();
  }

  setPaused(paused) {
    this.paused = paused;
    this.all();
  }

  #ask() {
    if (this.#frame || document.hidden) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      for (const panel of this.#panels.values()) {
        const held = this.paused && !panel.always && !panel.restyle;
        const due = panel.visible || panel.always || !panel.shown;
        if (!panel.dirty || held || !due) continue;
        panel.dirty = false;
        panel.restyle = false;
        panel.shown = panel.draw() === true || panel.shown;
      }
    });
  }
}
