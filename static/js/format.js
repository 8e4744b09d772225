// Values to text, by the reader's locale. Nothing (null, NaN, undefined) is shown as a dash,
// never as zero.

import { prefs } from './prefs.js';

export const NONE = '–';

/** What holds everything beyond a metric's group_limit. */
export const OTHER_GROUPS = 'other groups';

const absent = (value) => value == null || typeof value !== 'number' || !Number.isFinite(value);

const wholeNumber = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const oneDecimal = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const twoDecimals = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const percentage = new Intl.NumberFormat(undefined, {
  style: 'percent',
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const shortNumber = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });

export const integer = (value) => (absent(value) ? NONE : wholeNumber.format(value));
export const percent = (value) => (absent(value) ? NONE : percentage.format(value));
export const compact = (value) => (absent(value) ? NONE : shortNumber.format(value));

/** A number with as many decimals as its size deserves. */
export function number(value) {
  if (absent(value)) return NONE;
  if (Number.isInteger(value) || Math.abs(value) >= 100) return wholeNumber.format(value);
  return (Math.abs(value) >= 10 ? oneDecimal : twoDecimals).format(value);
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** A number of bytes in the largest unit that leaves at least one of it. */
export function bytes(value) {
  if (absent(value)) return NONE;
  const power = Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(Math.max(1, value)) / 10));
  return `${number(value / 1024 ** power)} ${BYTE_UNITS[power]}`;
}

const moneyFormats = new Map();

function moneyFormat(currency, digits) {
  const key = `${currency} ${digits}`;
  if (!moneyFormats.has(key)) {
    let format = null;
    try {
      const options = { style: 'currency', currency, currencyDisplay: 'narrowSymbol' };
      if (digits === 0) options.maximumFractionDigits = 0;
      format = new Intl.NumberFormat(undefined, options);
    } catch {
      // Not a currency code: the unit is printed as it is.
    }
    moneyFormats.set(key, format);
  }
  return moneyFormats.get(key);
}

/** An amount; from ten thousand on without the cents. */
export function money(value, currency) {
  if (absent(value)) return NONE;
  const format = moneyFormat(currency ?? '', Math.abs(value) >= 10_000 ? 0 : 2);
  return format ? format.format(value) : `${number(value)} ${currency ?? ''}`.trim();
}

const isCurrency = (unit) => /^[A-Z]{3}$/.test(unit);

/** A value in the unit its topic names. */
export function inUnit(value, unit = '') {
  if (absent(value)) return NONE;
  if (unit === 'ratio') return percent(value);
  if (isCurrency(unit)) return money(value, unit);
  return unit ? `${number(value)} ${unit}` : number(value);
}

/** A short form for axis labels, all of one axis alike; `step` is the distance of two labels. */
export function axisLabel(value, unit, step) {
  if (unit === 'ratio') {
    const digits = step < 0.01 ? 1 : 0;
    return `${(value * 100).toFixed(digits)} %`;
  }
  const text = step >= 1 && Math.abs(value) < 10_000 ? wholeNumber.format(value) : null;
  return text ?? (step < 1 ? twoDecimals : step < 100 && Math.abs(value) >= 10_000 ? wholeNumber : shortNumber).format(value);
}

const timeFormats = new Map();

function timeFormat(options) {
  const key = JSON.stringify(options) + prefs.utc;
  if (!timeFormats.has(key)) {
    timeFormats.set(
      key,
      new Intl.DateTimeFormat(undefined, { ...options, hourCycle: 'h23', timeZone: prefs.utc ? 'UTC' : undefined }),
    );
  }
  return timeFormats.get(key);
}

/** `14:03:27` in the chosen zone. */
export function clock(ms) {
  return absent(ms) ? NONE : timeFormat({ hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);
}

/** `14:03` in the chosen zone. */
export function minute(ms) {
  return absent(ms) ? NONE : timeFormat({ hour: '2-digit', minute: '2-digit' }).format(ms);
}

/** Date and time in the chosen zone. */
export function moment(ms) {
  if (absent(ms)) return NONE;
  const options = { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' };
  return timeFormat(options).format(ms);
}

const DAY_MS = 86_400_000;

/** The time of day, with its date when that is not about today (a replay of old events). */
export function when(ms, now) {
  return !absent(ms) && Math.abs(now - ms) >= DAY_MS ? moment(ms) : clock(ms);
}

/** Short name of the chosen zone: `CET`, `UTC`. */
export function zoneName(ms) {
  const part = timeFormat({ timeZoneName: 'short' }).formatToParts(ms).find((p) => p.type === 'timeZoneName');
  return part ? part.value : '';
}

/** A span in words: `840 ms`, `5.2 s`, `4 min`, `2 h 10 min`. */
export function span(ms) {
  if (absent(ms)) return NONE;
  const size = Math.abs(ms);
  if (size < 1000) return `${Math.round(ms)} ms`;
  if (size < 60_000) return `${oneDecimal.format(ms / 1000)} s`;
  if (size < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  if (size < 172_800_000) return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
  return `${Math.floor(ms / 86_400_000)} days`;
}

/** How long ago: `12 s ago`. */
export function age(ms, now) {
  if (absent(ms)) return NONE;
  const passed = Math.max(0, now - ms);
  if (passed < 1500) return 'now';
  return passed < 60_000 ? `${Math.floor(passed / 1000)} s ago` : `${span(passed)} ago`;
}

/** A countdown: `0:25`, `29:59`, `1:04:10`. */
export function countdown(ms) {
  if (absent(ms)) return NONE;
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** A name from a configuration as words: `payment_initiated` becomes `Payment initiated`. */
export function words(name) {
  const text = String(name).replaceAll('_', ' ').trim();
  return text ? text[0].toUpperCase() + text.slice(1) : NONE;
}

/** A group's name as the server writes it (`eu\\|west|503`), as its labels for people. */
export function groupName(text) {
  const labels = [''];
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === '|') labels.push('');
    else labels[labels.length - 1] += text[i] === '\\' ? text[(i += 1)] ?? '' : text[i];
  }
  return labels.map((label) => label || 'none').join(' · ');
}

/** Of a metric that came later than the first event: since when it counts, in words. One that looks
 * back may have its first number ahead. */
export function since({ since: at, warming }) {
  if (at == null) return '';
  const now = Date.now();
  return `${warming ? 'warming up, ' : ''}${at > now ? 'numbers from' : 'counts since'} ${when(at, now)}`;
}
