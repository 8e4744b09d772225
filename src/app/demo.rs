//! `tidewatch demo`: a simulated shop that publishes into the log like anybody else. With `--mail` its
//! channel writes mails into a folder, which is shown at `/mailbox`.

use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::channels;
use super::commands::run as run_with_page;
use super::serving::complain;
use crate::cli::Exit;
use crate::cli::args::{Common, DemoArgs};
use crate::config::{Config, demo_mail, demo_overrides, missing};
use crate::demo::Shop;

/// How often the simulated shop speaks.
const BEAT: Duration = Duration::from_millis(100);

/// Runs it until it is stopped.
pub fn run(mut config: Config, common: &Common, args: &DemoArgs) -> Exit {
    let mail = args.mail;
    if mail && !channels::IN_BUILD {
        return complain(&missing("channels", "notify"), Exit::Usage);
    }
    let prepare = move |config: &mut Config| {
        // The simulated shop has a log of its own.
        config.nats.link = None;
        let notice = demo_overrides(config);
        let folder = mail.then(|| demo_mail(config));
        (notice, folder)
    };
    let (notice, folder) = prepare(&mut config);
    let wanted = config.demo.clone();
    let builder = Builder::default().face("demo", notice).config(config);
    let mut builder = builder.prepare(Arc::new(move |config| drop(prepare(config))));
    if let Some(mailbox) = folder.and_then(|folder| channels::mailbox(&folder)) {
        builder = builder.mailbox(mailbox);
    }
    run_with_page(common, builder, move |running| {
        let log = running.web().log;
        let clock = running.web().clock;
        async move {
            let shop = Shop::new(wanted.seed, wanted.users, wanted.rate, clock.wall());
            let mut shop = if mail { shop.with_mails() } else { shop };
            let mut events = Vec::new();
            loop {
                actix::clock::sleep(BEAT).await;
                while shop.events_until(clock.wall(), &mut events) {}
                let Some(log) = &log else { return };
                if events.is_empty() {
                    continue;
                }
                if let Err(error) = log.append(std::mem::take(&mut events)).await {
                    tracing::warn!(%error, "the simulated shop's events were refused");
                }
            }
        }
    })
}
