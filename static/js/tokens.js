// The style sheet's colours for what is painted on a canvas. The style sheet decides; this only
// asks the browser what a custom property amounts to in the current theme.

const cache = new Map();
const probe = document.createElement('span');
probe.hidden = true;

/** The computed colour of a custom property, e.g. `--series-1`. */
export function color(name) {
  let value = cache.get(name);
  if (value === undefined) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(${name})`;
    value = getComputedStyle(probe).color;
    cache.set(name, value);
  }
  return value;
}

/** The same colour with an opacity of `alpha`. */
export function faded(name, alpha) {
  const [r, g, b] = channels(color(name));
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

/** Red, green and blue of a computed colour. */
export function channels(text) {
  return text.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/** The page's typeface at the size of labels on a canvas. */
export function labelFont() {
  return `11px ${getComputedStyle(document.body).fontFamily}`;
}

/** To be called when the theme changed. */
export function forgetColors() {
  cache.clear();
}
