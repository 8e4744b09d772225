// Sessions of one kind: how many are open, what is at stake in them, and how those ended that are over.

import { html, render } from './dom.js';
import { NONE, integer, number, percent } from './format.js';

/** What is shown, in this order, as far as the kind has it. */
const FIGURES = [
  ['open', 'Open now', integer],
  ['at_risk', 'At risk', integer],
  ['value_at_stake', 'At stake', number],
  ['ended', 'Ended', integer],
  ['converted', 'Converted', integer],
  ['abandoned', 'Abandoned', integer],
  ['abandonment_rate', 'Abandonment', (value) => (value == null ? NONE : percent(value))],
  ['cut', 'Cut', integer],
];

export class Kind {
  #panel;
  #store;
  #topicName;

  constructor(panel, store) {
    this.#panel = panel;
    this.#store = store;
    [this.#topicName] = panel.topics;
  }

  draw() {
    const topic = this.#store.topics.get(this.#topicName);
    this.#panel.setTitle(topic?.about);
    this.#panel.setStale(topic?.stale);
    const values = this.#store.values(this.#topicName);
    const shown = FIGURES.filter(([name]) => name in values && !(name === 'cut' && !values.cut));
    render(
      shown.length
        ? html`<dl class="kind">${shown.map(
            ([name, title, text]) => html`<div key=${name} data-figure=${name}><dt>${title}</dt><dd>${text(values[name])}</dd></div>`,
          )}</dl>`
        : html`<p class="placeholder"></p>`,
      this.#panel.body,
    );
    return shown.length > 0;
  }
}
