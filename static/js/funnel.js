// A funnel: for each step how many reached it in the window, what share of the first step and of the
// step before that is, how many went no further, and how long it took.

import { html, render } from './dom.js';
import { NONE, integer, percent, span } from './format.js';
import { View } from './panel.js';

/** Most groups in the table. */
const GROUPS_MAX = 8;

export class Funnel extends View {
  draw() {
    const topic = this.head();
    const { steps = [], groups = [] } = this.values;
    const any = steps.some((step) => step.reached || step.left);
    render(any ? html`<b class="readout-value">${percent(share(steps.at(-1), steps[0]))}</b>` : null, this.panel.readout);
    render(
      any
        ? html`<ol class="funnel">${steps.map((step, i) => row(step, steps[0], steps[i - 1]))}</ol>
            ${groups.length ? table(groups.slice(0, GROUPS_MAX), topic.about.columns) : null}`
        : html`<p class="placeholder">${topic?.state ? 'Nobody has begun yet' : ''}</p>`,
      this.panel.body,
    );
    return any;
  }
}

const share = (step, of) => (of?.reached ? step.reached / of.reached : null);

function row(step, first, before) {
  const width = `${Math.min(100, 100 * (share(step, first) ?? 0)).toFixed(2)}%`;
  const took = step.median_s == null ? '' : `, after ${span(step.median_s * 1_000)}`;
  return html`<li key=${step.step} data-step=${step.step}>
    <span class="step-name">${step.step}</span>
    <span class="step-count">${integer(step.reached)}</span>
    <span class="step-bar" aria-hidden="true"><i class="here" style=${{ width }} /></span>
    <span class="step-share">${percent(share(step, first))}</span>
    <span class="funnel-more">
      ${before ? `${percent(share(step, before))} of the step before${took}` : 'began'}${step.left ? ` · ${integer(step.left)} left here` : ''}
    </span>
  </li>`;
}

function table(groups, columns) {
  const names = groups[0].steps.map((step) => step.step);
  return html`<table class="funnel-groups">
    <thead><tr><th scope="col">${columns.join(', ')}</th>${names.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
    <tbody>${groups.map(
      ({ group, steps }) => html`<tr key=${group}>
        <th scope="row">${group || 'none'}</th>
        ${steps.map((step, i) => html`<td key=${step.step}>${i ? percent(share(step, steps[0])) || NONE : integer(step.reached)}</td>`)}
      </tr>`,
    )}</tbody>
  </table>`;
}
