// What a new installation shows: that everything works, and how to publish the first event.

import { html, render } from './dom.js';

const COPIED_MS = 2_000;

export class Start {
  #root;
  #copied = false;

  constructor(root) {
    this.#root = root;
  }

  draw() {
    const empty = document.body.dataset.state === 'empty';
    this.#root.hidden = !empty;
    if (empty) render(this.#view(), this.#root);
  }

  #view() {
    const text = command();
    return html`<section class="start" aria-labelledby="start-title">
      <div>
        <h2 id="start-title">No events yet</h2>
        <p>The server is up and this page is connected. Publish an event, and the numbers below begin to move within a second:</p>
      </div>
      <div class="command">
        <pre tabindex="0" aria-label="Command"><code>${text}</code></pre>
        <button type="button" class="control" onClick=${() => this.#copy(text)}>${this.#copied ? 'Copied' : 'Copy'}</button>
      </div>
      <p class="muted">A session opens for <code>ada</code> with 49.90 at stake. Send a <code>payment_completed</code> with the same user to convert it, or wait for the session to close and see the alert. <code>tidewatch demo</code> starts a whole shop instead.</p>
    </section>`;
  }

  async #copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      select(this.#root.querySelector('code'));
      return; // No clipboard without a secure origin: the text is selected for copying by hand.
    }
    this.#copied = true;
    this.draw();
    setTimeout(() => {
      this.#copied = false;
      this.draw();
    }, COPIED_MS);
  }
}

/** Publishes one event to the server this page came from. */
function command() {
  const url = new URL('v1/events', document.baseURI);
  const event = `{"id":"'$(date +%s)'","ts":"'$(date -u +%FT%TZ)'","type":"cart_add","user":"ada","amount":49.9}`;
  return `curl -X POST ${url} \\\n  -H 'Content-Type: application/json' \\\n  -d '${event}'`;
}

function select(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}
