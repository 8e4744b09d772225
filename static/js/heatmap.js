// A grid topic as a heatmap: a row for each pair of labels, a column for each pane, one hue.
// The same numbers stand in a table for those who do not see the picture.

import { element, html, render, setText } from './dom.js';
import { OTHER_GROUPS, clock, integer, span, when } from './format.js';
import { channels, color, labelFont } from './tokens.js';
import { crosshair } from './chart.js';
import { placeholder } from './panel.js';

/** Columns shown, whatever the topic keeps. */
const COLUMNS = 120;
const ROW_PX_MIN = 13;
const ROW_PX_MAX = 22;
const AXIS_PX = 20;
const GROUP_GAP_PX = 5;
/** Shades between the lowest and the highest colour. */
const SHADES = 32;

export class Heatmap {
  #panel;
  #store;
  #topicName;
  #canvas = element('canvas', { tabindex: '0', role: 'img' });
  #tip = element('div', { class: 'tip', hidden: true });
  #none = placeholder();
  #root;
  /** What was drawn last, for pointing: rows top to bottom, columns, sizes. */
  #shown = null;
  /** The cell pointed at: `{row, column}` as indexes of what is shown. */
  #cell = null;
  /** Time under the charts' crosshair. */
  #crossTime = null;

  constructor(panel, store) {
    this.#panel = panel;
    this.#store = store;
    [this.#topicName] = panel.topics;
    this.#canvas.setAttribute('aria-label', panel.name.textContent);
    this.#root = element('div', { class: 'heatmap', 'data-heatmap': this.#topicName }, this.#canvas, this.#tip, this.#none);
    panel.body.append(this.#root);
    panel.tableBody.hidden = false;
    panel.tableBody.classList.add('unseen');
    panel.onToggle = () => {
      panel.tableBody.hidden = false;
      panel.tableBody.classList.toggle('unseen', !panel.tableShown);
    };
    new ResizeObserver(() => this.draw()).observe(this.#root);
    this.#canvas.addEventListener('pointermove', (event) => this.#point(event));
    this.#canvas.addEventListener('pointerleave', () => this.#select(null));
    this.#canvas.addEventListener('blur', () => this.#select(null));
    this.#canvas.addEventListener('keydown', (event) => this.#onKey(event));
    crosshair.sub({ pub: (type, source, left) => this.#follow(type, source, left) });
  }

  draw() {
    const topic = this.#store.topics.get(this.#topicName);
    const state = topic?.state;
    this.#panel.setTitle(topic?.about, topic?.about?.window, this.#store.late(topic?.name));
    this.#panel.setStale(topic?.stale);
    const empty = !state?.rows.length || !state.columns.length;
    this.#none.hidden = !empty;
    this.#canvas.hidden = empty;
    setText(this.#none, state ? 'Nothing to show yet' : '');
    if (empty) {
      this.#shown = null;
      render(null, this.#panel.tableBody);
      return false;
    }
    this.#shown = this.#layOut(state, topic.about.overflow);
    this.#paint();
    this.#summary(topic);
    this.#table(topic);
    if (this.#cell) this.#showTip();
    return true;
  }

  /** Rows in the order of their labels, what has no row of its own last, and where everything goes. */
  #layOut(state, overflow) {
    const columns = state.columns.slice(-COLUMNS);
    const rows = state.rows
      .map((labels, index) => ({ labels: index === overflow ? [OTHER_GROUPS] : labels, index }))
      .sort((a, b) => (a.index === overflow) - (b.index === overflow) || compare(a.labels, b.labels));
    let high = 1;
    for (const [, values] of columns) for (const v of values) if (v > high) high = v;
    const groups = rows.filter((row, i) => i > 0 && row.labels[0] !== rows[i - 1].labels[0]).length;
    const context = this.#canvas.getContext('2d');
    context.font = labelFont();
    const widest = (k) => Math.max(0, ...rows.map((r) => context.measureText(r.labels[k] ?? '').width));
    const firstWidth = Math.ceil(widest(0)) + 12;
    const left = firstWidth + Math.ceil(widest(1)) + 12;
    const width = this.#root.clientWidth;
    const room = this.#root.clientHeight - AXIS_PX - groups * GROUP_GAP_PX;
    const rowHeight = Math.min(ROW_PX_MAX, Math.max(ROW_PX_MIN, Math.floor(room / rows.length)));
    let y = 0;
    rows.forEach((row, i) => {
      if (i > 0 && row.labels[0] !== rows[i - 1].labels[0]) y += GROUP_GAP_PX;
      row.y = y;
      y += rowHeight;
    });
    return { rows, columns, high, left, firstWidth, width, rowHeight, bottom: y, cellWidth: (width - left) / COLUMNS };
  }

  #paint() {
    const { rows, columns, high, left, width, rowHeight, bottom, cellWidth, firstWidth } = this.#shown;
    const context = fit(this.#canvas, width, bottom + AXIS_PX);
    const shades = ramp();
    const zero = color('--heat-zero');
    context.font = labelFont();
    context.textBaseline = 'middle';
    const offset = COLUMNS - columns.length;
    rows.forEach((row, i) => {
      const middle = row.y + rowHeight / 2;
      if (i === 0 || row.labels[0] !== rows[i - 1].labels[0]) {
        context.fillStyle = color('--text');
        context.fillText(row.labels[0] ?? '', 0, middle);
      }
      context.fillStyle = color('--muted');
      context.fillText(row.labels.slice(1).join(' '), firstWidth, middle);
      context.fillStyle = zero;
      context.fillRect(left, row.y, width - left, rowHeight - 1);
      columns.forEach(([, values], c) => {
        const value = values[row.index];
        if (!value) return;
        context.fillStyle = shades[Math.min(SHADES - 1, Math.floor(Math.sqrt(value / high) * SHADES))];
        const x = left + (offset + c) * cellWidth;
        context.fillRect(x, row.y, Math.max(1, cellWidth - (cellWidth > 4 ? 1 : 0)), rowHeight - 1);
      });
    });
    this.#paintAxis(context);
    this.#paintCrosshair(context);
    this.#paintCell(context);
  }

  #paintAxis(context) {
    const { columns, left, width, bottom, cellWidth } = this.#shown;
    context.fillStyle = color('--muted');
    const offset = COLUMNS - columns.length;
    let free = -Infinity;
    columns.forEach(([ts], c) => {
      const x = left + (offset + c) * cellWidth;
      if (ts % 30_000 !== 0 || x < free || x + 52 > width) return;
      context.fillRect(x, bottom, 1, 4);
      context.fillText(clock(ts), x + 3, bottom + 11);
      free = x + 70;
    });
  }

  #paintCrosshair(context) {
    const x = this.#crossTime === null ? null : this.#xOf(this.#crossTime);
    if (x === null) return;
    context.fillStyle = color('--muted');
    context.fillRect(Math.round(x), 0, 1, this.#shown.bottom);
  }

  #paintCell(context) {
    if (!this.#cell) return;
    const { rows, left, columns, rowHeight, cellWidth } = this.#shown;
    const row = rows[this.#cell.row];
    if (!row) return;
    context.strokeStyle = color('--text');
    context.lineWidth = 1.5;
    const x = left + (COLUMNS - columns.length + this.#cell.column) * cellWidth;
    context.strokeRect(x - 0.5, row.y - 0.5, cellWidth + 1, rowHeight);
  }

  /** Middle of the column of time `ts`, or null outside. */
  #xOf(ts) {
    if (!this.#shown) return null;
    const { columns, left, cellWidth } = this.#shown;
    const at = columns.findIndex(([t]) => t >= ts);
    if (at < 0 || ts < columns[0][0]) return null;
    return left + (COLUMNS - columns.length + at + 0.5) * cellWidth;
  }

  /** The crosshair moved over a chart. */
  #follow(type, source, left) {
    if (type !== 'mousemove' || typeof source?.posToVal !== 'function') return;
    const time = left == null || left < 0 ? null : source.posToVal(left, 'x');
    if (time === this.#crossTime) return;
    this.#crossTime = time;
    if (this.#shown) this.#paint();
  }

  #point(event) {
    if (!this.#shown) return;
    const { rows, columns, left, rowHeight, cellWidth } = this.#shown;
    const box = this.#canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const column = Math.floor((x - left) / cellWidth) - (COLUMNS - columns.length);
    const row = rows.findIndex((r) => y >= r.y && y < r.y + rowHeight);
    this.#select(row >= 0 && column >= 0 && column < columns.length ? { row, column } : null);
  }

  #select(cell) {
    this.#cell = cell;
    this.#tip.hidden = !cell;
    if (!this.#shown) return;
    this.#paint();
    if (cell) this.#showTip();
  }

  #showTip() {
    const { rows, columns, left, rowHeight, cellWidth, width } = this.#shown;
    const row = rows[this.#cell.row];
    const column = columns[this.#cell.column];
    if (!row || !column) return this.#select(null);
    const text = `${row.labels.join(' · ')}  ${integer(column[1][row.index] ?? 0)} at ${when(column[0], this.#store.now())}`;
    setText(this.#tip, text);
    const x = left + (COLUMNS - columns.length + this.#cell.column) * cellWidth;
    const shift = Math.min(Math.max(0, x - this.#tip.offsetWidth / 2), width - this.#tip.offsetWidth);
    const below = row.y + rowHeight + 6;
    const above = row.y - this.#tip.offsetHeight - 6;
    this.#tip.style.transform = `translate(${Math.round(shift)}px, ${Math.round(above > 0 ? above : below)}px)`;
  }

  #onKey(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move || !this.#shown) return;
    event.preventDefault();
    const { rows, columns } = this.#shown;
    const from = this.#cell ?? { row: 0, column: columns.length };
    const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
    this.#select({ row: clamp(from.row + move[0], rows.length), column: clamp(from.column + move[1], columns.length) });
    this.#canvas.setAttribute('aria-label', this.#tip.textContent);
  }

  #summary(topic) {
    const { rows, columns } = this.#shown;
    const [ts, values] = columns.at(-1);
    const total = values.reduce((sum, v) => sum + (v ?? 0), 0);
    const scale = html`<span class="scale" aria-hidden="true">1 <i /> ${integer(this.#shown.high)}</span>`;
    const side = html`<span class="readout-side">all, last ${topic.about.step_ms === 1_000 ? 'second' : span(topic.about.step_ms)}</span> <b class="readout-value">${integer(total)}</b>`;
    render(html`${scale}${side}`, this.#panel.readout);
    if (document.activeElement === this.#canvas && this.#cell) return;
    this.#canvas.setAttribute(
      'aria-label',
      `${topic.about.title || 'Heatmap'}: ${rows.length} rows, ${integer(total)} at ${clock(ts)}. Arrow keys read single cells; the table button shows all.`,
    );
  }

  #table(topic) {
    const { rows, columns } = this.#shown;
    const labels = topic.about.columns?.length ? topic.about.columns : rows[0].labels.map((_, i) => `label ${i + 1}`);
    const line = (row) => {
      let [sum, high] = [0, 0];
      for (const [, values] of columns) {
        const v = values[row.index] ?? 0;
        sum += v;
        high = Math.max(high, v);
      }
      const last = columns.at(-1)[1][row.index] ?? 0;
      return html`<tr key=${row.index}>
        ${labels.map((_, k) => html`<th scope="row">${row.labels[k] ?? ''}</th>`)}
        <td>${integer(last)}</td><td>${integer(high)}</td><td>${integer(sum)}</td>
      </tr>`;
    };
    render(
      html`<table>
        <caption class="unseen">${topic.about.title}, ${topic.about.window}</caption>
        <thead><tr>
          ${labels.map((label) => html`<th scope="col" class="label">${label}</th>`)}
          <th scope="col">last second</th><th scope="col">highest</th><th scope="col">sum</th>
        </tr></thead>
        <tbody>${rows.map(line)}</tbody>
      </table>`,
      this.#panel.tableBody,
    );
  }
}

function compare(a, b) {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const order = String(a[i] ?? '').localeCompare(String(b[i] ?? ''), undefined, { numeric: true });
    if (order) return order;
  }
  return 0;
}

/** Sizes a canvas in CSS pixels and returns its context, cleared. */
function fit(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function ramp() {
  const stops = ['--heat-low', '--heat-mid', '--heat-high'].map((name) => channels(color(name)));
  return Array.from({ length: SHADES }, (_, i) => {
    const at = (i / (SHADES - 1)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(at));
    const mix = stops[k].map((from, c) => Math.round(from + (stops[k + 1][c] - from) * (at - k)));
    return `rgb(${mix.join()})`;
  });
}
