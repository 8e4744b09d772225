// The bar at the top: what state we are in, how far behind, what time it is where, and the few
// controls. Drawn even while the panels are paused.

import { html, render } from './dom.js';
import { clock, integer, moment, span, zoneName } from './format.js';
import { prefs, setRange, setUtc, theme, toggleTheme } from './prefs.js';
import { PIPELINE, balance } from './pipeline.js';
import { pageState } from './state.js';

export class Bar {
  #root;
  #banner;
  #store;
  #drawing;
  #lookUp;
  #restyle;
  #pausedAt = null;
  #arrivedAtPause = 0;

  /** `lookUp(key)` opens a session; `restyle()` redraws everything after a choice. */
  constructor({ root, banner, store, drawing, lookUp, restyle }) {
    this.#root = root;
    this.#banner = banner;
    this.#store = store;
    this.#drawing = drawing;
    this.#lookUp = lookUp;
    this.#restyle = restyle;
    document.addEventListener('keydown', (event) => this.#onKey(event));
  }

  draw() {
    const now = pageState(this.#store);
    document.body.dataset.state = now.state;
    document.title = now.state === 'live' ? 'tidewatch' : `${now.label} · tidewatch`;
    render(this.#view(now), this.#root);
    render(this.#bannerView(now), this.#banner);
  }

  #view(now) {
    return html`
      <a class="brand" href="./" aria-label="tidewatch"><img src="static/icon.svg" alt="" width="20" height="20" /><span>tidewatch</span></a>
      <span class="pill" data-label=${now.label}><span class="pill-mark" aria-hidden="true" />${now.label}</span>
      ${this.#facts()}
      <div class="controls">
        ${this.#search()}
        ${this.#ranges()}
        ${this.#pause()}
        <button type="button" class="control icon" onClick=${() => this.#then(toggleTheme)}
          aria-label=${theme() === 'dark' ? 'Switch to the light theme' : 'Switch to the dark theme'}
          title="Light or dark">${theme() === 'dark' ? '☀' : '☾'}</button>
      </div>`;
  }

  #facts() {
    const values = this.#store.values(PIPELINE);
    const result = balance(values);
    const now = this.#store.now();
    return html`<ul class="facts">
      ${values.lag_events == null && !values.watermark ? null : lag(values)}
      ${result ? html`<li class=${result.holds ? 'good' : 'bad'}><span class="fact-name">Ledger</span> ${result.holds ? '✓ balances' : '✗ does not balance'}</li>` : null}
      <li><button type="button" class="link clock" onClick=${() => this.#then(() => setUtc(!prefs.utc))}
        title="Switch between your zone and UTC"><b>${clock(now)}</b> ${zoneName(now)}</button></li>
      ${values.notice ? html`<li class="notice">${values.notice}${values.notice_link ? html` <a href=${values.notice_link.href}>${values.notice_link.says}</a>` : null}</li>` : null}
      ${(values.conditions ?? []).map(({ name, says }, i) => html`<li class="notice warn" key=${i} data-condition=${name}>${says}</li>`)}
    </ul>`;
  }

  #search() {
    const submit = (event) => {
      event.preventDefault();
      const key = event.currentTarget.elements.key.value.trim();
      if (key) this.#lookUp(key);
    };
    return html`<form class="search" role="search" onSubmit=${submit}>
      <input name="key" type="search" placeholder="Look up a session" aria-label="Session key" autocomplete="off" spellcheck=${false} maxlength="256" />
    </form>`;
  }

  #ranges() {
    const choose = (ms) => this.#then(() => setRange(ms));
    return html`<div class="choice" role="group" aria-label="Range of the charts">${prefs.ranges.map(
      ({ ms, label }) => html`<button type="button" key=${ms} aria-pressed=${String(prefs.range === ms)} onClick=${() => choose(ms)}>${label}</button>`,
    )}</div>`;
  }

  #pause() {
    const { paused } = this.#drawing;
    return html`<button type="button" class="control pause" data-pause aria-pressed=${String(paused)}
      aria-keyshortcuts="Space" title="Space" onClick=${() => this.#toggle()}>
      <span aria-hidden="true">${paused ? '▶' : '❚❚'}</span> ${paused ? 'Resume' : 'Pause'}
    </button>`;
  }

  #bannerView(now) {
    return html`
      ${now.text
        ? html`<div class=${`banner ${now.state}`}><b role="status">${now.label}</b><span>${now.text}</span>
            ${now.action === 'retry' ? html`<button type="button" class="control" onClick=${() => this.#retry()}>Try now</button>` : null}
            ${now.action === 'reload' ? html`<button type="button" class="control" onClick=${() => location.reload()}>Reload</button>` : null}
          </div>`
        : null}
      ${this.#drawing.paused
        ? html`<div class="banner paused"><b role="status">Paused</b><span>Picture of ${clock(this.#pausedAt)}. ${this.#sincePause()} Data is still being received.</span></div>`
        : null}`;
  }

  #sincePause() {
    const count = this.#store.arrived - this.#arrivedAtPause;
    return count ? `${integer(count)} new ${count === 1 ? 'alert' : 'alerts'} since.` : '';
  }

  /** Set by the page: connects at once. */
  onRetry = () => {};

  #retry() {
    this.onRetry();
  }

  #then(change) {
    change();
    this.#restyle();
  }

  #toggle() {
    const paused = !this.#drawing.paused;
    this.#pausedAt = paused ? this.#store.now() : null;
    this.#arrivedAtPause = this.#store.arrived;
    document.body.toggleAttribute('data-paused', paused);
    this.#drawing.setPaused(paused);
  }

  /** Space pauses, unless it means something where the focus is. */
  #onKey(event) {
    if (event.key !== ' ' || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest('input, textarea, select, button, a, dialog, [contenteditable]')) return;
    event.preventDefault();
    this.#toggle();
  }
}

/** From here on event time is told as a date instead of as a distance (a replay). */
const OLD_MS = 86_400_000;

function lag(values) {
  const old = values.watermark_lag_ms >= OLD_MS;
  const time = old ? html`event time <b>${moment(values.watermark)}</b>` : html`<b>${span(values.watermark_lag_ms)}</b>`;
  return html`<li title="Events waiting in the log; how far event time is behind the clock">
    <span class="fact-name">Lag</span> <b>${integer(values.lag_events)}</b> events, ${time}
  </li>`;
}
