// What the bodies of panels that show one topic have in common: its title, its age, its values.

export class View {
  constructor(panel, store) {
    this.panel = panel;
    this.store = store;
    [this.topicName] = panel.topics;
  }

  /** The topic, if it is there; the panel says what it is, what it misses and whether it is old. */
  head() {
    const topic = this.store.topics.get(this.topicName);
    this.panel.setTitle(topic?.about, topic?.about?.window, this.store.late(this.topicName));
    this.panel.setStale(topic?.stale);
    return topic;
  }

  get values() {
    return this.store.values(this.topicName);
  }
}
