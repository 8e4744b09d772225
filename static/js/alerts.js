// The feed of occurrences, newest first: what rules say is an incident, and stands there. New ones are announced in groups, so that a burst does not
// talk a screen reader to death; an abandoned session's alert opens that session.

import { html, render, setText } from './dom.js';
import { age, integer, moment, when } from './format.js';

const TOPIC = 'alerts';
/** Most alerts in the document; the rest is at `v1/alerts`. */
const SHOWN_MAX = 80;
const ANNOUNCE_MS = 5_000;
/** How long a new alert stays marked. */
const FRESH_MS = 4_000;

const KINDS = [
  { kind: 'all', label: 'All' },
  { kind: 'abandoned', label: 'Abandoned' },
  { kind: 'pattern', label: 'Patterns' },
  { kind: 'join', label: 'Joins' },
  { kind: 'sessions', label: 'Sessions' },
];
/** Kinds of alerts that are of what a configuration declares. */
const DECLARED = ['pattern', 'join', 'sessions'];

/** Shape and word of each severity: never colour alone. */
export const SEVERITIES = {
  critical: { shape: '▲', word: 'Critical' },
  warning: { shape: '◆', word: 'Warning' },
  info: { shape: '●', word: 'Info' },
};

export class Alerts {
  #panel;
  #store;
  #open;
  #announcer;
  #kind = 'all';
  /** Id to when it was first seen; null marks those of the first snapshot. */
  #seen = null;
  #waiting = [];
  #announcedAt = -Infinity;

  /** `open(alert)` shows one alert. */
  constructor(panel, store, { open, announcer }) {
    this.#panel = panel;
    this.#store = store;
    this.#open = open;
    this.#announcer = announcer;
  }

  /** Notes new alerts; called for each change, drawn or not. */
  notice() {
    const items = this.#store.topics.get(TOPIC)?.state?.items;
    if (!items) return;
    if (!this.#seen) {
      this.#seen = new Map(items.map((item) => [item.id, null]));
      return;
    }
    const known = this.#seen;
    this.#seen = new Map(items.map((item) => [item.id, known.has(item.id) ? known.get(item.id) : performance.now()]));
    this.#waiting.push(...items.filter((item) => !known.has(item.id)).map((item) => item.severity));
    this.#announce();
  }

  /** At most one announcement in five seconds. */
  #announce() {
    const now = performance.now();
    if (!this.#waiting.length || now - this.#announcedAt < ANNOUNCE_MS) return;
    const critical = this.#waiting.filter((severity) => severity === 'critical').length;
    const text = `${integer(this.#waiting.length)} new alerts${critical ? `, ${integer(critical)} critical` : ''}`;
    setText(this.#announcer, text);
    this.#waiting = [];
    this.#announcedAt = now;
  }

  draw() {
    this.#announce();
    const topic = this.#store.topics.get(TOPIC);
    const all = topic?.state?.items ?? [];
    this.#panel.setTitle(topic?.about, all.length ? `latest ${integer(all.length)}` : '');
    this.#panel.setStale(topic?.stale);
    const items = all.filter((a) => this.#kind === 'all' || a.kind === this.#kind);
    const now = this.#store.now();
    render(this.#filters(all), this.#panel.readout);
    render(
      html`<div class="feed" role="log" aria-live="off" aria-label="Alerts, newest first" tabindex="0">
        ${items.length
          ? html`<ol>${items.slice(-SHOWN_MAX).reverse().map((alert) => this.#item(alert, now))}</ol>`
          : html`<p class="placeholder">${topic?.state ? 'No alerts. They appear here within a second of being raised.' : ''}</p>`}
      </div>`,
      this.#panel.body,
    );
    return items.length > 0;
  }

  #filters(all) {
    const choose = (kind) => {
      this.#kind = kind;
      this.draw();
    };
    const count = (kind) => (kind === 'all' ? all.length : all.filter((a) => a.kind === kind).length);
    // Those that only some configurations raise are there once there are some.
    const shown = KINDS.filter(({ kind }) => !DECLARED.includes(kind) || kind === this.#kind || count(kind));
    return html`<div class="choice" role="group" aria-label="Which alerts">${shown.map(
      ({ kind, label }) => html`<button type="button" key=${kind} aria-pressed=${String(this.#kind === kind)}
        aria-label=${`${label}, ${count(kind)}`} onClick=${() => choose(kind)}>${label}</button>`,
    )}</div>`;
  }

  #item(alert, now) {
    const severity = SEVERITIES[alert.severity] ?? SEVERITIES.info;
    const since = this.#seen?.get(alert.id);
    const fresh = since != null && performance.now() - since < FRESH_MS;
    return html`<li key=${alert.id} data-alert-id=${alert.id} data-severity=${alert.severity} class=${fresh ? 'fresh' : ''}>
      <button type="button" class="alert" onClick=${() => this.#open(alert)}>
        <span class="alert-mark" aria-hidden="true">${severity.shape}</span>
        <span class="alert-title">${alert.title}</span>
        <span class="alert-foot">
          <span class="alert-severity">${severity.word} · ${alert.subject}</span>
          <time datetime=${iso(alert.at)} title=${moment(alert.at)}>${when(alert.at, now)} · ${age(alert.at, now)}</time>
        </span>
      </button>
    </li>`;
  }
}

function iso(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString() : '';
}
