// Sessions with something in the cart and nothing paid: those that end soonest, and those with
// most at stake. Each opens its session.

import { html, render } from './dom.js';
import { NONE, countdown, integer, money, words } from './format.js';

export const AT_RISK = 'at_risk';
/** Most sessions in a list. */
const SHOWN_MAX = 6;

const LISTS = [
  { name: 'by_deadline', title: 'Ending soonest' },
  { name: 'by_value', title: 'Most at stake' },
];

export class AtRisk {
  #panel;
  #store;
  #open;

  /** `open(key)` shows a session. */
  constructor(panel, store, { open }) {
    this.#panel = panel;
    this.#store = store;
    this.#open = open;
  }

  draw() {
    const topic = this.#store.topics.get(AT_RISK);
    const values = this.#store.values(AT_RISK);
    this.#panel.setTitle(topic?.about, 'in cart, not paid, still open');
    this.#panel.setStale(topic?.stale);
    const any = values.sessions > 0;
    render(
      any
        ? html`<span class="readout-side">${integer(values.sessions)} open</span>
            <b class="readout-value">${money(values.value, values.currency)}</b>`
        : null,
      this.#panel.readout,
    );
    render(
      any
        ? atRiskLists(topic, values, this.#store.now(), { open: this.#open, text: (value) => money(value, values.currency) })
        : html`<p class="placeholder">${topic?.state ? 'Nothing is at risk' : ''}</p>`,
      this.#panel.body,
    );
    return any;
  }
}

/** Both lists of a topic, one row for each session; `open(key)` shows one. */
export function atRiskLists(topic, values, now, { open, text }) {
  // Event time goes on between two frames.
  const watermark = topic.watermark + Math.max(0, now - topic.at);
  const one = ({ name, title }) => html`<table key=${name} data-list=${name}>
    <thead><tr><th scope="col">${title}</th><th scope="col">Step</th><th scope="col">At stake</th><th scope="col">Ends in</th></tr></thead>
    <tbody>${(values[name] ?? []).slice(0, SHOWN_MAX).map(
      (row) => html`<tr key=${`${row.key} ${row.deadline}`} data-key=${row.key}>
        <th scope="row"><button type="button" class="link" onClick=${() => open(row.key)}>${row.key}</button></th>
        <td>${row.step ? words(row.step) : NONE}</td>
        <td>${text(row.value)}</td>
        <td>${row.deadline > watermark ? countdown(row.deadline - watermark) : 'now'}</td>
      </tr>`,
    )}</tbody>
  </table>`;
  return html`<div class="at-risk">${LISTS.map(one)}</div>`;
}
