// What people say to an incident: that they take care of it, that they want to hear nothing of it for a
// while, or that nobody shall hear of anything like it. It counts once the server has answered.

import { html } from './dom.js';
import { prefs, setWho } from './prefs.js';

const SPANS = [
  { value: '30m', label: '30 minutes' },
  { value: '2h', label: '2 hours' },
  { value: '8h', label: '8 hours' },
  { value: '24h', label: '24 hours' },
];

const BY = { name: 'by', label: 'Your name', max: 200, required: true };
const FOR = { name: 'for', label: 'For', options: SPANS };

/** What can be said: where it goes, and which fields it has. */
const KINDS = {
  acknowledge: {
    label: 'Acknowledge',
    path: (id) => `v1/incidents/${id}/acknowledge`,
    fields: [BY, { name: 'note', label: 'Note (may be empty)', max: 2_000, wide: true }],
    done: 'Acknowledged.',
  },
  snooze: {
    label: 'Snooze',
    path: (id) => `v1/incidents/${id}/snooze`,
    fields: [FOR, BY],
    done: 'Snoozed.',
  },
  silence: {
    label: 'Silence\u2026',
    send: 'Silence',
    path: () => 'v1/silences',
    fields: [
      { name: 'matching', label: 'Everything that meets', max: 2_000, wide: true, required: true },
      FOR,
      { name: 'reason', label: 'Reason', max: 2_000, wide: true, required: true },
      BY,
    ],
    done: 'Silenced.',
  },
};

export class IncidentForm {
  #redraw;
  #done;
  /** The one that is open: `{id, kind, values, busy, failed}`. */
  #open = null;

  /** `redraw()` shows what changed here; `done(id, says)` is called when something was said. */
  constructor({ redraw, done }) {
    this.#redraw = redraw;
    this.#done = done;
  }

  /** The buttons of an incident, and its form if that is open. */
  draw(incident) {
    const { id, title, phase } = incident;
    const open = this.#open?.id === id ? this.#open : null;
    const kinds = Object.keys(KINDS).filter((kind) => kind !== 'acknowledge' || phase !== 'acknowledged' || open?.kind === kind);
    return html`<div class="incident-actions" role="group" aria-label=${`Say about ${title}`}>
        ${kinds.map((kind) => html`<button type="button" key=${kind} class="tool" data-say=${kind} aria-expanded=${String(open?.kind === kind)}
          onClick=${() => this.#toggle(incident, kind)}>${KINDS[kind].label}</button>`)}
      </div>
      ${open ? this.#formOf(open, title) : null}`;
  }

  async #toggle(incident, kind) {
    const { id } = incident;
    if (this.#open?.id === id && this.#open.kind === kind) return this.#close();
    const open = { id, kind, values: { by: prefs.who, for: SPANS[1].value }, busy: false, failed: '' };
    this.#open = open;
    if (kind === 'silence') {
      open.busy = true;
      this.#redraw();
      open.values.matching = await matching(incident);
      open.busy = false;
    }
    if (this.#open !== open) return undefined;
    this.#redraw();
    const form = document.getElementById(formId(id));
    const empty = [...(form?.elements ?? [])].find((field) => field.required && !field.value);
    (empty ?? form?.querySelector('input, select'))?.focus();
    return undefined;
  }

  #close() {
    const { id, kind } = this.#open;
    this.#open = null;
    this.#redraw();
    document.getElementById(id)?.querySelector(`[data-say="${kind}"]`)?.focus();
  }

  #formOf(open, title) {
    const kind = KINDS[open.kind];
    const keys = (event) => {
      if (event.key === 'Escape') this.#close();
    };
    return html`<form id=${formId(open.id)} class="incident-form" aria-label=${`${kind.send ?? kind.label} ${title}`} onSubmit=${(event) => this.#send(event, open)} onKeyDown=${keys}>
      ${kind.fields.map((field) => this.#field(open, field))}
      <button type="submit" class="control" disabled=${open.busy}>${kind.send ?? kind.label}</button>
      <button type="button" class="tool" onClick=${() => this.#close()}>Cancel</button>
      ${open.failed ? html`<p role="alert">${open.failed}</p>` : null}
    </form>`;
  }

  #field(open, { name, label, options, max, required, wide }) {
    const value = open.values[name] ?? '';
    const changed = (event) => {
      open.values[name] = event.target.value;
    };
    return html`<label key=${name} class=${wide ? 'wide' : ''}>${label}
      ${options
        ? html`<select name=${name} value=${value} onChange=${changed}>${options.map((one) => html`<option key=${one.value} value=${one.value}>${one.label}</option>`)}</select>`
        : html`<input name=${name} value=${value} maxlength=${max} required=${required} autocomplete=${name === 'by' ? 'name' : 'off'} onInput=${changed} />`}
    </label>`;
  }

  async #send(event, open) {
    event.preventDefault();
    if (open.busy) return;
    const { path, fields, done } = KINDS[open.kind];
    const body = Object.fromEntries(fields.map(({ name }) => [name, (open.values[name] ?? '').trim()]));
    setWho(body.by);
    [open.busy, open.failed] = [true, ''];
    this.#redraw();
    open.failed = await post(path(open.id), body);
    open.busy = false;
    if (open.failed) return void this.#redraw();
    if (this.#open === open) this.#open = null;
    this.#redraw();
    this.#done(open.id, done);
  }
}

/** Says something to the server; why it did not work, or nothing. */
async function post(path, body) {
  try {
    const response = await fetch(new URL(path, document.baseURI), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify(body),
    });
    if (response.ok) return '';
    const problem = await response.json().catch(() => ({}));
    return problem.detail ?? `The server answered ${response.status}.`;
  } catch {
    return 'The server cannot be reached.';
  }
}

/** A condition that this incident meets: its rule and its labels, which the board may have shortened. */
async function matching({ id, rule, group }) {
  let whole = group;
  try {
    const response = await fetch(new URL(`v1/incidents/${id}`, document.baseURI));
    if (response.ok) whole = (await response.json()).group;
  } catch {
    // What the board has is a beginning, and can be changed.
  }
  const labels = Object.entries(whole ?? {}).map(([name, value]) => `${name} == ${JSON.stringify(value)}`);
  return [`rule == ${JSON.stringify(rule)}`, ...labels].join(' && ');
}

function formId(id) {
  return `say-${id}`;
}
