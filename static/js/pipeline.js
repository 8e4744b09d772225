// Is the pipeline itself lying? The ledger accounts for every event received; beside it, what
// is bounded and how full it is, and how old the last commit is.

import { html, render } from './dom.js';
import { NONE, bytes, integer, number, percent, span, when } from './format.js';

export const PIPELINE = 'pipeline';

const TERMS = [
  { key: 'applied', label: 'applied', hint: 'counted in sessions and metrics' },
  { key: 'duplicate', label: 'duplicate', hint: 'same id seen before' },
  { key: 'late', label: 'late', hint: 'too far behind; kept in the late list', list: 'late' },
  { key: 'rejected', label: 'rejected', hint: 'not understood; kept in the dead letters', list: 'dead-letters' },
  { key: 'in_flight', label: 'in flight', hint: 'read, outcome not known yet' },
];

/** Of a bound, from here on it is called nearly full. */
const NEARLY_FULL = 0.85;

/** What the terms sum up to, and whether that is what was received; null before any number. */
export function balance(values) {
  if (values.received == null) return null;
  const sum = TERMS.reduce((total, { key }) => total + (values[key] ?? 0), 0);
  return { sum, difference: values.received - sum, holds: values.received === sum && values.balanced !== false };
}

export class Pipeline {
  #panel;
  #store;
  #openList;

  /** `openList(name)` shows the late list or the dead letters. */
  constructor(panel, store, { openList }) {
    this.#panel = panel;
    this.#store = store;
    this.#openList = openList;
  }

  draw() {
    const topic = this.#store.topics.get(PIPELINE);
    const values = this.#store.values(PIPELINE);
    const known = Boolean(topic?.state);
    this.#panel.setStale(topic?.stale);
    this.#panel.setTitle({}, known ? `${values.mode ?? ''} · ${values.state ?? ''}` : '');
    render(verdict(values), this.#panel.readout);
    render(
      html`<div class="pipeline">
        ${this.#ledger(values)}
        ${missing(values)}
        <dl class="gauges">${this.#gauges(values)}</dl>
      </div>`,
      this.#panel.body,
    );
    return known;
  }

  #ledger(values) {
    return html`<div class="ledger" role="group" aria-label="Ledger: received equals applied plus duplicate plus late plus rejected plus in flight">
      ${term({ key: 'received', label: 'received', hint: 'events read from the source' }, values, 'whole')}
      ${TERMS.map((t, i) => html`<span class="sign" aria-hidden="true">${i === 0 ? '=' : '+'}</span>
        ${term(t, values, '', t.list ? () => this.#openList(t.list) : null)}`)}
    </div>`;
  }

  #gauges(values) {
    const v = values;
    const used = v.credits_total == null ? null : v.credits_total - v.credits_free;
    const commitAge = v.committed_at ? Math.max(0, this.#store.now() - v.committed_at) : null;
    return [
      gauge('Events behind', integer(v.lag_events), behind(v), v.lag_events && v.catch_up_s == null ? 'warn' : ''),
      ...(v.sources ?? []).map(source),
      v.gap ? gauge('Lost in the source', integer(v.gap), 'removed before they were read', 'warn') : null,
      gauge('Complete up to', v.watermark ? when(v.watermark, this.#store.now()) : NONE, v.watermark ? `${span(v.watermark_lag_ms)} ago, event time` : 'no event yet'),
      gauge('Last commit', commitAge === null ? NONE : `${span(commitAge)} ago`, `took ${v.commit_ms == null ? NONE : `${number(v.commit_ms)} ms`}, no. ${integer(v.epoch)}`),
      meter('Credits used', used, v.credits_total),
      meter('Ids for dedup', v.dedup_ids, v.dedup_ids_max),
      gauge('Open sessions', integer(v.open_sessions), v.gap_ms ? `close after ${span(v.gap_ms)} of silence` : ''),
      meter('Memory of sessions', v.session_bytes, v.session_bytes_max, bytes),
      meter('Closed ones remembered', v.closed_sessions, v.closed_sessions_max),
      ended(v),
      gauge('Alerts delivered', integer(v.alerts_delivered), `of ${integer(v.alerts_committed)} committed`, v.alerts_committed > v.alerts_delivered ? 'waiting' : ''),
      gauge('Dead letters', integer(v.dead_letters), v.dead_letters ? html`<button type="button" class="link" onClick=${() => this.#openList('dead-letters')}>show them</button>${v.dead_letters_dropped ? ` ${integer(v.dead_letters_dropped)} no longer kept` : ''}` : 'none', v.dead_letters ? 'warn' : ''),
      gauge('Left out of windows', integer(v.window_late), v.window_late ? 'came after a window was final' : 'none', v.window_late ? 'warn' : ''),
      gauge('Without id', integer(v.without_id), v.without_id ? 'a repeat of these counts twice' : 'all can be de-duplicated'),
      gauge('Lateness allowed', span(v.lateness_ms), 'how long a close waits'),
      gauge('Browsers', integer(v.clients), v.clients_lagging ? `${integer(v.clients_lagging)} slow` : 'none slow'),
      gauge('Restarts', integer(v.restarts), 'of the engine, this run', v.restarts ? 'warn' : ''),
    ];
  }
}

/** Most lines of what numbers lack. */
const MISSING_MAX = 12;

/** What was counted and still is not in some number: late for windows, attributes that could
    not be used. Nothing when there is none. */
function missing(values) {
  const late = Object.entries(values.late_by_metric ?? {}).map(
    ([metric, { windows }]) => html`<li key=${`late ${metric}`}><b>${metric}</b>: ${integer(windows)} came after a window was final</li>`,
  );
  const unusable = (values.unusable ?? []).map(
    ({ key, attribute, reason, words, count, of }) => html`<li key=${`${key} ${attribute} ${reason}`}>
      <b>${attribute || key}</b> (${key}): ${integer(count)}${of ? ` of ${integer(of)}` : ''} unusable: ${words || reason}</li>`,
  );
  const lines = [...late, ...unusable];
  if (!lines.length) return null;
  const rest = lines.length - MISSING_MAX;
  return html`<div class="missing" role="group" aria-label="What numbers lack">
    <p class="muted">Accounted for, and not in every number:</p>
    <ul>${lines.slice(0, MISSING_MAX)}${rest > 0 ? html`<li key="rest">and ${integer(rest)} more</li>` : null}</ul>
  </div>`;
}

/** Sessions that ended otherwise than by silence; nothing when none did. */
function ended(v) {
  const notes = [
    v.sessions_refused ? `${integer(v.sessions_refused)} refused` : '',
    v.sessions_displaced ? `${integer(v.sessions_displaced)} displaced` : '',
    v.sessions_split ? `${integer(v.sessions_split)} cut as too long` : '',
    v.sessions_emptied ? `${integer(v.sessions_emptied)} emptied again` : '',
  ].filter(Boolean);
  const lost = v.sessions_refused || v.sessions_displaced;
  return notes.length ? gauge('Sessions apart', notes[0], notes.slice(1).join(', '), lost ? 'warn' : '') : null;
}

/** How far behind in time, and when that will be over. */
function behind(v) {
  if (!v.lag_events) return 'nothing waits';
  const age = v.lag_ms ? `${span(v.lag_ms)} old, ` : '';
  return age + (v.catch_up_s == null ? 'growing' : `caught up in about ${span(Math.ceil(v.catch_up_s) * 1000)}`);
}

const PULLS = {
  starting: 'is opened',
  reading: 'is being read',
  'caught up': 'read to its end',
  'waiting for credits': 'held back: all credits in use',
  ended: 'ended',
};

function source({ name, state, reason, position, lag }) {
  const foot = state === 'away' ? `away: ${reason}` : `${PULLS[state] ?? state}, ${integer(lag)} wait`;
  return gauge(`Source ${name}`, integer(position), foot, state === 'away' ? 'warn' : '');
}

function term({ key, label, hint, list }, values, kind, open) {
  const number = html`<b data-ledger=${key} data-value=${values[key] ?? ''}>${integer(values[key])}</b>`;
  return html`<div class=${`term ${kind}`} key=${key} title=${hint}>
    ${number}
    ${list && values[key] ? html`<button type="button" class="link" onClick=${open}>${label}</button>` : html`<span>${label}</span>`}
  </div>`;
}

function verdict(values) {
  const result = balance(values);
  if (!result) return null;
  return result.holds
    ? html`<span class="verdict good" data-ledger-balanced="true"><span aria-hidden="true">✓</span> every event accounted for${values.window_late || values.unusable?.length ? ', some not in every number' : ''}</span>`
    : html`<span class="verdict bad" data-ledger-balanced="false"><span aria-hidden="true">✗</span> does not balance: off by ${integer(result.difference)}</span>`;
}

function gauge(label, value, foot, mark = '') {
  return html`<div class=${`gauge ${mark}`} key=${label}><dt>${label}</dt><dd class="gauge-value">${value}</dd><dd class="gauge-foot">${foot}</dd></div>`;
}

function meter(label, used, total, text = integer) {
  const share = total > 0 && used != null ? Math.min(1, Math.max(0, used / total)) : null;
  const full = share !== null && share >= NEARLY_FULL;
  return html`<div class=${`gauge ${full ? 'warn' : ''}`} key=${label}>
    <dt>${label}</dt>
    <dd class="gauge-value">${text(used)}</dd>
    <dd class="gauge-foot"><span class="meter" aria-hidden="true"><i style=${{ width: `${((share ?? 0) * 100).toFixed(2)}%` }} /></span>
      ${share === null ? NONE : percent(share)} of ${text(total)}${full ? ', nearly full' : ''}</dd>
  </div>`;
}
