//! What holds for all incidents, whoever is told of them.

use super::channels;
use super::routes::Told;
use super::whole::Config;
use crate::domain::incident::DeskSettings;
use crate::domain::settings::settings;
use crate::domain::time::SpanMs;

settings! {
    /// Bounds of incidents, and what is told of them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Incidents in "incidents." {
        /// Most incidents that are open at a time. What begins beside them is counted and in the feed
        /// of alerts, and is no incident.
        pub open_max: usize = 1_000, count(1, 100_000);
        /// Most silences at a time.
        pub silences_max: usize = 1_000, count(1, 100_000);
        /// Nobody is told of what lies further back than this, by the machine's time: when a log is
        /// caught up with or read again, that is counted as held back. An incident that still holds is
        /// told once what is read is as young as this.
        pub notify_max_age: SpanMs = 15 * MINUTE, span(MINUTE, 366 * DAY);
        /// Where people reach the page, "https://tidewatch.example", for the links in what is sent; ""
        /// for none.
        pub page_url: String = String::new(), checked(web_address);
    }
}

fn web_address(text: &str) -> Result<(), String> {
    let is_one = text.starts_with("https://") || text.starts_with("http://");
    let plain = !text.contains(|one: char| one.is_whitespace() || one.is_control());
    if text.is_empty() || is_one && plain {
        return Ok(());
    }
    Err("must be a web address such as \"https://tidewatch.example\"".into())
}

impl Config {
    /// What the desk of incidents goes by, without the rules, which it has of whoever watches them.
    pub fn desk(&self) -> DeskSettings {
        DeskSettings {
            routes: self.routes.clone(),
            channels: self.channels.iter().map(|spec| channels::name(spec).to_owned()).collect(),
            maintenance: self.maintenance.clone(),
            attributes: Told::of(&self.metrics, &self.patterns, &self.general.zone).attributes,
            open_max: self.incidents.open_max,
            silences_max: self.incidents.silences_max,
            max_age: self.incidents.notify_max_age,
            ..DeskSettings::default()
        }
    }
}
