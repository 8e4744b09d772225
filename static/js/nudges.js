// What became of those who left something behind, and what it brings to tell them.

import { html, render } from './dom.js';
import { integer } from './format.js';

export const NUDGES = 'nudges';

const points = (number) => `${number < 0 ? '−' : '+'}${Math.abs(number).toFixed(1)}`;

const share = ({ converted, finished }) => (finished ? `${((100 * converted) / finished).toFixed(1)} %` : '–');

export class Nudges {
  #panel;
  #store;

  constructor(panel, store) {
    this.#panel = panel;
    this.#store = store;
  }

  draw() {
    const topic = this.#store.topics.get(NUDGES);
    const values = this.#store.values(NUDGES);
    const nudges = values.nudges ?? [];
    this.#panel.setTitle(topic?.about, 'told, against those held out');
    this.#panel.setStale(topic?.stale);
    const suppressed = `${integer(values.suppressed ?? 0)} suppressed`;
    render(html`<span class="readout-side">${suppressed}</span>`, this.#panel.readout);
    render(html`<ol class="nudges">${nudges.map((nudge) => this.#item(nudge))}</ol>`, this.#panel.body);
    return nudges.length > 0;
  }

  #item(nudge) {
    const { name, told, held_out: heldOut, uplift, outcomes, enough, waiting } = nudge;
    const some = Object.entries(outcomes).filter(([, count]) => count > 0);
    const counts = some.map(([word, count]) => `${integer(count)} ${word.replaceAll('_', ' ')}`);
    if (waiting) counts.push(`${integer(waiting)} waiting`);
    const says = uplift
      ? html`<b>${points(uplift.points)}</b> percentage points (95 %: ${points(uplift.low)} to ${points(uplift.high)})`
      : `too few to say: it needs ${integer(enough)} of each whose time is over`;
    const arm = (word, of) =>
      `${word}: ${share(of)} of ${integer(of.finished)} bought, ${integer(of.running)} still running`;
    return html`<li key=${name} data-nudge=${name}>
      <span class="nudge-title"><b>${name}</b>: ${says}</span>
      <span class="nudge-foot">${arm('told', told)} · ${arm('held out', heldOut)}</span>
      <span class="nudge-foot">${counts.join(', ')}</span>
    </li>`;
  }
}
