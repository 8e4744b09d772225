// Sessions of one kind: how many are open, what is at stake in them, how those ended that are over, and
// which end soonest or have most at stake.

import { atRiskLists } from './at-risk.js';
import { html, render } from './dom.js';
import { NONE, integer, number, percent } from './format.js';
import { View } from './panel.js';

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

export class Kind extends View {
  #open;

  /** `open(key)` shows a session. */
  constructor(panel, store, { open }) {
    super(panel, store);
    this.#open = open;
  }

  draw() {
    const topic = this.head();
    const values = this.values;
    const shown = FIGURES.filter(([name]) => name in values && !(name === 'cut' && !values.cut));
    render(
      shown.length
        ? html`<dl class="kind">${shown.map(
            ([name, title, text]) => html`<div key=${name} data-figure=${name}><dt>${title}</dt><dd>${text(values[name])}</dd></div>`,
          )}</dl>
          ${values.by_value?.length ? atRiskLists(topic, values, this.store.now(), { open: this.#open, text: number }) : null}`
        : html`<p class="placeholder"></p>`,
      this.panel.body,
    );
    return shown.length > 0;
  }
}
