// Sessions of one kind: how many are open, what is at stake in them, and how those ended that are over.

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
  draw() {
    const topic = this.head();
    const values = this.values;
    const shown = FIGURES.filter(([name]) => name in values && !(name === 'cut' && !values.cut));
    render(
      shown.length
        ? html`<dl class="kind">${shown.map(
            ([name, title, text]) => html`<div key=${name} data-figure=${name}><dt>${title}</dt><dd>${text(values[name])}</dd></div>`,
          )}</dl>`
        : html`<p class="placeholder"></p>`,
      this.panel.body,
    );
    return shown.length > 0;
  }
}
