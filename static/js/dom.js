// The one file that knows where the vendored libraries are, and small helpers for building
// elements. Text always enters the page as text nodes: nothing here parses markup.

export { h, html, render, useEffect, useRef, useState } from '../vendor/htm-3.1.1/standalone.module.js';

/** uPlot comes as a classic script, loaded before the modules run. */
export const uPlot = globalThis.uPlot;

/** An element with attributes, and children that are elements or text. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children);
  return node;
}

/** Sets an element's text only when it differs, so that an idle tick touches no layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
