// The drawer: one session as it stands now, the alert that led to it, an incident with what was done, or
// a list (late events, dead letters). Fetches over HTTP; everything shown is text.

import { html, render } from './dom.js';
import { NONE, age, clock, countdown, integer, moment, money, number, span, when, words } from './format.js';
import { PIPELINE } from './pipeline.js';
import { SEVERITIES } from './alerts.js';

/** How often an open session is asked for again. */
const REFRESH_MS = 2_000;
const LIST_LIMIT = 50;
/** What the address of a session begins with, after the `#`. */
const LINK = 'session/';
/** Most facts of an alert's detail that are shown. */
const FACTS_MAX = 40;

const STATES = {
  at_risk: 'At risk: in cart, not paid',
  converted: 'Converted',
  browsing: 'Browsing',
};

const LISTS = {
  'dead-letters': {
    title: 'Dead letters',
    about: 'Events that were not understood. They are kept as they came; mend them and redrive them with tidewatch dead-letters redrive.',
    // Ids count from 1, so the newest follow after all but the last few.
    path: (values) => `v1/dead-letters?after=${Math.max(0, (values.dead_letters ?? 0) - LIST_LIMIT)}&limit=${LIST_LIMIT}`,
    newestLast: true,
  },
  late: {
    title: 'Late events',
    about: 'Events that came too far behind the watermark to be counted.',
    path: () => `v1/late?limit=${LIST_LIMIT}`,
    newestLast: false,
  },
};

export class Drawer {
  #root;
  #store;
  /** What is open: `{key, alert, incident, list, view, missing, failed, at}`. */
  #open = null;
  #timer = 0;

  constructor(root, store) {
    this.#root = root;
    this.#store = store;
    root.addEventListener('close', () => this.#closed());
    root.addEventListener('click', (event) => {
      if (event.target === root) root.close();
    });
  }

  /** Looks a session up by its key; the address then leads there. */
  session(key) {
    history.replaceState(null, '', `#${LINK}${encodeURIComponent(key)}`);
    this.#show({ key });
  }

  /** Opens what the page's address names, if it names a session. */
  fromAddress() {
    if (location.hash.startsWith(`#${LINK}`)) this.session(decodeURIComponent(location.hash.slice(LINK.length + 1)));
  }

  /** Shows an alert, and its session if it is about one. Of one that was too long for the
      board the whole is fetched first. */
  async alert(alert) {
    const whole = alert.cut ? await wholeAlert(alert) : alert;
    this.#show({ alert: whole, key: ['abandoned', 'pattern', 'join', 'sessions'].includes(whole.kind) && !whole.cut ? whole.subject : null });
  }

  /** Shows an incident by its id: its facts, and what was done. */
  incident(id) {
    this.#show({ incident: id });
  }

  /** Shows `late` or `dead-letters`. */
  list(name) {
    this.#show({ list: name });
  }

  /** Redraws ages and countdowns. */
  draw() {
    if (!this.#open) return;
    const { list, key, alert, incident, view } = this.#open;
    const title = list ? LISTS[list].title : incident ? (view?.title ?? incident) : (key ?? alert.subject);
    const kind = list ? 'List' : incident ? 'Incident' : 'Session';
    render(
      html`<div class="drawer-box">
        <header class="drawer-head">
          <div><p class="drawer-kind">${kind}</p><h2 id="drawer-title">${title}</h2></div>
          <button type="button" class="control icon" aria-label="Close" onClick=${() => this.#root.close()}>✕</button>
        </header>
        <div class="drawer-body" tabindex="0">
          ${alert ? this.#alertView(alert) : null}
          ${list ? this.#listView() : incident ? this.#incidentView() : key ? this.#sessionView() : null}
        </div>
      </div>`,
      this.#root,
    );
  }

  #show(open) {
    this.#open = { view: null, missing: false, failed: '', at: 0, ...open };
    this.draw();
    if (!this.#root.open) this.#root.showModal();
    this.#fetch();
  }

  #closed() {
    this.#open = null;
    clearTimeout(this.#timer);
    if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  }

  async #fetch() {
    clearTimeout(this.#timer);
    const open = this.#open;
    if (!open || !(open.key || open.list || open.incident)) return;
    const path = open.list
      ? LISTS[open.list].path(this.#store.values(PIPELINE))
      : open.incident
        ? `v1/incidents/${open.incident}`
        : `v1/sessions/${encodeURIComponent(open.key)}`;
    try {
      const response = await fetch(new URL(path, document.baseURI), { headers: { Accept: 'application/json' } });
      open.missing = response.status === 404;
      open.failed = response.ok || open.missing ? '' : `the server answered ${response.status}`;
      if (response.ok) open.view = await response.json();
      else if (open.missing) open.view = null;
      open.at = performance.now();
    } catch {
      open.failed = 'the server cannot be reached';
    }
    if (this.#open !== open) return;
    this.draw();
    if (!open.list) this.#timer = setTimeout(() => this.#fetch(), REFRESH_MS);
  }

  #alertView(alert) {
    const severity = SEVERITIES[alert.severity] ?? SEVERITIES.info;
    return html`<section class="card" data-severity=${alert.severity}>
      <p class="alert-title"><span class="alert-mark" aria-hidden="true">${severity.shape}</span> ${alert.title}</p>
      <p class="muted">${severity.word}, ${moment(alert.at)}, ${age(alert.at, this.#store.now())}</p>
      ${pairs(facts(alert.detail))}
      ${moved(alert.detail?.why)}
    </section>`;
  }

  #incidentView() {
    const { view, missing, failed } = this.#open;
    if (failed) return html`<p class="placeholder">Cannot say: ${failed}.</p>`;
    if (missing) return html`<p class="placeholder">It is not known here, or it left long ago.</p>`;
    if (!view) return html`<div class="skeleton block" />`;
    const severity = SEVERITIES[view.severity] ?? SEVERITIES.info;
    const now = this.#store.now();
    return html`<section class="card" data-severity=${view.severity}>
        <p class="alert-title"><span class="alert-mark" aria-hidden="true">${severity.shape}</span> ${severity.word} · ${words(view.phase)}</p>
        ${pairs([
          ['Rule', view.rule],
          ...Object.entries(view.group ?? {}).map(([name, value]) => [words(name), value]),
          ['Since', when(view.since, now)],
          ['Fired', when(view.fired, now)],
          ...(view.resolved ? [['Over', `${when(view.resolved.at, now)}: ${view.resolved.why}`]] : []),
          ...(view.acknowledged ? [['Acknowledged', `${view.acknowledged.by}${view.acknowledged.note ? `: ${view.acknowledged.note}` : ''}`]] : []),
          ...facts(rest(view.detail)),
          ...facts(rest(view.resolved?.detail), 'at its end'),
        ])}
        ${moved(view.detail?.why)}
        ${view.runbook ? html`<p><a href=${view.runbook} rel="noreferrer noopener" target="_blank">Runbook</a></p>` : null}
      </section>
      <section class="card"><h3>What was done</h3>
        <ol class="trail">${(view.log ?? []).map((line) => html`<li key=${line.n}><time title=${moment(line.at)}>${clock(line.at)}</time><span>${line.says}</span></li>`)}</ol>
      </section>`;
  }

  #sessionView() {
    const { view, missing, failed, alert } = this.#open;
    if (failed) return html`<p class="placeholder">Cannot say: ${failed}.</p>`;
    const kinds = view?.kinds ?? [];
    if (missing || (view && view.sessions.length + kinds.length === 0)) {
      return html`<p class="placeholder">${alert ? 'This session has closed; no other is open for the key.' : 'No session is open for this key.'}</p>`;
    }
    if (!view) return html`<div class="skeleton block" />`;
    return [...view.sessions.map((session) => this.#oneSession(session)), ...kinds.map((session) => this.#ofKind(session))];
  }

  #ofKind(session) {
    const left = session.remaining_ms - (performance.now() - this.#open.at);
    return html`<section class="card session" key=${session.kind} data-kind=${session.kind} data-session-state=${session.state}>
      <p class="session-state">${words(session.kind)}: ${words(session.state)}</p>
      <div class="session-figures">${timeLeft(left)}<div><b>${number(session.value)}</b><span>at stake</span></div></div>
      ${pairs([
        ['Furthest step', session.step ? words(session.step) : NONE],
        ...Object.entries(session.attributes).map(([name, value]) => [words(name), String(value)]),
        ['First event', when(session.first, this.#store.now())],
        ['Last event', when(session.last, this.#store.now())],
        ['Closes', when(session.deadline, this.#store.now())],
        ['Events', integer(session.events)],
        ...(session.waiting ? [['Events that wait for late ones', integer(session.waiting)]] : []),
        ...Object.entries(session.counts).map(([name, count]) => [words(name), integer(count)]),
      ])}
    </section>`;
  }

  #oneSession(session) {
    const passed = performance.now() - this.#open.at;
    const left = session.remaining_ms - passed;
    return html`<section class="card session" key=${session.first} data-session-state=${session.state}>
      <p class="session-state">${STATES[session.state] ?? words(session.state)}</p>
      <div class="session-figures">
        ${timeLeft(left)}
        <div><b>${money(session.value, session.currency)}</b><span>at stake</span></div>
      </div>
      ${pairs([
        ['Furthest step', session.step ? words(session.step) : NONE],
        ['Segment', session.segment || NONE],
        ['First event', when(session.first, this.#store.now())],
        ['Last event', when(session.last, this.#store.now())],
        ['Closes', when(session.deadline, this.#store.now())],
        ['Events', integer(session.events)],
        ...Object.entries(session.counts ?? {}).map(([type, count]) => [words(type), integer(count)]),
      ])}
      <h3>Latest events</h3>
      <ol class="trail">${[...(session.trail ?? [])].reverse().map(
        (entry, i) => html`<li key=${i}><time>${clock(entry.at)}</time><span>${words(entry.type)}</span></li>`,
      )}</ol>
    </section>`;
  }

  #listView() {
    const { list, view, failed } = this.#open;
    const { about, path, newestLast } = LISTS[list];
    if (failed) return html`<p class="placeholder">Cannot say: ${failed}.</p>`;
    if (!view) return html`<div class="skeleton block" />`;
    const items = newestLast ? [...(view.items ?? [])].reverse() : (view.items ?? []);
    return html`<p class="muted">${about} <a href=${path(this.#store.values(PIPELINE))}>As JSON</a></p>
      ${items.length ? items.map((item, i) => listItem(item, i, this.#store.now())) : html`<p class="placeholder">None.</p>`}`;
  }
}

function timeLeft(left) {
  const what = left > 0 ? 'until it closes, if nothing more comes' : 'waiting for late events, then closes';
  return html`<div><b data-countdown>${left > 0 ? countdown(left) : '0:00'}</b><span>${what}</span></div>`;
}

async function wholeAlert(alert) {
  try {
    const { items } = await (await fetch(new URL(`v1/alerts?after=${alert.n - 1}&limit=1`, document.baseURI))).json();
    return items[0]?.id === alert.id ? items[0] : alert;
  } catch {
    return alert;
  }
}

function listItem(item, i, now) {
  const head = item.reason ?? `${span(item.behind_ms)} behind the watermark`;
  const foot = [age(item.at, now), `position ${integer(item.position)}`, item.redriven ? 'redriven' : ''].filter(Boolean).join(' · ');
  const rest = item.cut ? html`<p class="muted">The beginning of ${integer(item.bytes)} bytes.${'redriven' in item ? html` <a href=${`v1/dead-letters/${item.id}/raw`}>All of it</a>` : null}</p>` : null;
  return html`<section class="card" key=${item.id ?? i}><p>${head}</p><p class="muted">${foot}</p><pre tabindex="0"><code>${item.raw ?? ''}</code></pre>${rest}</section>`;
}

function pairs(list) {
  if (!list.length) return null;
  return html`<dl class="pairs">${list.map(([name, value], i) => html`<div key=${i}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** Why a number moved: of each metric the groups that moved most. */
function moved(why) {
  if (!Array.isArray(why)) return null;
  return why.map(({ metric, groups }) => html`<table key=${metric} class="moved">
    <caption>Moved most: ${words(metric)}</caption>
    <thead><tr><th scope="col">Group</th><th scope="col">Then</th><th scope="col">Usual</th><th scope="col">Share</th></tr></thead>
    <tbody>${groups.map(({ group, value, usual, share }, i) => html`<tr key=${i}>
      <th scope="row">${Object.values(group).join(', ') || 'other'}</th>
      <td>${number(value)}</td><td>${number(usual)}</td><td>${share == null ? NONE : `${Math.round(share * 100)} %`}</td>
    </tr>`)}</tbody>
  </table>`);
}

/** What an incident's facts say besides what stands above them. */
function rest({ rule: _rule, since: _since, group: _group, ...others } = {}) {
  return others;
}

/** An alert's detail as names and texts, nested ones with their path. */
function facts(detail, path = '') {
  if (detail == null || typeof detail !== 'object') return [];
  const found = [];
  for (const [name, value] of Object.entries(detail)) {
    // It has a table of its own.
    if (Array.isArray(value) && name === 'why') continue;
    const full = path ? `${path} ${name}` : name;
    if (value !== null && typeof value === 'object') found.push(...facts(value, full));
    else found.push([words(full.replace(/_ms$/, '')), fact(name, value, detail)]);
  }
  return found.slice(0, FACTS_MAX);
}

/** From here on a whole number is a moment (2001 and later, in ms). */
const MOMENT_MIN = 1e12;

function fact(name, value, detail) {
  if (typeof value !== 'number') return value === null || value === '' ? NONE : String(value);
  if (Number.isInteger(value) && value >= MOMENT_MIN) return moment(value);
  if (name.endsWith('_ms')) return span(value);
  if (name === 'value' && typeof detail.currency === 'string') return money(value, detail.currency);
  return number(value);
}
