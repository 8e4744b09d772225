//! An anonymous visitor turns out to be a known one: what is open of the anonymous key goes on
//! under the known one. What has ended stays as it ended.

use super::carts::Carts;
use super::effects::{SessionEffects, Stake};
use super::machine::Machine;
use super::rules::Rules;
use super::state::NO_CUT;
use crate::keyed::KeyedMachine as _;
use crate::time::EpochMs;

impl Machine {
    /// Gives away everything that is open at `watermark`. What is over by then ends here.
    pub fn give_up(
        &mut self,
        rules: &Rules,
        watermark: EpochMs,
        fx: &mut SessionEffects,
    ) -> Machine {
        self.expire(rules, watermark, fx);
        let stake_before = self.stake(rules);
        let given = std::mem::replace(self, Machine::after(self.floor()));
        given.sessions.iter().for_each(|session| fx.left(session.step));
        fx.stake(&stake_before, &Stake::default());
        given
    }

    /// Takes over what [`Machine::give_up`] gave. Sessions that lie within the gap of each other
    /// become one, even if that is longer than the longest. Where the other key's sessions were
    /// closed an event is late here as well, unless it lies in a session that is open.
    pub fn take_over(
        &mut self,
        rules: &Rules,
        given: Machine,
        watermark: EpochMs,
        fx: &mut SessionEffects,
    ) {
        self.expire(rules, watermark, fx);
        let stake_before = self.stake(rules);
        let Machine { sessions, carts, floor } = given;
        fx.changes.identified += sessions.len() as u64;
        for session in sessions {
            fx.entered(session.step);
            let place = self.sessions.partition_point(|mine| mine.first <= session.first);
            self.sessions.insert(place, session);
        }
        self.unite(rules, fx);
        self.floor = self.floor.max(floor);
        if let Some(first) = self.sessions.first() {
            self.floor = self.floor.min(first.first - 1);
        }
        if let Some(carts) = carts {
            let mine: &mut Carts = self.carts.get_or_insert_default();
            mine.merge(*carts, rules, watermark, fx);
        }
        fx.stake(&stake_before, &self.stake(rules));
    }

    /// Makes one of all sessions that lie within the gap of each other, except across a cut.
    fn unite(&mut self, rules: &Rules, fx: &mut SessionEffects) {
        let mut index = 0;
        while let Some(next) = self.sessions.get(index + 1) {
            let session = &self.sessions[index];
            if next.first > session.until || next.first > session.last + rules.gap {
                index += 1;
                continue;
            }
            let next = self.sessions.remove(index + 1);
            let session = &mut self.sessions[index];
            let (step_before, cuts) = (session.step, [session.until, next.until]);
            session.merge(&next);
            // A cut within what is one now is none any more.
            let cuts = cuts.into_iter().filter(|until| *until >= session.last);
            session.until = cuts.min().unwrap_or(NO_CUT);
            fx.left(next.step);
            fx.moved(step_before, session.step);
        }
    }
}
