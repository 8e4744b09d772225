// The strip of key figures: each with its value, the window it covers in words, and the shape
// of its recent past (from its series topic if there is one, else as seen since the page opened).

import { html, render } from './dom.js';
import { NONE, inUnit, integer, money, number, percent } from './format.js';

const TOPIC = 'kpi';
/** Samples kept of a figure without a series of its own. */
const SAMPLES_MAX = 120;
/** Points of a series that a spark line shows. */
const SPARK_POINTS = 120;
/** Fewer values make no shape. */
const SPARK_POINTS_MIN = 8;
/** A short past takes only the right of the line's width. */
const SPARK_SLOTS_MIN = 60;
const SPARK = { width: 100, height: 24 };

const FIGURES = [
  {
    key: 'abandonment_rate',
    label: 'Abandonment rate',
    series: 'abandonment_rate',
    show: percent,
    window: (w) => `closed carts, ${w || 'latest window'}`,
    more: (v) =>
      v.abandoned + v.converted ? `${integer(v.abandoned)} of ${integer(v.abandoned + v.converted)} since the start` : 'no cart closed yet',
  },
  { key: 'live_sessions', label: 'Live sessions', show: integer, window: () => 'open now' },
  { key: 'at_risk', shop: true, label: 'At risk', show: integer, window: () => 'open now, in cart, not paid' },
  { key: 'value_at_stake', shop: true, label: 'Value at stake', show: money, window: () => 'in the carts at risk now' },
  { key: 'unique_visitors', label: 'Unique visitors', series: 'unique_visitors', show: integer, window: (w) => w || 'latest window' },
  { key: 'event_rate', label: 'Events per second', series: 'event_rate', show: number, window: (w) => w || 'latest window' },
  { key: 'revenue', label: 'Revenue today', series: 'revenue', show: money, window: (w) => w || 'since midnight' },
];

/** Most figures of the strip. */
const FIGURES_MAX = 7;

export const kpiTopics = [TOPIC, ...FIGURES.map((f) => f.series).filter(Boolean)];

export class Kpis {
  #root;
  #store;
  #samples = new Map(FIGURES.map((f) => [f.key, []]));
  #sampledAt = null;
  #figures = FIGURES;

  constructor(root, store) {
    this.#root = root;
    this.#store = store;
  }

  /** Shows, without a shop, the lines of this configuration in place of the shop's figures. */
  follow(shop, topics) {
    const own = topics
      .filter(({ kind, columns }) => kind === 'series' && columns.length === 1)
      .map(({ name, title, unit }) => ({
        key: name,
        label: title || name,
        series: name,
        show: (value) => inUnit(value, unit),
        window: (w) => w || 'latest window',
      }));
    const usual = FIGURES.filter((figure) => !figure.series && !figure.shop);
    this.#figures = shop ? FIGURES : [...own, ...usual].slice(0, FIGURES_MAX);
  }

  /** Takes a sample of every figure that has no series; called for each change, drawn or not. */
  sample() {
    const topic = this.#store.topics.get(TOPIC);
    if (!topic?.state || topic.n === this.#sampledAt) return;
    this.#sampledAt = topic.n;
    for (const figure of FIGURES) {
      if (figure.series) continue;
      const samples = this.#samples.get(figure.key);
      samples.push(topic.state.values[figure.key] ?? null);
      if (samples.length > SAMPLES_MAX) samples.shift();
    }
  }

  draw() {
    const topic = this.#store.topics.get(TOPIC);
    const values = this.#store.values(TOPIC);
    const ready = Boolean(topic?.state);
    this.#root.toggleAttribute('data-stale', Boolean(topic?.stale));
    render(html`<dl class="kpi-strip">${this.#figures.map((figure) => this.#tile(figure, values, ready))}</dl>`, this.#root);
  }

  #tile(figure, values, ready) {
    const value = values[figure.key];
    const text = figure.show(value, values.currency);
    const more = ready && figure.more ? figure.more(values) : null;
    return html`<div class="kpi" key=${figure.key}>
      <dt>${figure.label}</dt>
      <dd class=${`kpi-value${text === NONE ? ' none' : ''}${ready ? '' : ' skeleton'}`}
          data-kpi=${figure.key} data-value=${value ?? ''}>${text}</dd>
      <dd class="kpi-window">${figure.window(this.#store.window(figure.series))}${more ? html`<span class="kpi-more">${more}</span>` : null}</dd>
      <dd class="kpi-spark" aria-hidden="true">${spark(this.#past(figure))}</dd>
    </div>`;
  }

  #past(figure) {
    if (!figure.series) return this.#samples.get(figure.key);
    return this.#store.topics.get(figure.series)?.state?.columns?.[1]?.slice(-SPARK_POINTS) ?? [];
  }
}

/** A line through the values that exist, from least to greatest; the newest at the right. */
function spark(values) {
  const known = values.filter((v) => Number.isFinite(v));
  if (known.length < SPARK_POINTS_MIN) return null;
  const slots = Math.max(values.length, SPARK_SLOTS_MIN) - 1;
  const low = Math.min(...known);
  const spread = Math.max(...known) - low || 1;
  const points = [];
  values.forEach((v, i) => {
    if (!Number.isFinite(v)) return;
    const x = ((slots - values.length + 1 + i) / slots) * SPARK.width;
    const y = SPARK.height - 2 - ((v - low) / spread) * (SPARK.height - 4);
    points.push(`${x.toFixed(1)},${y.toFixed(1)}`);
  });
  return html`<svg viewBox=${`0 0 ${SPARK.width} ${SPARK.height}`} preserveAspectRatio="none">
    <polyline points=${points.join(' ')} vector-effect="non-scaling-stroke" />
  </svg>`;
}
