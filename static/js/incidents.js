// What holds now: incidents of rules, until they are over. What nobody takes care of comes first.

import { SEVERITIES } from './alerts.js';
import { html, render } from './dom.js';
import { age, integer, moment } from './format.js';

export const INCIDENTS = 'incidents';
/** Most incidents in the document; the rest is at `v1/incidents`. */
const SHOWN_MAX = 20;

const PHASES = {
  firing: 'Firing',
  acknowledged: 'Acknowledged',
  silenced: 'Silenced',
};

export class Incidents {
  #panel;
  #store;

  constructor(panel, store) {
    this.#panel = panel;
    this.#store = store;
  }

  draw() {
    const topic = this.#store.topics.get(INCIDENTS);
    const values = this.#store.values(INCIDENTS);
    const open = values.open ?? [];
    this.#panel.setTitle(topic?.about, 'until they are over');
    this.#panel.setStale(topic?.stale);
    // Nothing to say is said in one line.
    this.#panel.root.dataset.quiet = String(!open.length);
    const counts = Object.entries(PHASES).filter(([phase]) => values[phase]);
    render(
      html`<span class="readout-side">${counts.map(([phase, word]) => `${integer(values[phase])} ${word.toLowerCase()}`).join(', ')}</span>`,
      this.#panel.readout,
    );
    const now = this.#store.now();
    render(
      open.length
        ? html`<ol class="incidents">${open.slice(0, SHOWN_MAX).map((incident) => this.#item(incident, now))}</ol>
            ${open.length > SHOWN_MAX ? html`<p class="note">${integer(open.length - SHOWN_MAX)} more at v1/incidents</p>` : null}`
        : html`<p class="placeholder">${topic?.state ? `Nothing holds. ${integer(values.so_far ?? 0)} so far.` : ''}</p>`,
      this.#panel.body,
    );
    return open.length > 0;
  }

  #item(incident, now) {
    const severity = SEVERITIES[incident.severity] ?? SEVERITIES.info;
    const phase = PHASES[incident.phase] ?? incident.phase;
    const who = incident.by ? ` by ${incident.by}` : '';
    return html`<li key=${incident.id} data-incident-id=${incident.id} data-severity=${incident.severity} data-phase=${incident.phase}>
      <span class="alert-mark" aria-hidden="true">${severity.shape}</span>
      <span class="incident-title">${incident.title}</span>
      <span class="incident-foot">${severity.word} · <b>${phase}</b>${who}${incident.muted ? ` · ${incident.muted}` : ''}${' · '}<time title=${moment(incident.since)}>since ${age(incident.since, now)}</time>${incident.runbook ? html`${' · '}<a href=${incident.runbook} rel="noreferrer noopener" target="_blank">Runbook</a>` : null}</span>
    </li>`;
  }
}
