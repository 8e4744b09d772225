// A map topic that is not a funnel: names and values, the largest first. Used for the topics
// that only a configuration knows.

import { html, render } from './dom.js';
import { inUnit } from './format.js';

/** Most names shown. */
const SHOWN_MAX = 12;

export class Ranking {
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
    this.#panel.setTitle(topic?.about, topic?.about?.window, this.#store.late(topic?.name));
    this.#panel.setStale(topic?.stale);
    const entries = Object.entries(this.#store.values(this.#topicName))
      .filter(([, value]) => typeof value === 'number')
      .sort((a, b) => b[1] - a[1])
      .slice(0, SHOWN_MAX);
    const most = Math.max(0, ...entries.map(([, value]) => value)) || 1;
    const row = ([name, value]) => html`<li key=${name}>
      <span class="rank-name">${name || 'none'}</span>
      <span class="step-bar" aria-hidden="true"><i class="here" style=${{ width: `${Math.max(0, (100 * value) / most).toFixed(2)}%` }} /></span>
      <b>${inUnit(value, topic.about.unit)}</b>
    </li>`;
    render(
      entries.length
        ? html`<ol class="ranking">${entries.map(row)}</ol>`
        : html`<p class="placeholder">${topic?.state ? 'Nothing to show yet' : ''}</p>`,
      this.#panel.body,
    );
    return entries.length > 0;
  }
}
