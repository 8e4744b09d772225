//! The simulated shop: visitors with carts and payments, requests with errors, and now
//! and then trouble, so that every panel has something to show within minutes.
//!
//! Pure and seeded: time is an argument, and the same seed and start give the same
//! events however often they are asked for. `tidewatch demo` appends them to the log
//! like any publisher would; nothing downstream knows that they are invented.

mod account;
mod phases;
mod visitor;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::domain::settings::settings;
use crate::domain::time::{EpochMs, SpanMs};

use account::{Account, product_name};
pub use phases::Phases;
use phases::REGIONS;
use visitor::{Action, Visitor};

/// Most events of one call of [`Shop::events_until`]: 50 ms of a shop at full speed.
pub const EVENTS_PER_CALL_MAX: usize = 50_000;

/// How far an event's time may lie behind one that came before it: clients send late.
/// Within the second that the demo's watermark waits.
pub const BACKWARDS_MS_MAX: SpanMs = 800;

/// Share of the events that are requests of machines, the rest are steps of visitors.
const REQUEST_SHARE: f64 = 0.4;

/// Users who left and may return, for each one in the shop.
const GONE_PER_USER: usize = 4;

/// Chance that a new visitor is somebody who was here before.
const RETURN_CHANCE: f64 = 0.3;

/// Longest pause between two steps, in mean pauses: keeps an exponential draw bounded.
const PAUSE_MAX: f64 = 8.0;

settings! {
    /// The simulated shop of `tidewatch demo`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Settings in "demo." {
        /// Visitors in the simulated shop at a time: more visitors at the same rate are slower
        /// ones, and their sessions get a longer gap.
        pub users: usize = 400, count(1, 1_000_000);
        /// Events a second, on average over its day.
        pub rate: f64 = 200.0, number(0.1, 1_000_000.0);
        /// The same seed gives the same shop.
        pub seed: u64 = 1, count(0, i64::MAX);
    }
}

/// A simulated shop.
pub struct Shop {
    random: StdRng,
    phases: Phases,
    start: EpochMs,
    seed: u64,
    /// Mean pause of a visitor between two steps, in milliseconds.
    pause: f64,
    /// Mean time between two requests, in milliseconds.
    request_pause: f64,
    /// What happens next: the time, and the index of the visitor, or [`REQUEST`].
    agenda: BinaryHeap<Reverse<(i64, usize)>>,
    visitors: Vec<Visitor>,
    /// Numbers of users who left; at most `GONE_PER_USER` for each visitor.
    gone: Vec<u64>,
    /// Number of the latest new user.
    users: u64,
    /// Number of the latest event.
    events: u64,
    /// What is known of visitors and products besides is in the events.
    mails: bool,
}

/// The entry of the agenda that stands for the next request.
const REQUEST: usize = usize::MAX;

/// Parts of a millisecond in the agenda: fast shops have many events in each.
const TICKS_PER_MS: f64 = 1_000.0;

impl Shop {
    /// A shop that opens at `start` with `users` visitors (at least 1) and `rate` events a
    /// second (above 0) on average over its day. A `start` in the past gives the events
    /// since then first.
    pub fn new(seed: u64, users: usize, rate: f64, start: EpochMs) -> Self {
        let users = users.max(1);
        let rate = rate.max(f64::MIN_POSITIVE);
        let mut shop = Shop {
            random: StdRng::seed_from_u64(seed),
            phases: Phases::new(seed, start),
            start,
            seed,
            pause: pause(users, rate),
            request_pause: 1_000.0 / (rate * REQUEST_SHARE),
            agenda: BinaryHeap::with_capacity(users + 1),
            visitors: Vec::with_capacity(users),
            gone: Vec::new(),
            users: 0,
            events: 0,
            mails: false,
        };
        for index in 0..users {
            let visitor = shop.arrival();
            shop.visitors.push(visitor);
            // Spread over one pause, so that the shop opens at its usual rate.
            let delay = shop.random.random::<f64>() * shop.pause;
            shop.agenda.push(Reverse(((delay * TICKS_PER_MS) as i64, index)));
        }
        shop.agenda.push(Reverse((0, REQUEST)));
        shop
    }

    /// The same shop, whose visitors may be signed in: what they do with their cart then has an address
    /// under example.org and whether it may be written to, and products have names. Everything else of
    /// its events is as without.
    pub fn with_mails(mut self) -> Self {
        self.mails = true;
        self
    }

    /// Appends the events up to `now` to `out`, each one JSON object, in the order they
    /// come in. Returns true when it stopped at [`EVENTS_PER_CALL_MAX`]: ask again.
    pub fn events_until(&mut self, now: EpochMs, out: &mut Vec<Bytes>) -> bool {
        let until = ((now - self.start) as f64 * TICKS_PER_MS) as i64;
        for _ in 0..EVENTS_PER_CALL_MAX {
            match self.agenda.peek() {
                Some(Reverse((tick, _))) if *tick <= until => {}
                _ => return false,
            }
            let Some(Reverse((tick, who))) = self.agenda.pop() else { return false };
            let at = self.start + (tick as f64 / TICKS_PER_MS) as i64;
            let (event, mean) = match who {
                REQUEST => (self.request(at), self.request_pause),
                index => (self.step(index, at), self.pause),
            };
            out.push(event);
            let pause = self.draw_pause(mean) / self.phases.busyness(at);
            // At least one tick, so that the agenda always moves on.
            self.agenda.push(Reverse((tick + ((pause * TICKS_PER_MS) as i64).max(1), who)));
        }
        true
    }

    /// A pause with this mean: exponential, as independent people make them.
    fn draw_pause(&mut self, mean: f64) -> f64 {
        let unit: f64 = self.random.random();
        // -ln(1-u) cut at PAUSE_MAX has the mean 1 - e^-PAUSE_MAX.
        let whole = 1.0 - (-PAUSE_MAX).exp();
        mean * (-(1.0 - unit).ln()).min(PAUSE_MAX) / whole
    }

    /// Somebody comes in: a new user, or one who was here before.
    fn arrival(&mut self) -> Visitor {
        let returns = !self.gone.is_empty() && self.random.random_bool(RETURN_CHANCE);
        let user = if returns {
            let index = self.random.random_range(0..self.gone.len());
            self.gone.swap_remove(index)
        } else {
            self.users += 1;
            self.users
        };
        let region = self.region();
        let delay = self.random.random_range(0..=BACKWARDS_MS_MAX);
        Visitor::new(user, region, delay)
    }

    fn region(&mut self) -> &'static str {
        let mut ticket = self.random.random_range(0..100u32);
        for (region, share) in REGIONS {
            match ticket.checked_sub(share) {
                Some(rest) => ticket = rest,
                None => return region,
            }
        }
        REGIONS[0].0
    }

    /// One step of a visitor, and who stands at that place afterwards.
    fn step(&mut self, index: usize, at: EpochMs) -> Bytes {
        let trouble = self.phases.payment_trouble(at);
        let action = self.visitors[index].act(&mut self.random, trouble);
        let visitor = &self.visitors[index];
        let (user, region, at) = (visitor.user, visitor.region, at - visitor.delay);
        let leaves = visitor.leaves();
        let mut event = self.opening(at, action.kind());
        let _ = write!(event, ",\"user\":\"visitor-{user}\",\"region\":\"{region}\"");
        let _ = match action {
            Action::View { product: 0 } => write!(event, ",\"path\":\"/\""),
            Action::View { product } => write!(event, ",\"path\":\"/p/{product}\""),
            Action::Add { product, cents } => {
                write!(event, ",\"product\":\"p-{product}\",\"amount\":{}", Euros(cents))
            }
            Action::Initiate { cents } | Action::Complete { cents } => {
                write!(event, ",\"amount\":{}", Euros(cents))
            }
            Action::Fail { cents, reason } => {
                write!(event, ",\"amount\":{},\"reason\":\"{reason}\"", Euros(cents))
            }
        };
        if self.mails {
            self.tell_more(&mut event, user, action);
        }
        event.push('}');
        if leaves {
            self.leave(user);
            self.visitors[index] = self.arrival();
        }
        Bytes::from(event)
    }

    /// What is known of a visitor who has a cart, and of what they put into it.
    fn tell_more(&self, event: &mut String, user: u64, action: Action) {
        if let Action::Add { product, .. } = action {
            let _ = write!(event, ",\"item\":\"{}\"", product_name(product));
        }
        let account = Account::of(self.seed, user);
        if let Some(Account { agreed }) = account.filter(|_| !matches!(action, Action::View { .. }))
        {
            let _ = write!(event, ",\"email\":\"visitor-{user}@example.org\",\"consent\":{agreed}");
        }
    }

    fn leave(&mut self, user: u64) {
        if self.gone.len() >= GONE_PER_USER * self.visitors.len() {
            let index = self.random.random_range(0..self.gone.len());
            self.gone.swap_remove(index);
        }
        self.gone.push(user);
    }

    /// One request that a machine of the shop answered; it belongs to no session.
    fn request(&mut self, at: EpochMs) -> Bytes {
        let region = self.region();
        let burst = self.phases.error_burst(at) == Some(region);
        let status = phases::status(&mut self.random, burst);
        let took = (self.draw_pause(if burst { 900.0 } else { 40.0 })) as i64;
        let at = at - self.random.random_range(0..=BACKWARDS_MS_MAX);
        let mut event = self.opening(at, "http_request");
        let _ = write!(event, ",\"region\":\"{region}\",\"status\":{status},\"took_ms\":{took}}}");
        Bytes::from(event)
    }

    /// The part that all events share. The id names the run (seed and start) and counts,
    /// so that a demo that is started again never repeats one.
    fn opening(&mut self, at: EpochMs, kind: &str) -> String {
        self.events += 1;
        let mut event = String::with_capacity(192);
        let (start, seed, number) = (self.start, self.seed, self.events);
        let _ = write!(
            event,
            "{{\"id\":\"demo-{start:x}-{seed:x}-{number:x}\",\"ts\":{at},\"type\":\"{kind}\""
        );
        event
    }
}

/// Mean pause of a visitor between two steps, in milliseconds, with `users` in a shop of
/// `rate` events a second.
fn pause(users: usize, rate: f64) -> f64 {
    1_000.0 * users as f64 / (rate * (1.0 - REQUEST_SHARE))
}

/// Longest pause of a visitor between two steps, in the quietest hour.
pub fn pause_max(users: usize, rate: f64) -> SpanMs {
    (PAUSE_MAX * pause(users, rate) / phases::BUSYNESS_MIN) as SpanMs
}

/// Cents written as euros with two decimals.
struct Euros(u32);

impl std::fmt::Display for Euros {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests;
