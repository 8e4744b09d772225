// The frame around every panel: title, the window its numbers cover, a place for the value
// under the cursor, and a switch between the picture and the same numbers as a table.

import { element, setText } from './dom.js';
import { since, words } from './format.js';

let count = 0;

/**
 * A frame. `topics` are what it shows (the first names it), `span` its width in twelfths,
 * `table` whether it offers one.
 */
export function frame({ id, topics, title, span = 4, table = false, tall = false }) {
  count += 1;
  const titleId = `panel-title-${count}`;
  const name = element('h2', { id: titleId }, title ?? words(topics[0]));
  const window = element('span', { class: 'panel-window' });
  const readout = element('div', { class: 'panel-readout' });
  const body = element('div', { class: 'panel-body' });
  const tableBody = element('div', { class: 'panel-table', hidden: true, tabindex: '0', role: 'region', 'aria-labelledby': titleId });
  const tools = element('div', { class: 'panel-tools' }, readout);
  const root = element(
    'section',
    {
      class: `panel span-${span}${tall ? ' tall' : ''}`,
      'data-panel': id,
      'data-topic': topics[0],
      'aria-labelledby': titleId,
    },
    element('header', { class: 'panel-head' }, element('div', { class: 'panel-name' }, name, window), tools),
    body,
    tableBody,
  );
  const panel = { root, name, body, readout, tableBody, topics, tableShown: false, setTitle, setStale, onToggle: null };
  if (table) tools.append(tableSwitch(panel));

  /** Title and window, as the server names them, and what the numbers miss. */
  function setTitle(about = {}, words = about.window, missing = '') {
    if (!title && about.title) setText(name, about.title);
    setText(window, [words ?? '', since(about), about.note, missing].filter((part, i) => i === 0 || part).join(' · '));
  }

  function setStale(stale) {
    root.toggleAttribute('data-stale', Boolean(stale));
  }

  return panel;
}

function tableSwitch(panel) {
  const button = element('button', { type: 'button', class: 'tool', 'aria-pressed': 'false' }, 'Table');
  button.setAttribute('aria-label', 'Show as a table');
  button.addEventListener('click', () => {
    panel.tableShown = !panel.tableShown;
    button.setAttribute('aria-pressed', String(panel.tableShown));
    panel.root.classList.toggle('as-table', panel.tableShown);
    panel.body.inert = panel.tableShown;
    panel.tableBody.hidden = !panel.tableShown;
    panel.onToggle?.();
  });
  return button;
}

/** What stands where a picture would be while there is nothing to draw. */
export function placeholder() {
  return element('p', { class: 'placeholder' });
}

/** What the bodies of panels that show one topic have in common: its title, its age, its values. */
export class View {
  constructor(panel, store) {
    this.panel = panel;
    this.store = store;
    [this.topicName] = panel.topics;
  }

  /** The topic, if it is there; the panel says what it is, what it misses and whether it is old. */
  head() {
    const topic = this.store.topics.get(this.topicName);
    this.panel.setTitle(topic?.about, topic?.about?.window, this.store.late(this.topicName));
    this.panel.setStale(topic?.stale);
    return topic;
  }

  get values() {
    return this.store.values(this.topicName);
  }
}
