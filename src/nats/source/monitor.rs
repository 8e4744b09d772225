//! Whether the broker can lose what it has acknowledged when the power goes: asked once,
//! over its monitoring port, because JetStream's own API does not tell.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, StorageType};
use serde::Deserialize;

/// Longest wait for the monitoring port.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Jsz {
    config: Option<Sync>,
}

#[derive(Deserialize)]
struct Sync {
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

/// A sentence when power loss may lose acknowledged events, `None` when it is shown not to.
pub(super) async fn warning(stream: &Config, monitor_url: &str) -> Option<String> {
    if stream.num_replicas > 1 || stream.storage != StorageType::File {
        return None;
    }
    let found = match monitor_url {
        "" => "whether it does cannot be seen (nats.monitor_url is not set)".to_owned(),
        url => match ask(url.to_owned()).await {
            Ok(Sync { sync_always: true, .. }) => return None,
            Ok(Sync { sync_interval, .. }) => {
                let interval = Duration::from_nanos(sync_interval);
                format!("it syncs every {interval:?}")
            }
            Err(cause) => format!("nats.monitor_url did not say whether it does ({cause})"),
        },
    };
    Some(format!(
        "stream {}: one replica: a power loss may take events that the broker has acknowledged, \
         unless it syncs every write; {found}. Set sync_interval: always in the jetstream block of \
         the server, or use 3 replicas",
        stream.name
    ))
}

async fn ask(url: String) -> Result<Sync, String> {
    let asked = tokio::task::spawn_blocking(move || {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
        let agent = ureq::Agent::new_with_config(config);
        let url = format!("{}/jsz?config=true", url.trim_end_matches('/'));
        let mut answer = agent.get(&url).call().map_err(|error| error.to_string())?;
        answer.body_mut().read_json::<Jsz>().map_err(|error| error.to_string())
    });
    let jsz = asked.await.map_err(|error| error.to_string())??;
    jsz.config.ok_or_else(|| "it has no JetStream".to_owned())
}
