// The websocket client of `tidewatch.v1`: one hello with all subscriptions, snapshots, diffs
// that fit or a new subscription, and reconnecting. Knows the store, not the page.

import { appendItems, applyDiff, fromSnapshot } from './topics.js';

const PROTOCOL = 'tidewatch.v1';
/** A socket that has not opened and welcomed us by then is given up. */
const OPENING_MS_MAX = 5_000;
/** The first attempt after a loss comes at once, spread a little. */
const RETRY_FIRST_MS_MAX = 500;
const RETRY_STEP_MS = 500;
const RETRY_MS_MAX = 10_000;
/** A connection that lasted this long starts the back-off anew. */
const HEALTHY_MS = 5_000;
/** Used until `welcome` names its own. */
const PING_MS_DEFAULT = 10_000;
const IDLE_MS_DEFAULT = 25_000;
/** How late a ping may be before the numbers are called old. */
const PING_GRACE_MS = 2_500;
/** Close codes from here on mean: do not come back. */
const CODE_FINAL = 4500;
/** Least time between two new subscriptions to one topic. */
const RESUBSCRIBE_MS = 1_000;
/** How often the server is asked why there are no numbers yet. */
const WHY_MS = 3_000;
/** Most log items fetched at once to fill a gap. */
const GAP_LIMIT = 500;
/** The server's bound on subscriptions of one connection. */
const SUBSCRIPTIONS_MAX = 64;

const CLOSE_WORDS = {
  4500: 'the token was not accepted',
  4501: 'the server did not understand this page',
  4502: 'this page and the server speak different versions; reload the page',
  4503: 'access was refused',
  4504: 'too many connections',
  4505: 'the greeting came too late',
  4506: 'a message was too large',
  4507: 'this origin is not allowed',
};

export class Client {
  #store;
  #names;
  #url;
  #socket = null;
  #welcomed = false;
  #openedAt = 0;
  #heardAt = 0;
  #ping = PING_MS_DEFAULT;
  #idle = IDLE_MS_DEFAULT;
  #failures = 0;
  #retry = 0;
  #nextId = 1;
  /** Request id to topic name, until `ok` or `err`. */
  #asked = new Map();
  #whyTimer;
  /** Subscription number to topic name. */
  #subs = new Map();
  #resubscribedAt = new Map();
  /** Log position up to which gaps were asked for since the last snapshot. */
  #filledTo = 0;

  constructor(store, names) {
    this.#store = store;
    this.#names = new Set(names);
    this.#url = new URL('v1/ws', document.baseURI);
    this.#url.protocol = this.#url.protocol === 'https:' ? 'wss:' : 'ws:';
  }

  start() {
    this.#connect();
    setInterval(() => this.#watch(), 1_000);
    const hurry = () => {
      if (this.#store.link.phase === 'waiting' && document.visibilityState === 'visible') this.retryNow();
    };
    addEventListener('online', hurry);
    document.addEventListener('visibilitychange', hurry);
  }

  /** Follows one more topic. */
  follow(name) {
    if (this.#names.has(name)) {
      if (!this.#store.topic(name).absent) return;
    } else if (this.#names.size >= SUBSCRIPTIONS_MAX) return;
    this.#names.add(name);
    if (this.#welcomed) this.#send(this.#subscription(name));
  }

  /** Connects now instead of waiting for the next attempt. */
  retryNow() {
    clearTimeout(this.#retry);
    this.#connect();
  }

  #connect() {
    this.#drop();
    const { link } = this.#store;
    link.phase = 'connecting';
    link.attempt += 1;
    this.#openedAt = performance.now();
    this.#store.changed(null);
    const socket = new WebSocket(this.#url, PROTOCOL);
    this.#socket = socket;
    socket.onopen = () => {
      const subs = [...this.#names].map((name) => this.#subscription(name));
      for (const sub of subs) delete sub.t;
      this.#send({ t: 'hello', v: [1], id: this.#nextId++, name: 'page', ver: '1', caps: [], subs });
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#lost(event.code, event.reason);
    };
  }

  /** Forgets the current socket without hearing from it again. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#welcomed = false;
    this.#asked.clear();
    this.#subs.clear();
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close();
  }

  #lost(code, reason, after = 0) {
    const { link } = this.#store;
    const lasted = this.#welcomed ? performance.now() - this.#openedAt : 0;
    if (this.#welcomed) link.frozenSince = this.#store.now();
    if (lasted > HEALTHY_MS) this.#failures = 0;
    this.#drop();
    this.#store.stale = null;
    link.quietSince = null;
    if (code >= CODE_FINAL && code < 5000) {
      link.phase = 'refused';
      link.reason = CLOSE_WORDS[code] ?? `code ${code} ${reason}`.trim();
    } else {
      const bound = Math.min(RETRY_MS_MAX, RETRY_STEP_MS * 2 ** this.#failures);
      const wait = after || Math.random() * (this.#failures ? bound : RETRY_FIRST_MS_MAX);
      this.#failures += 1;
      link.phase = 'waiting';
      link.nextAt = Date.now() + wait;
      this.#retry = setTimeout(() => this.#connect(), wait);
    }
    this.#store.changed(null);
  }

  /** Once a second: is anybody there? */
  #watch() {
    const { link } = this.#store;
    const now = performance.now();
    if (!this.#welcomed) {
      const opening = link.phase === 'connecting' && now - this.#openedAt > OPENING_MS_MAX;
      if (opening) this.#lost(0, 'no answer');
      return;
    }
    const silence = now - this.#heardAt;
    if (silence > this.#idle) this.#lost(0, 'silence');
    else this.#setQuiet(silence > this.#ping + PING_GRACE_MS ? this.#store.now() - silence : null);
  }

  #setQuiet(since) {
    const { link } = this.#store;
    if ((since === null) === (link.quietSince === null)) return;
    link.quietSince = since;
    this.#store.changed(null);
  }

  #subscription(name) {
    const id = this.#nextId++;
    this.#asked.set(id, name);
    return { t: 'sub', id, topic: name };
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(data) {
    let messages;
    try {
      messages = JSON.parse(data);
    } catch {
      return; // Not ours; the next frame will do.
    }
    this.#heardAt = performance.now();
    this.#setQuiet(null);
    for (const message of Array.isArray(messages) ? messages : [messages]) this.#handle(message);
  }

  #handle(message) {
    switch (message?.t) {
      case 'welcome':
        return this.#onWelcome(message);
      case 'ok':
        return this.#onOk(message);
      case 'err':
        return this.#onErr(message);
      case 'snap':
        return this.#onSnap(message);
      case 'diff':
        return this.#onDiff(message);
      case 'ev':
        return this.#onItems(message);
      case 'gap':
        return void this.#fill(this.#subs.get(message.s), message.from, message.to);
      case 'stale':
        return this.#onStale(message);
      case 'ping':
        return this.#send({ t: 'pong', i: message.i });
      case 'end':
        return this.#onEnd(message);
      case 'bye':
        return this.#onBye(message);
      default: // Unknown types are ignored: the protocol may grow.
    }
  }

  #onWelcome(message) {
    const { link } = this.#store;
    this.#welcomed = true;
    this.#openedAt = performance.now();
    this.#ping = message.ping ?? PING_MS_DEFAULT;
    this.#idle = message.idle ?? IDLE_MS_DEFAULT;
    this.#store.offset = Number.isFinite(message.now) ? message.now - Date.now() : 0;
    this.#store.stale = null;
    for (const topic of this.#store.topics.values()) topic.stale = null;
    Object.assign(link, { phase: 'open', attempt: 0, everOpen: true, frozenSince: null, reason: '' });
    this.#store.changed(null);
  }

  #onOk(message) {
    const name = this.#asked.get(message.id);
    if (name === undefined) return;
    this.#asked.delete(message.id);
    this.#subs.set(message.s, name);
    const topic = this.#store.topic(name);
    topic.kind = message.kind;
    topic.about = message.schema ?? {};
    topic.absent = false;
    this.#store.changed(name);
  }

  #onErr(message) {
    const name = this.#asked.get(message.id);
    if (name === undefined) return;
    this.#asked.delete(message.id);
    if (message.temp) {
      setTimeout(() => this.#resubscribe(name), Math.max(RESUBSCRIBE_MS, message.after ?? 0));
      return;
    }
    this.#store.topic(name).absent = true;
    this.#store.changed(name);
  }

  #onSnap(message) {
    const name = this.#subs.get(message.s);
    if (name === undefined) return;
    const topic = this.#store.topic(name);
    const known = topic.kind === 'log' ? topic.state?.ids : null;
    if (message.schema) topic.about = message.schema;
    topic.state = fromSnapshot(topic.kind, message.d ?? {});
    if (known && topic.state) this.#count(topic.state.items.filter((item) => !known.has(item.id)));
    topic.incarnation = message.e;
    if (topic.kind === 'log') this.#filledTo = 0;
    this.#moved(topic, message);
  }

  #onDiff(message) {
    const name = this.#subs.get(message.s);
    if (name === undefined) return;
    const topic = this.#store.topic(name);
    if (!topic.state || topic.n !== message.b) {
      this.#subs.delete(message.s);
      this.#send({ t: 'unsub', id: this.#nextId++, s: message.s });
      this.#resubscribe(name);
      return;
    }
    applyDiff(topic.kind, topic.state, message);
    this.#moved(topic, message);
  }

  /** Log items; missing positions in between are fetched. */
  #onItems(message) {
    const name = this.#subs.get(message.s);
    const topic = name === undefined ? null : this.#store.topic(name);
    if (!topic?.state?.items || !message.items?.length) return;
    const held = topic.state.items.at(-1)?.n;
    const first = message.items[0].n;
    this.#count(appendItems(topic.state, message.items));
    if (held !== undefined && first > held + 1) this.#fill(name, held + 1, first - 1);
    this.#moved(topic, message);
  }

  async #fill(name, from, to) {
    if (name !== 'alerts' || !(to >= from) || to <= this.#filledTo) return;
    this.#filledTo = to;
    const url = new URL('v1/alerts', document.baseURI);
    url.searchParams.set('after', String(from - 1));
    url.searchParams.set('limit', String(Math.min(GAP_LIMIT, to - from + 1)));
    try {
      const { items } = await (await fetch(url)).json();
      const { state } = this.#store.topic(name);
      if (state) this.#count(appendItems(state, items.filter((item) => item.n <= to)));
      this.#store.changed(name);
    } catch {
      // Unreachable just now: the next snapshot carries the items.
    }
  }

  #count(items) {
    this.#store.arrived += items.length;
  }

  #moved(topic, message) {
    topic.n = message.n;
    // In a grid's diff `ts` lists its new columns instead.
    if (typeof message.ts === 'number') topic.at = message.ts;
    topic.watermark = message.wm ?? topic.watermark;
    this.#store.changed(topic.name);
  }

  #onStale(message) {
    const { since = null, why = '', says = '' } = message;
    const stale = message.on ? { since, why: String(why), says: String(says) } : null;
    if (message.s === '*' || message.s == null) this.#store.stale = stale;
    else if (this.#subs.has(message.s)) this.#store.topic(this.#subs.get(message.s)).stale = stale;
    this.#store.changed(null);
    this.#askWhy();
  }

  /** While there are no numbers at all: what the server says of it, asked again and again. */
  async #askWhy() {
    clearTimeout(this.#whyTimer);
    const store = this.#store;
    const shown = [...store.topics.values()].some((topic) => topic.state);
    if (!store.stale || shown || store.link.phase !== 'open') {
      store.reasons = '';
      return;
    }
    try {
      const { reasons } = await (await fetch(new URL('readyz', document.baseURI))).json();
      store.reasons = Object.values(reasons ?? {}).join('; ');
      store.changed(null);
    } catch {
      // Unreachable just now: the link says so.
    }
    this.#whyTimer = setTimeout(() => this.#askWhy(), WHY_MS);
  }

  #onEnd(message) {
    const name = this.#subs.get(message.s);
    this.#subs.delete(message.s);
    if (name !== undefined && message.retry) this.#resubscribe(name);
  }

  /** The server is about to close: leave first, and come back when it says. */
  #onBye(message) {
    if (message.retry === false) this.#lost(Math.max(CODE_FINAL, message.code ?? 0), message.msg ?? '');
    else this.#lost(message.code ?? 0, message.msg ?? '', message.after ?? 0);
  }

  #resubscribe(name) {
    const now = performance.now();
    const wait = Math.max(0, (this.#resubscribedAt.get(name) ?? -Infinity) + RESUBSCRIBE_MS - now);
    this.#resubscribedAt.set(name, now + wait);
    const socket = this.#socket;
    setTimeout(() => {
      if (this.#socket === socket && this.#welcomed) this.#send(this.#subscription(name));
    }, wait);
  }
}
