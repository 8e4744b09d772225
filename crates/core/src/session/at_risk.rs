//! The sessions (under `since_entry`: carts) of `[session]` that are at risk.

use super::machine::Machine;
use super::record::Segments;
use super::rules::Rules;
use crate::at_risk::{AtRisk, Found, More, Walk};
use crate::time::EpochMs;

impl AtRisk {
    /// Walks over open sessions, each with its key; keeps at most `most` of them (1 or more) by
    /// each order.
    pub fn of<'a>(
        open: impl Iterator<Item = (&'a str, &'a Machine)>,
        rules: &Rules,
        segments: &Segments,
        watermark: EpochMs,
        most: usize,
    ) -> AtRisk {
        let mut walk = Walk::new(most);
        for (key, machine) in open {
            machine.each_at_risk(key, rules, |found| walk.meet(found));
        }
        walk.end(watermark, &rules.currency, |(step, segment): &(u8, u16)| More {
            step: rules.step_name(*step).to_owned(),
            segment: Some(segments.text(*segment).to_owned()),
            attributes: None,
        })
    }
}

impl Machine {
    /// Every session (or cart) of the key that is at risk; the same that the gauges count.
    #[inline]
    fn each_at_risk<'a>(
        &self,
        key: &'a str,
        rules: &Rules,
        mut each: impl FnMut(Found<'a, (u8, u16)>),
    ) {
        if !rules.since_entry {
            for state in self.sessions.iter().filter(|state| state.at_risk()) {
                each(Found {
                    key,
                    value: state.contents.value(),
                    deadline: state.deadline(rules),
                    first: state.first,
                    last: state.last,
                    rest: (state.step, state.segment),
                });
            }
            return;
        }
        let Some(cart) = self.carts.as_ref().and_then(|carts| carts.open()) else { return };
        // The session that its last entry lies in.
        let state = self.sessions.iter().rfind(|state| state.first <= cart.last);
        each(Found {
            key,
            value: cart.contents.value(),
            deadline: cart.last + rules.gap,
            first: cart.first,
            last: cart.last,
            rest: state.map_or((0, 0), |state| (state.step, state.segment)),
        });
    }
}
