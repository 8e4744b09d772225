// Line charts of series topics on uPlot. All charts share one crosshair, and one time range as far as
// it suits them.
// A rule's topic (columns value, expected, low, high) also shows what is expected and marks what
// lies beyond it. Of groups the greatest is drawn and named first, the others behind it.

import { element, html, render, setText, uPlot } from './dom.js';
import { OTHER_GROUPS, axisLabel, clock, groupName, inUnit, minute, when, words } from './format.js';
import { color, faded, labelFont } from './tokens.js';
import { placeholder } from './panel.js';
import { prefs } from './prefs.js';

const SYNC_KEY = 'tidewatch';
/** Shortest range drawn, so that the first points do not fill the panel's width. */
const RANGE_MS_MIN = 60_000;
/** Points that a line has room for at least. */
const POINTS_MIN = 10;
/** Rows of the table view. */
const TABLE_ROWS = 60;
/** A band of values narrower than this share of the highest is drawn without the zero line. */
const ZOOM_BELOW = 0.3;
/** Room for a time label with seconds (labels half a minute apart or closer), and without. */
const SECONDS_LABEL_PX = 66;
const MINUTES_LABEL_PX = 44;
/** Groups named beside the greatest. */
const NAMED_MAX = 3;
/** Half the width of an excess mark, in CSS pixels. */
const MARK_PX = 4;

export const crosshair = uPlot.sync(SYNC_KEY);

/** The range that charts show; one with few points reaches further back. */
export function timeRange(store, times) {
  const extent = store.extent();
  if (!extent) return null;
  const step = times.length > 1 ? times.at(-1) - times.at(-2) : 0;
  const range = Math.max(prefs.range, POINTS_MIN * step);
  const first = Math.min(Math.max(extent.first, extent.last - range), extent.last - RANGE_MS_MIN);
  return { min: first, max: extent.last };
}

export class Chart {
  #panel;
  #store;
  #names;
  #plot = null;
  #holder = element('div', { class: 'chart', tabindex: '0', role: 'img' });
  #none = placeholder();
  #topic = null;
  #shape = '';

  /** Shows the first topic of `panel.topics` that the server has. */
  constructor(panel, store) {
    this.#panel = panel;
    this.#store = store;
    this.#names = panel.topics;
    this.#holder.setAttribute('aria-label', panel.name.textContent);
    panel.body.append(this.#holder, this.#none);
    panel.onToggle = () => this.draw();
    new ResizeObserver(() => this.#resize()).observe(this.#holder);
    this.#holder.addEventListener('keydown', (event) => this.#onKey(event));
    this.#holder.addEventListener('blur', () => this.#leave());
  }

  draw() {
    this.#topic = this.#choose();
    const state = this.#topic?.state;
    const times = state?.columns[0];
    this.#panel.setTitle(this.#topic?.about, this.#topic?.about?.window, this.#store.late(this.#topic?.name));
    this.#panel.setStale(this.#topic?.stale);
    const empty = !times?.length;
    this.#holder.classList.toggle('blank', empty);
    this.#none.hidden = !empty;
    setText(this.#none, state ? 'No points yet' : '');
    if (empty) {
      render(null, this.#panel.readout);
      return false;
    }
    this.#build(state);
    const range = timeRange(this.#store, times);
    this.#plot.batch(() => {
      this.#plot.setData(state.columns, false);
      this.#plot.setScale('x', range);
    });
    this.#read();
    this.#describe(state);
    if (this.#panel.tableShown) this.#table(state);
    return true;
  }

  #choose() {
    const known = this.#names.map((name) => this.#store.topics.get(name)).filter((t) => t && !t.absent);
    return known.find((t) => t.state?.columns?.[0].length) ?? known[0] ?? null;
  }

  #columns() {
    const { columns, overflow } = this.#topic.about;
    if (!columns?.length) return ['value'];
    return columns.map((name, i) => (i === overflow ? OTHER_GROUPS : groupName(name)));
  }

  #isRule() {
    const columns = this.#columns();
    return columns[0] === 'value' && columns.includes('high');
  }

  #isGrouped() {
    return this.#columns().length > 1 && !this.#isRule();
  }

  /** The column that the panel is about: the first, or of groups the greatest over all that is shown. */
  #subject(state) {
    if (!this.#isGrouped()) return 0;
    const sums = state.columns.slice(1).map((values) => values.reduce((sum, value) => sum + (value ?? 0), 0));
    const groups = this.#topic.about.overflow == null ? sums : sums.slice(0, -1);
    return groups.indexOf(Math.max(...groups));
  }

  /** (Re)creates the plot when the topic, its columns or its subject changed. */
  #build(state) {
    const shape = `${this.#subject(state)} ${this.#topic.name} ${this.#topic.about.unit} ${this.#columns().join()} ${state.columns.length} ${prefs.utc}`;
    if (this.#plot && shape === this.#shape) return;
    this.#plot?.destroy();
    this.#shape = shape;
    this.#plot = new uPlot(this.#options(state), state.columns, this.#holder);
  }

  #options(state) {
    const { unit = '' } = this.#topic.about;
    return {
      ...this.#size(),
      ms: 1,
      // On the right room for half of a label such as 21:04:00.
      padding: [10, 28, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        sync: { key: SYNC_KEY, scales: ['x', null], setSeries: false },
        points: { size: 7, width: 2, stroke: () => color('--surface'), fill: (u, i) => u.series[i]._stroke },
      },
      scales: { x: { time: true }, y: { range: (_, low, high) => bounds(low, high, unit) } },
      tzDate: (ms) => (prefs.utc ? uPlot.tzDate(new Date(ms), 'Etc/UTC') : new Date(ms)),
      axes: [
        {
          stroke: () => color('--muted'),
          font: labelFont(),
          size: 26,
          gap: 6,
          space: (_, __, low, high, pixels) => labelRoom((high - low) / pixels),
          grid: { show: false },
          ticks: { stroke: () => color('--line'), width: 1, size: 4 },
          values: (_, splits, __, ___, step) => splits.map((ms) => (step < 60_000 ? clock(ms) : minute(ms))),
        },
        {
          stroke: () => color('--muted'),
          font: labelFont(),
          size: (u, labels) => Math.max(34, ...(labels ?? []).map((l) => 16 + l.length * 6.4)),
          gap: 6,
          space: 34,
          grid: { stroke: () => color('--line-faint'), width: 1 },
          ticks: { show: false },
          values: (_, splits, __, ___, step) => splits.map((v) => axisLabel(v, unit, step)),
        },
      ],
      series: [{}, ...state.columns.slice(1).map((_, i) => this.#line(i, this.#subject(state)))],
      hooks: {
        setCursor: [() => this.#read()],
        draw: this.#isRule() ? [(u) => markExcess(u, ['low', 'high'].map((name) => this.#columns().indexOf(name) + 1))] : [],
      },
    };
  }

  /** How column `i` is drawn: one as the subject, other groups thin, a rule's others as references. */
  #line(i, subject) {
    const name = this.#columns()[i];
    if (i === subject) {
      return {
        label: name,
        width: 1.75,
        stroke: () => color('--series-1'),
        fill: (u) => shade(u),
        points: { show: false, size: 4, filter: (u, s) => isolated(u.data[s]) },
      };
    }
    if (this.#isRule() && name === 'expected') {
      return { label: name, width: 1.25, dash: [4, 4], stroke: () => color('--muted'), points: { show: false } };
    }
    if (this.#isRule()) {
      return { label: name, width: 1.25, dash: [8, 4], stroke: () => color('--bad'), points: { show: false } };
    }
    return { label: name, width: 1, stroke: () => faded('--series-1', 0.35), points: { show: false } };
  }

  #size() {
    return { width: Math.max(120, this.#holder.clientWidth), height: Math.max(90, this.#holder.clientHeight) };
  }

  #resize() {
    if (this.#plot && this.#holder.clientWidth) this.#plot.setSize(this.#size());
  }

  /** Puts the value under the crosshair, or the latest, into the head of the panel. */
  #read() {
    const state = this.#topic?.state;
    if (!state || !this.#plot) return;
    const times = state.columns[0];
    const held = this.#plot.cursor.idx;
    const at = held != null && held < times.length ? held : times.length - 1;
    const followed = held != null && held < times.length;
    render(this.#readout(state, at, followed), this.#panel.readout);
  }

  #readout(state, at, followed) {
    if (this.#isGrouped()) return this.#ofGroups(state, at, followed);
    const { unit } = this.#topic.about;
    const columns = this.#columns();
    const value = state.columns[1]?.[at];
    const rest = columns.slice(1).map((name, i) => [name, state.columns[i + 2]?.[at]]);
    const side = rest.map(([name, v]) => html`<span key=${name}><i class=${`swatch ${name}`} aria-hidden="true" />${name} ${inUnit(v, unit)}</span>`);
    const time = followed ? this.#time(state, at) : null;
    return html`<span class="readout-side">${side}${time}</span>
      <b class="readout-value">${inUnit(value, unit)}</b>`;
  }

  #time(state, at) {
    return html`<span key="time" data-time>${when(state.columns[0][at], this.#store.now())}</span>`;
  }

  /** The greatest group by name, the next ones, and how many more there are. */
  #ofGroups(state, at, followed) {
    const { unit, overflow } = this.#topic.about;
    const group = (name, i) => ({ name, value: state.columns[i + 1]?.[at] ?? null, others: i === overflow });
    const groups = this.#columns().map(group);
    // What has no place of its own is no group.
    groups.sort((a, b) => a.others - b.others || (b.value ?? -Infinity) - (a.value ?? -Infinity));
    const [top, ...others] = groups;
    const more = others.length - NAMED_MAX;
    return html`<span class="readout-side">
        ${others.slice(0, NAMED_MAX).map(({ name, value }) => html`<span key=${name}>${name} ${inUnit(value, unit)}</span>`)}
        ${more > 0 ? html`<span key="more">and ${more} more</span>` : null}
        ${followed ? this.#time(state, at) : null}
      </span>
      <b class="readout-value"><span class="readout-name">${top.name}</span> ${inUnit(top.value, unit)}</b>`;
  }

  #describe(state) {
    // While the keyboard reads points, the label is the point's.
    if (document.activeElement === this.#holder && this.#plot.cursor.idx != null) return;
    const subject = this.#subject(state);
    const values = state.columns[subject + 1] ?? [];
    const { unit, title } = this.#topic.about;
    const of = this.#isGrouped() ? `, ${this.#columns()[subject]}` : '';
    const label = `${title || words(this.#topic.name)}${of}: ${inUnit(values.at(-1), unit)} at ${minute(state.columns[0].at(-1))}. Arrow keys read single points.`;
    this.#holder.setAttribute('aria-label', label);
  }

  #table(state) {
    const columns = this.#columns().slice(0, state.columns.length - 1);
    const { unit } = this.#topic.about;
    const total = state.columns[0].length;
    const rows = [];
    for (let i = total - 1; i >= Math.max(0, total - TABLE_ROWS); i -= 1) rows.push(i);
    const inTable = (c, i) => inUnit(state.columns[c + 1][i], c === 0 || this.#isRule() ? unit : '');
    render(
      html`<table>
        <thead><tr><th scope="col">Time</th>${columns.map((c) => html`<th scope="col">${words(c)}</th>`)}</tr></thead>
        <tbody>${rows.map((i) => html`<tr key=${state.columns[0][i]}>
          <th scope="row">${clock(state.columns[0][i])}</th>${columns.map((_, c) => html`<td>${inTable(c, i)}</td>`)}
        </tr>`)}</tbody>
      </table>`,
      this.#panel.tableBody,
    );
  }

  #onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    const times = this.#topic?.state?.columns[0];
    if (step === undefined || !times?.length || !this.#plot) return;
    event.preventDefault();
    const from = this.#plot.cursor.idx ?? times.length - 1;
    const at = Math.min(times.length - 1, Math.max(0, from + step));
    this.#plot.setCursor({ left: this.#plot.valToPos(times[at], 'x'), top: 10 }, true, true);
    this.#read();
    this.#holder.setAttribute('aria-label', `${clock(times[at])}: ${spoken(this.#panel.readout)}`);
  }

  #leave() {
    this.#plot?.setCursor({ left: -10, top: -10 }, true, true);
  }
}

/** The parts of a readout as one phrase. */
function spoken(readout) {
  const parts = readout.querySelectorAll('.readout-value, .readout-side > :not([data-time])');
  return [...parts].map((part) => part.textContent.trim()).join(', ');
}

/**
 * The value range of an axis: from zero, unless the values differ and lie close together far
 * above it.
 */
function bounds(low, high, unit) {
  if (low == null || high == null) return [0, 1];
  const spread = high - low;
  if (low > 0 && spread > 0 && spread < high * ZOOM_BELOW) {
    const pad = Math.max(spread * 0.25, high * 0.02);
    const top = high + pad;
    return [Math.max(0, low - pad), unit === 'ratio' ? Math.min(1, top) : top];
  }
  const top = high > 0 ? high * 1.12 : 1;
  return [Math.min(0, low * 1.12), unit === 'ratio' ? Math.min(1, Math.max(top, 0.05)) : top];
}

/** Least distance of two time labels, in pixels, when one pixel is `ms` wide. */
function labelRoom(ms) {
  return ms * SECONDS_LABEL_PX <= 30_000 ? SECONDS_LABEL_PX : MINUTES_LABEL_PX;
}

/** Points without neighbours, which a line would not show. */
function isolated(values) {
  const found = [];
  for (let i = 0; i < values.length; i += 1) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
  }
  return found;
}

/** The fill under the subject's line. */
function shade(u) {
  const gradient = u.ctx.createLinearGradient(0, u.bbox.top, 0, u.bbox.top + u.bbox.height);
  gradient.addColorStop(0, faded('--series-1', 0.22));
  gradient.addColorStop(1, faded('--series-1', 0.02));
  return gradient;
}

/** Marks the points beyond the band with a triangle: shape as well as colour. */
function markExcess(u, [lowColumn, highColumn]) {
  const [times, values] = u.data;
  const [lows, highs] = [u.data[lowColumn], u.data[highColumn]];
  const { min, max } = u.scales.x;
  const size = MARK_PX * uPlot.pxRatio;
  const { ctx } = u;
  ctx.save();
  ctx.fillStyle = color('--bad');
  for (let i = 0; i < times.length; i += 1) {
    if (values[i] == null || times[i] < min || times[i] > max) continue;
    const above = highs[i] != null && values[i] > highs[i];
    if (!above && !(lows[i] != null && values[i] < lows[i])) continue;
    // It points away from the band.
    const way = above ? 1 : -1;
    const x = u.valToPos(times[i], 'x', true);
    const y = u.valToPos(values[i], 'y', true);
    ctx.beginPath();
    ctx.moveTo(x, y - way * size * 1.2);
    ctx.lineTo(x + size, y + way * size * 0.8);
    ctx.lineTo(x - size, y + way * size * 0.8);
    ctx.fill();
  }
  ctx.restore();
}
