// What state the page is in, from what the store knows: one word for the body (tests and style
// go by it), a label, and the sentence of the banner if there is one.

import { clock, integer, span } from './format.js';
import { PIPELINE } from './pipeline.js';

/** What is on its way to being live: a label of its own. */
const LABELS = { replaying: 'Replaying', catching_up: 'Catching up' };

/** `{state, label, text, action}`; `text` is empty when nothing needs saying. */
export function pageState(store) {
  const { link } = store;
  if (link.phase === 'refused') {
    const text = `The server ended the connection: ${link.reason}.`;
    return { state: 'stale', label: 'Disconnected', text: text + frozen(store), action: 'reload' };
  }
  if (link.phase !== 'open') return unlinked(store);
  return stale(store) ?? linked(store);
}

function unlinked(store) {
  const { link } = store;
  if (!link.everOpen && link.attempt <= 1 && link.phase === 'connecting') {
    return { state: 'loading', label: 'Connecting', text: '' };
  }
  const wait = Math.max(0, Math.ceil((link.nextAt - Date.now()) / 1000));
  const next = link.phase === 'connecting' ? 'trying now' : `next try in ${wait} s`;
  const text = `No connection to the server. Attempt ${integer(link.attempt)}, ${next}.`;
  return { state: 'reconnecting', label: 'Reconnecting', text: text + frozen(store), action: 'retry' };
}

function known(store) {
  return Boolean(store.topics.get(PIPELINE)?.state || store.topics.get('kpi')?.state);
}

function frozen(store) {
  const since = store.link.frozenSince;
  return since ? ` Data frozen since ${clock(since)}.` : ' No data yet.';
}

function stale(store) {
  const values = store.values(PIPELINE);
  const told = store.stale;
  if (told) {
    const why = told.says || told.why.replaceAll('_', ' ') || 'the server does not say why';
    const since = told.since ? ` since ${clock(told.since)}` : '';
    const behind = values.lag_events ? ` ${integer(values.lag_events)} events are waiting.` : '';
    if (!known(store)) return { state: 'loading', label: 'Waiting', text: `No numbers so far: ${why}${store.reasons ? ` (${store.reasons})` : ''}.` };
    return { state: 'stale', label: LABELS[told.why] ?? 'Stale', text: `Numbers are old${since}: ${why}.${behind}` };
  }
  if (store.link.quietSince !== null) {
    const silent = span(store.now() - store.link.quietSince);
    return { state: 'stale', label: 'Stale', text: `Numbers are old: the connection is open, but the server has said nothing for ${silent}.` };
  }
  return null;
}

function linked(store) {
  const pipeline = store.topics.get(PIPELINE);
  const values = store.values(PIPELINE);
  if (!known(store)) return { state: 'loading', label: 'Loading', text: '' };
  if (pipeline?.state && !values.received) return { state: 'empty', label: 'No events yet', text: '' };
  return { state: 'live', label: LABELS[values.state] ?? 'Live', text: '' };
}
