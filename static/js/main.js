// The composition root of the page: which panels there are, what feeds them, and the one clock
// that makes ages and countdowns move.

import { AT_RISK, AtRisk } from './at-risk.js';
import { Alerts } from './alerts.js';
import { Bar } from './bar.js';
import { Chart } from './chart.js';
import { Client } from './client.js';
import { Drawer } from './drawer.js';
import { Drawing } from './drawing.js';
import { Funnel } from './funnel.js';
import { Heatmap } from './heatmap.js';
import { INCIDENTS, Incidents } from './incidents.js';
import { NUDGES, Nudges } from './nudges.js';
import { Kind } from './kind.js';
import { Kpis, kpiTopics } from './kpis.js';
import { PIPELINE, Pipeline } from './pipeline.js';
import { Ranking } from './ranking.js';
import { Start } from './start.js';
import { Steps } from './steps.js';
import { Store } from './store.js';
import { forgetColors } from './tokens.js';
import { frame } from './panel.js';
import { fitRanges, onSystemTheme } from './prefs.js';

/** The panels in reading order. Topics the server lacks hide their panel. */
const PANELS = [
  { id: 'incidents', type: 'incidents', topics: [INCIDENTS], title: 'Incidents', span: 12 },
  { id: 'abandonment', type: 'chart', topics: ['abandonment_rate'], span: 8 },
  { id: 'alerts', type: 'alerts', topics: ['alerts'], title: 'Alerts', span: 4, tall: true },
  { id: 'steps', type: 'steps', topics: ['sessions_by_step'], span: 4 },
  { id: 'visitors', type: 'chart', topics: ['unique_visitors'], span: 4 },
  { id: 'at-risk', type: 'atRisk', topics: [AT_RISK], span: 12 },
  { id: 'nudges', type: 'nudges', topics: [NUDGES], title: 'Nudges', span: 12 },
  { id: 'errors', type: 'heatmap', topics: ['errors_by_region_status'], span: 8 },
  { id: 'payments', type: 'chart', topics: ['failed_payments_spike', 'failed_payments'], span: 4 },
  { id: 'pipeline', type: 'pipeline', topics: [PIPELINE], title: 'Pipeline', span: 12 },
  { id: 'revenue', type: 'chart', topics: ['revenue'], span: 4 },
  { id: 'orders', type: 'chart', topics: ['order_value'], span: 4 },
  { id: 'events', type: 'chart', topics: ['event_rate'], span: 4 },
];

/** Where this panel has a topic, a shop is what the page is about. */
const SHOP = PANELS.find(({ id }) => id === 'abandonment');

/** Further topics of a configuration get the panel that they are made for, or one by their kind. */
const TYPE_OF_KIND = { series: 'chart', grid: 'heatmap', map: 'ranking' };
/** What the metrics of a funnel are called behind its name: its panel shows them. */
const OF_FUNNELS = ['_reached', '_left', '_step_s', '_reached_by', '_left_by', '_step_s_by'];
/** Width of panels that are wider than others. */
const SPANS = { heatmap: 8, funnel: 8 };
/** The order of further panels by their type; those that are not here come before. */
const FIRST = ['chart', 'heatmap', 'ranking'];
/** Most panels for further topics. */
const FURTHER_MAX = 24;

const store = new Store();
const drawing = new Drawing();
const byId = (id) => document.getElementById(id);
const drawer = new Drawer(byId('drawer'), store);
const frames = new Set();
/** What was found besides `PANELS`: name of a topic to the type of its panel, and the panel. */
const found = new Map();
let alerts = null;
let incidents = null;

function restyle() {
  forgetColors();
  drawing.all();
}

const bar = new Bar({
  root: byId('bar'),
  banner: byId('banner'),
  store,
  drawing,
  lookUp: (key) => drawer.session(key),
  restyle,
});

/** What shows ages or countdowns. */
const TICKS = new Set(['alerts', 'incidents', 'atRisk', 'pipeline', 'sessions']);

/** What a panel of each type is made of. */
const MAKE = {
  chart: (panel) => new Chart(panel, store),
  heatmap: (panel) => new Heatmap(panel, store),
  steps: (panel) => new Steps(panel, store),
  funnel: (panel) => new Funnel(panel, store),
  sessions: (panel) => new Kind(panel, store, { open: (key) => drawer.session(key) }),
  ranking: (panel) => new Ranking(panel, store),
  pipeline: (panel) => new Pipeline(panel, store, { openList: (name) => drawer.list(name) }),
  atRisk: (panel) => new AtRisk(panel, store, { open: (key) => drawer.session(key) }),
  incidents: (panel) => {
    incidents = new Incidents(panel, store, { open: (id) => drawer.incident(id), announcer: byId('announcer') });
    return incidents;
  },
  nudges: (panel) => new Nudges(panel, store),
  alerts: (panel) => {
    alerts = new Alerts(panel, store, { open: (alert) => drawer.alert(alert), announcer: byId('announcer') });
    return alerts;
  },
};

/** Adds a panel, before another one or as the last. */
function addPanel(spec, next = null) {
  const panel = frame({ ...spec, table: spec.type === 'chart' || spec.type === 'heatmap' });
  byId('grid').insertBefore(panel.root, next);
  const view = MAKE[spec.type](panel);
  const ticks = TICKS.has(spec.type);
  drawing.add(panel.root, { topics: spec.topics, draw: () => view.draw(), ticks });
  frames.add(panel);
  return panel;
}

function removePanel(panel) {
  panel.root.remove();
  drawing.remove(panel.root);
  frames.delete(panel);
}

/** Hides the panels whose topics the server does not have. */
function showPresent() {
  for (const panel of frames) {
    const gone = panel.topics.every((name) => store.topics.get(name)?.absent);
    if (panel.root.hidden !== gone) panel.root.hidden = gone;
  }
}

/** Panels for the topics that only this configuration has. */
async function discover() {
  let topics;
  try {
    topics = await (await fetch(new URL('v1/topics', document.baseURI))).json();
  } catch {
    return; // Without the list the built-in panels still work.
  }
  const own = new Set([...kpiTopics, ...PANELS.flatMap((panel) => panel.topics)]);
  const funnels = topics.filter(({ panel }) => panel === 'funnel');
  const shown = new Set(funnels.flatMap(({ name }) => OF_FUNNELS.map((of) => `${name}${of}`)));
  const typeOf = ({ kind, panel }) => (panel in MAKE ? panel : TYPE_OF_KIND[kind]);
  // Where no shop is, what the configuration asks for comes first, its lines before its grids.
  const shop = topics.some(({ name }) => name === SHOP.topics[0]);
  const next = byId('grid').querySelector(`[data-panel="${shop ? 'at-risk' : SHOP.id}"]`);
  const further = topics.filter((topic) => !own.has(topic.name) && !shown.has(topic.name) && typeOf(topic));
  further.sort((a, b) => FIRST.indexOf(typeOf(a)) - FIRST.indexOf(typeOf(b)));
  kpis.follow(shop, further);
  const steps = topics.map(({ step_ms: step }) => step).filter((step) => step > 0);
  if (steps.length) fitRanges(Math.min(...steps));
  drawing.all();
  for (const topic of further.slice(0, FURTHER_MAX)) {
    const [name, type] = [topic.name, typeOf(topic)];
    const former = found.get(name);
    if (former?.type === type) continue;
    if (former) removePanel(former.panel);
    found.set(name, { type, panel: addPanel({ id: name, type, topics: [name], span: SPANS[type] ?? 4 }, next) });
  }
  const wanted = [...own, ...found.keys()];
  for (const { name } of topics) if (wanted.includes(name)) client.follow(name);
}

function followed() {
  return [...new Set([...kpiTopics, ...PANELS.flatMap((panel) => panel.topics)])];
}

const kpis = new Kpis(byId('kpis'), store);
const start = new Start(byId('start'));
const client = new Client(store, followed());
bar.onRetry = () => client.retryNow();

drawing.add(byId('bar'), { topics: [null, PIPELINE], draw: () => bar.draw(), ticks: true, always: true });
drawing.add(byId('start'), { topics: [null, PIPELINE], draw: () => start.draw(), always: true });
drawing.add(byId('kpis'), { topics: [...kpiTopics, PIPELINE], draw: () => kpis.draw() });
drawing.add(byId('drawer'), { topics: [], draw: () => drawer.draw(), ticks: true, always: true });
for (const panel of PANELS) addPanel(panel);

/** The life of the board that was looked at for topics: another configuration may have others. */
let discovered = null;
store.listen((name) => {
  if (name === 'kpi') kpis.sample();
  if (name === 'alerts') alerts.notice();
  if (name === INCIDENTS) incidents.notice();
  const life = store.topics.get(PIPELINE)?.incarnation;
  if (life && life !== discovered) {
    discovered = life;
    discover();
  }
  showPresent();
  drawing.changed(name);
});
onSystemTheme(restyle);
setInterval(() => drawing.tick(), 1_000);
client.start();
const fromAddress = () => {
  drawer.fromAddress();
  incidents.fromAddress();
};
addEventListener('hashchange', fromAddress);
fromAddress();
