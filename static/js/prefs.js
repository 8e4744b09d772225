// What a person chose: theme, zone, and how far back the charts reach. Remembered in this
// browser. Everything else about the page follows from the server.

const PREFIX = 'tidewatch.';

/** How far back the charts can reach. */
export const RANGES = [
  { ms: 5 * 60_000, label: '5 min' },
  { ms: 15 * 60_000, label: '15 min' },
  { ms: 60 * 60_000, label: '1 h' },
];

function recall(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null; // Storage may be forbidden.
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // The choice then lasts as long as the page.
  }
}

const range = Number(recall('range'));

/** The current choices; change them through the functions below. */
export const prefs = {
  range: RANGES.some((r) => r.ms === range) ? range : RANGES[0].ms,
  utc: recall('zone') === 'utc',
};

export function setRange(ms) {
  prefs.range = ms;
  remember('range', String(ms));
}

export function setUtc(utc) {
  prefs.utc = utc;
  remember('zone', utc ? 'utc' : 'local');
}

const dark = matchMedia('(prefers-color-scheme: dark)');

/** `light` or `dark`, whichever is in effect. */
export function theme() {
  return document.documentElement.dataset.theme ?? (dark.matches ? 'dark' : 'light');
}

export function toggleTheme() {
  const next = theme() === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  remember('theme', next);
}

/** Calls back when the system's colour scheme changes. */
export function onSystemTheme(callback) {
  dark.addEventListener('change', callback);
}
