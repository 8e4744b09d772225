// The state of a topic as the browser keeps it, and how snapshots and diffs change it. Pure:
// no sockets, no page. Invariant: after every function the state is within its capacity, and
// the columns of a series are equally long and ascending in time.

/** Bound for topics that name none. */
const CAPACITY_DEFAULT = 3600;

const capacity = (d) => (Number.isInteger(d.cap) && d.cap > 0 ? d.cap : CAPACITY_DEFAULT);

/** The state a snapshot describes. */
export function fromSnapshot(kind, d) {
  switch (kind) {
    case 'map':
      return { values: { ...d } };
    case 'series': {
      const columns = (d.p ?? []).map((column) => column.slice());
      const state = { cap: capacity(d), columns: columns.length ? columns : [[]] };
      trimSeries(state);
      return state;
    }
    case 'grid': {
      const columns = (d.cols ?? []).map(([ts, values]) => [ts, values.slice()]);
      const state = { cap: capacity(d), rows: (d.rows ?? []).slice(), columns };
      trimGrid(state);
      return state;
    }
    case 'log': {
      const state = { cap: capacity(d), items: [], ids: new Set() };
      appendItems(state, d.items ?? []);
      return state;
    }
    default:
      return null;
  }
}

/** Applies one `diff` message to the state it is based on. */
export function applyDiff(kind, state, message) {
  if (kind === 'map') {
    Object.assign(state.values, message.set);
    for (const key of message.del ?? []) delete state.values[key];
  } else if (kind === 'series') {
    applySeries(state, message.v ?? []);
  } else if (kind === 'grid') {
    applyGrid(state, message);
  }
}

function applySeries(state, added) {
  const times = added[0] ?? [];
  while (state.columns.length < added.length) {
    state.columns.push(new Array(state.columns[0].length).fill(null));
  }
  for (let i = 0; i < times.length; i += 1) {
    const at = slotFor(state.columns[0], times[i]);
    const replace = state.columns[0][at] === times[i] ? 1 : 0;
    state.columns.forEach((column, c) => column.splice(at, replace, added[c]?.[i] ?? null));
  }
  trimSeries(state);
}

/** Index of `ts` in ascending `times`, or where it belongs. New points are at the end. */
function slotFor(times, ts) {
  let at = times.length;
  while (at > 0 && times[at - 1] >= ts) at -= 1;
  return at;
}

function trimSeries(state) {
  const excess = state.columns[0].length - state.cap;
  if (excess > 0) for (const column of state.columns) column.splice(0, excess);
}

function applyGrid(state, message) {
  state.rows.push(...(message.rows ?? []));
  for (const ts of message.ts ?? []) columnAt(state, ts);
  for (const [ts, row, value] of message.c ?? []) columnAt(state, ts)[1][row] = value;
  trimGrid(state);
}

function columnAt(state, ts) {
  let at = state.columns.length;
  while (at > 0 && state.columns[at - 1][0] >= ts) at -= 1;
  if (state.columns[at]?.[0] !== ts) state.columns.splice(at, 0, [ts, []]);
  return state.columns[at];
}

function trimGrid(state) {
  const excess = state.columns.length - state.cap;
  if (excess > 0) state.columns.splice(0, excess);
}

/** Adds log items in order of `n`, each id once; returns the new ones. */
export function appendItems(state, items) {
  const fresh = items.filter((item) => item && item.id != null && !state.ids.has(item.id));
  for (const item of fresh) {
    let at = state.items.length;
    while (at > 0 && state.items[at - 1].n > item.n) at -= 1;
    state.items.splice(at, 0, item);
    state.ids.add(item.id);
  }
  const excess = state.items.length - state.cap;
  if (excess > 0) for (const item of state.items.splice(0, excess)) state.ids.delete(item.id);
  return fresh;
}
