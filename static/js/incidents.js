// What holds now: incidents of rules, until they are over; what is about to be one; what ended last. What
// nobody takes care of comes first. Here people say what they do about it.

import { SEVERITIES } from './alerts.js';
import { IncidentForm } from './incident-form.js';
import { html, render, setText } from './dom.js';
import { age, integer, moment, when } from './format.js';

export const INCIDENTS = 'incidents';
/** Most incidents in the document; the rest is at `v1/incidents`. */
const SHOWN_MAX = 20;
const PENDING_MAX = 5;
const ENDED_MAX = 5;
const ID = /^#([0-9a-f]{32})$/;

const PHASES = {
  firing: 'Firing',
  acknowledged: 'Acknowledged',
  silenced: 'Silenced',
};

export class Incidents {
  #panel;
  #store;
  #open;
  #announcer;
  #form;
  /** Ids that were told; null before the first board. */
  #known = null;
  /** The id that the address names. */
  #marked = null;
  /** That incident where no list has it: `{id, incident, says}`. */
  #asked = null;
  /** It is to come into sight with the next picture. */
  #scroll = false;

  /** `open(id)` shows one incident with all there is of it. */
  constructor(panel, store, { open, announcer }) {
    this.#panel = panel;
    this.#store = store;
    this.#open = open;
    this.#announcer = announcer;
    this.#form = new IncidentForm({ redraw: () => this.draw(), done: (id, says) => this.#done(id, says) });
  }

  /** Takes an incident's id out of the address: it is marked, and comes into sight. */
  fromAddress() {
    const [, id] = ID.exec(location.hash) ?? [];
    if (!id) return;
    this.#marked = id;
    this.#asked = null;
    this.#scroll = true;
    this.draw();
  }

  /** Tells of new incidents; called for each change, drawn or not. */
  notice() {
    const open = this.#store.values(INCIDENTS).open;
    if (!open) return;
    // Out of sight it would not be drawn, and it is to come into sight.
    if (this.#scroll) this.draw();
    const known = this.#known;
    this.#known = new Set(open.map(({ id }) => id));
    const fresh = known ? open.filter(({ id }) => !known.has(id)) : [];
    if (fresh.length) setText(this.#announcer, fresh.length === 1 ? `Incident: ${fresh[0].title}` : `${integer(fresh.length)} new incidents`);
  }

  draw() {
    const topic = this.#store.topics.get(INCIDENTS);
    const values = this.#store.values(INCIDENTS);
    const now = this.#store.now();
    const open = values.open ?? [];
    const pending = values.pending ?? [];
    const ended = values.ended ?? [];
    const marked = this.#beside(topic, [...open.slice(0, SHOWN_MAX), ...ended.slice(0, ENDED_MAX)]);
    this.#panel.setTitle(topic?.about, 'until they are over');
    this.#panel.setStale(topic?.stale);
    const counts = Object.entries(PHASES).filter(([phase]) => values[phase]);
    const said = counts.map(([phase, word]) => `${integer(values[phase])} ${word.toLowerCase()}`);
    if (values.pending_count) said.push(`${integer(values.pending_count)} pending`);
    render(html`<span class="readout-side">${said.join(', ')}</span>`, this.#panel.readout);
    render(
      html`${marked}
        ${open.length
          ? html`<ol class="incidents">${open.slice(0, SHOWN_MAX).map((one) => this.#item(one, now))}</ol>`
          : html`<p class="placeholder">${topic?.state ? `Nothing holds. ${integer(values.so_far ?? 0)} so far.` : ''}</p>`}
        ${open.length > SHOWN_MAX ? html`<p class="note">${integer(open.length - SHOWN_MAX)} more at <a href="v1/incidents">v1/incidents</a></p>` : null}
        ${pending.length ? html`<h3 class="incidents-of">Pending: an incident if it goes on</h3>
          <ol class="incidents">${pending.slice(0, PENDING_MAX).map((one, i) => pendingItem(one, i, now))}</ol>` : null}
        ${ended.length ? html`<h3 class="incidents-of">Over</h3>
          <ol class="incidents">${ended.slice(0, ENDED_MAX).map((one) => this.#item(one, now))}</ol>` : null}`,
      this.#panel.body,
    );
    this.#reveal();
    return open.length > 0;
  }

  /** The incident that the address names, where no list has it: it is asked for. */
  #beside(topic, listed) {
    const id = this.#marked;
    if (!id || !topic?.state || listed.some((one) => one.id === id)) return null;
    if (this.#asked?.id !== id) {
      this.#asked = { id };
      this.#ask(this.#asked);
    }
    const { incident, says } = this.#asked;
    const heading = html`<h3 class="incidents-of">The one you came for</h3>`;
    if (incident) return html`${heading}<ol class="incidents">${this.#item(incident, this.#store.now())}</ol>`;
    return html`${heading}<p class="placeholder" role="status" data-marked-missing=${says ? 'true' : null}>${says ?? 'Asking for it…'}</p>`;
  }

  async #ask(asked) {
    try {
      const response = await fetch(new URL(`v1/incidents/${asked.id}`, document.baseURI));
      if (response.ok) asked.incident = rowOf(await response.json());
      else asked.says = response.status === 404 ? 'It is not known here, or it left long ago.' : `The server answered ${response.status}.`;
    } catch {
      asked.says = 'The server cannot be reached.';
    }
    this.#scroll = true;
    this.draw();
  }

  /** Brings what is marked into sight, once it is there. */
  #reveal() {
    if (!this.#scroll) return;
    const row = this.#marked && document.getElementById(this.#marked);
    if (!row) return;
    this.#scroll = false;
    row.scrollIntoView({ block: 'center' });
    row.focus({ preventScroll: true });
  }

  #done(id, says) {
    setText(this.#announcer, says);
    document.getElementById(id)?.querySelector('button')?.focus();
  }

  #item(incident, now) {
    const severity = SEVERITIES[incident.severity] ?? SEVERITIES.info;
    const over = incident.phase === 'resolved';
    const phase = over ? 'Over' : (PHASES[incident.phase] ?? incident.phase);
    const who = incident.by ? ` by ${incident.by}` : '';
    const at = over ? html`<time title=${moment(incident.ended)}>ended ${age(incident.ended, now)}</time>` : html`<time title=${moment(incident.since)}>since ${age(incident.since, now)}</time>`;
    return html`<li key=${incident.id} id=${incident.id} tabindex="-1" data-incident-id=${incident.id}
        data-severity=${incident.severity} data-phase=${incident.phase} data-marked=${incident.id === this.#marked ? 'true' : null}>
      <span class="alert-mark" aria-hidden="true">${severity.shape}</span>
      <button type="button" class="incident-title" aria-haspopup="dialog" onClick=${() => this.#open(incident.id)}>${over && incident.over ? incident.over : incident.title}</button>
      <span class="incident-foot">${severity.word} · <b>${phase}</b>${over ? '' : who}${!over && incident.muted ? ` · ${incident.muted}` : ''}${' · '}${at}${incident.runbook ? html`${' · '}<a href=${incident.runbook} rel="noreferrer noopener" target="_blank">Runbook</a>` : null}</span>
      ${over ? null : this.#form.draw(incident)}
    </li>`;
  }
}

function pendingItem(pending, i, now) {
  const severity = SEVERITIES[pending.severity] ?? SEVERITIES.info;
  return html`<li key=${`${pending.rule}${i}`} data-pending=${pending.rule} data-severity=${pending.severity} data-phase="pending">
    <span class="alert-mark" aria-hidden="true">${severity.shape}</span>
    <span class="incident-title">${pending.title}</span>
    <span class="incident-foot">${severity.word} · <b>Pending</b> · <time title=${moment(pending.since)}>since ${age(pending.since, now)}</time> · fires at <time title=${moment(pending.due)}>${when(pending.due, now)}</time> at the earliest</span>
  </li>`;
}

/** An incident of the API as the board has it. */
function rowOf(incident) {
  return {
    ...incident,
    by: incident.acknowledged?.by,
    // The board says it in words.
    muted: incident.muted ? 'kept quiet' : null,
    ended: incident.resolved?.at,
    over: incident.resolved?.why,
  };
}
