// Live sessions by the furthest step they reached, as a funnel: how many stand there now, and
// what share of all got that far.

import { html, render } from './dom.js';
import { integer, percent, words } from './format.js';
import { View } from './panel.js';

export class Steps extends View {
  draw() {
    const topic = this.head();
    const steps = funnel(this.values, topic?.about?.columns ?? []);
    const total = steps[0]?.reached ?? 0;
    render(total ? html`<b class="readout-value">${integer(total)}</b>` : null, this.panel.readout);
    render(
      total
        ? html`<ol class="steps">${steps.map((step) => row(step, total))}</ol>
            <p class="key"><i class="key-here" aria-hidden="true" /> furthest step now
              <i class="key-reached" aria-hidden="true" /> got this far</p>`
        : html`<p class="placeholder">${topic?.state ? 'No session is open' : ''}</p>`,
      this.panel.body,
    );
    return total > 0;
  }
}

/** The steps in funnel order, each with those who reached it or went further. */
function funnel(counts, order) {
  const rest = Object.keys(counts).filter((name) => !order.includes(name) && counts[name] > 0);
  // Sessions that reached none of the steps stand before the first one.
  const names = [...rest, ...order];
  let reached = 0;
  return names
    .map((name) => ({ name, here: counts[name] ?? 0 }))
    .reverse()
    .map((step) => {
      reached += step.here;
      return { ...step, reached };
    })
    .reverse();
}

function row(step, total) {
  const share = (value) => `${((100 * value) / total).toFixed(2)}%`;
  return html`<li key=${step.name} data-step=${step.name}>
    <span class="step-name">${step.name ? words(step.name) : 'No step yet'}</span>
    <span class="step-count">${integer(step.here)}</span>
    <span class="step-bar" aria-hidden="true">
      <i class="reached" style=${{ width: share(step.reached) }} />
      <i class="here" style=${{ width: share(step.here) }} />
    </span>
    <span class="step-share"><span class="unseen">got this far: </span>${percent(step.reached / total)}</span>
  </li>`;
}
