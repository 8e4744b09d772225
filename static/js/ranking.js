// Numbers by name, as rows with bars: a map topic that is not a funnel, ranked lists, and
// histograms. Used for the topics that only a configuration knows.

import { html, render } from './dom.js';
import { OTHER_GROUPS, inUnit, number, percent } from './format.js';
import { View } from './panel.js';

/** Most names shown. */
const SHOWN_MAX = 12;

export class Ranking extends View {
  draw() {
    const topic = this.head();
    const lists = listsOf(this.topicName, topic?.about ?? {}, this.values);
    render(
      lists.length
        ? lists.map(({ name, rows, rest }) => html`<${List} key=${name} name=${name} rows=${rows} rest=${rest} />`)
        : html`<p class="placeholder">${topic?.state ? 'Nothing to show yet' : ''}</p>`,
      this.panel.body,
    );
    return lists.length > 0;
  }
}

/** What the topic shows: lists of rows, each with its group's name where there are groups. */
function listsOf(topicName, about, values) {
  const rowsOf = { ranked: ranked, histogram: (value) => histogram(value, about.bounds ?? []) }[about.shape];
  if (!rowsOf) {
    const rows = Object.entries(values)
      .filter(([, value]) => typeof value === 'number')
      .map(([name, value]) => ({ name, value, text: inUnit(value, about.unit) }));
    rows.sort((a, b) => b.value - a.value);
    return rows.length ? [{ name: '', ...first(rows) }] : [];
  }
  const title = (name, i) => (i === about.overflow ? OTHER_GROUPS : name === topicName ? '' : name);
  return (about.columns ?? [])
    .map((name, i) => ({ name: title(name, i), ...(values[name] == null ? { rows: [] } : rowsOf(values[name])) }))
    .filter(({ rows }) => rows.length);
}

/** The first of the rows, and how many there are behind them. */
const first = (rows) => ({ rows: rows.slice(0, SHOWN_MAX), rest: Math.max(0, rows.length - SHOWN_MAX) });

/** The values that came most, with their share of all. */
function ranked({ of, top }) {
  const { rows, rest } = first(top);
  const row = ([name, value, error]) => ({
    name,
    value,
    text: `${number(value)}${error ? ` ± ${number(error)}` : ''}`,
    more: percent(of ? value / of : null),
  });
  return { rows: rows.map(row), rest };
}

/** A row for each bucket, from the least numbers to the greatest. */
function histogram(counts, bounds) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (!all) return { rows: [] };
  const rows = counts.map((value, i) => ({
    name: i < bounds.length ? `≤ ${number(bounds[i])}` : `> ${number(bounds.at(-1))}`,
    value,
    text: number(value),
    more: percent(value / all),
  }));
  return { rows };
}

function List({ name, rows, rest }) {
  const most = Math.max(0, ...rows.map((row) => row.value)) || 1;
  const row = ({ name: of, value, text, more }) => html`<li key=${of}>
    <span class="rank-name">${of || 'none'}</span>
    <span class="step-bar" aria-hidden="true"><i class="here" style=${{ width: `${Math.max(0, (100 * value) / most).toFixed(2)}%` }} /></span>
    <b>${text}</b>
    <span class="rank-share">${more}</span>
  </li>`;
  return html`
    ${name ? html`<h3 class="rank-group">${name}</h3>` : null}
    <ol class="ranking">${rows.map(row)}</ol>
    ${rest ? html`<p class="note">and ${number(rest)} more</p>` : null}`;
}
