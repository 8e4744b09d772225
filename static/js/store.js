// Everything the page knows: the topics, and how the link to the server is. Written by the
// client, read by the panels. Holds no more than the topics' own capacities.

import { integer, since } from './format.js';

/** One topic the page follows. */
class Topic {
  name;
  kind = '';
  /** Title, unit, window, columns, step_ms, note. */
  about = {};
  incarnation = null;
  n = null;
  /** Wall clock of the server at the last change. */
  at = null;
  /** Event time up to which the numbers are complete. */
  watermark = null;
  state = null;
  /** The server has no such topic. */
  absent = false;
  /** `{since, why, says}` while the server calls this topic stale. */
  stale = null;

  /** Why there are no numbers yet, in the server's words. */
  reasons = '';

  constructor(name) {
    this.name = name;
  }
}

export class Store {
  topics = new Map();

  /**
   * The link: `phase` is `connecting`, `open`, `waiting` (for the next attempt) or `refused`
   * (the server said not to come back).
   */
  link = {
    phase: 'connecting',
    attempt: 0,
    nextAt: 0,
    everOpen: false,
    frozenSince: null,
    reason: '',
    quietSince: null,
  };

  /** `{since, why, says}` while the server calls everything stale. */
  stale = null;

  /** Server clock minus ours, in ms. */
  offset = 0;

  /** Log items that arrived after the page had its first snapshot. */
  arrived = 0;

  #listeners = [];

  /** Calls `listener(name)` when a topic changes, `listener(null)` when the link does. */
  listen(listener) {
    this.#listeners.push(listener);
  }

  changed(name) {
    for (const listener of this.#listeners) listener(name);
  }

  topic(name) {
    let topic = this.topics.get(name);
    if (!topic) {
      topic = new Topic(name);
      this.topics.set(name, topic);
    }
    return topic;
  }

  /** The values of a map topic, empty before the first snapshot. */
  values(name) {
    return this.topics.get(name)?.state?.values ?? {};
  }

  /** What a metric's numbers miss because it came too late, in words; empty when nothing. */
  late(name) {
    const late = this.values('pipeline').late_by_metric?.[name];
    if (!late?.windows) return '';
    const whole = late.all_windows ? `, ${integer(late.all_windows)} of them counted in none` : '';
    return `${integer(late.windows)} came after a window of theirs was final${whole}`;
  }

  /** The server's wall clock, in ms. */
  now() {
    return Date.now() + this.offset;
  }

  /** The window a topic covers, in words. */
  window(name) {
    const about = this.topics.get(name)?.about;
    if (!about) return '';
    return about.warming ? `${about.window} · ${since(about)}` : about.window;
  }

  /** First and last time over all series, or null without any point. */
  extent() {
    let first = Infinity;
    let last = -Infinity;
    for (const topic of this.topics.values()) {
      const times = topic.kind === 'series' ? topic.state?.columns[0] : null;
      if (!times?.length) continue;
      first = Math.min(first, times[0]);
      last = Math.max(last, times[times.length - 1]);
    }
    return last === -Infinity ? null : { first, last };
  }
}
