// What a person chose: theme, zone, how far back the charts reach, and their name. Remembered in this
// browser. Everything else about the page follows from the server.

const PREFIX = 'tidewatch.';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How far back charts can reach. */
const LADDER = [
  { ms: 5 * MINUTE, label: '5 min' },
  { ms: 15 * MINUTE, label: '15 min' },
  { ms: HOUR, label: '1 h' },
  { ms: 6 * HOUR, label: '6 h' },
  { ms: DAY, label: '1 d' },
  { ms: 7 * DAY, label: '7 d' },
  { ms: 30 * DAY, label: '30 d' },
];
/** How many of them there is a choice of. */
const CHOICE = 3;
/** Points that the shortest of them shows at least. */
const POINTS_MIN = 20;

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

/** The current choices; change them through the functions below. */
export const prefs = {
  ranges: LADDER.slice(0, CHOICE),
  range: LADDER[0].ms,
  utc: recall('zone') === 'utc',
  /** Who says what is said to incidents. */
  who: recall('who') ?? '',
};

/** Offers the ranges that suit lines with a point every `step` ms: what was chosen, or the shortest. */
export function fitRanges(step) {
  const fits = LADDER.findIndex(({ ms }) => ms >= POINTS_MIN * step);
  const first = fits < 0 ? LADDER.length : fits;
  prefs.ranges = LADDER.slice(Math.min(first, LADDER.length - CHOICE)).slice(0, CHOICE);
  const chosen = Number(recall('range'));
  prefs.range = prefs.ranges.some(({ ms }) => ms === chosen) ? chosen : prefs.ranges[0].ms;
}
fitRanges(0);

export function setWho(who) {
  prefs.who = who;
  remember('who', who);
}

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
