//! Starts the channels that are published into streams beside a running pipeline.

use std::sync::Arc;

use super::channels::Published;
use super::running::Running;
use crate::nats::link::Link;
use crate::nats::out::feed_of;
use crate::nats::out::notifications::{self, Told};
use crate::nats::settings::OutSettings;
use crate::notify;
use crate::sink::Outputs;

impl Running {
    /// Publishes the notifications of these channels, each exactly once.
    pub(super) fn publish_told(
        &self,
        link: &Link,
        out: &OutSettings,
        channels: Vec<Published>,
    ) -> Outputs {
        let folder = self.folder.path();
        let told = |Published { name, events, taker }: Published| Told {
            stream: events.stream.clone(),
            subject: events.subject.clone(),
            rows: Arc::new(notify::to_publish(&name, folder, &self.web.incidents, &taker)),
            say: Arc::new(move |told| events.data(told).map_err(|why| why.to_string())),
            title: notify::title(&name),
            note: notify::stream_file(&name),
            taken: Arc::clone(&taker.taken),
            noted: Arc::clone(&taker.noted),
            channel: name,
        };
        let channels = channels.into_iter().map(told).collect();
        let settings = OutSettings { notes: Some(folder.to_path_buf()), ..out.clone() };
        let feed = feed_of(self.web.schema.load().seed);
        notifications::start(link, settings, (&feed, &self.web.clock, &self.web.status), channels)
    }
}
