//! What is kept of one metric: absorbed from the sections of commits, and
//! written whole for a snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{GONE, LEFT, NEW, SEEN, SectionWriter, group, labels, time};
use crate::metric::groups::{GroupChange, Kept, KeptMap};
use crate::metric::number::{Number, Values};
use crate::metric::{Cell, Floor, Place, Window};
use crate::number::FarSum;
use crate::time::EpochMs;
use crate::wire::{Malformed, Reader};

/// Everything that is kept of one metric. Groups go by their number in `groups`, or `OVERFLOW`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricSnapshot {
    /// The groups.
    pub groups: KeptMap,
    /// Cells by pane, the pane they enter with, and group.
    pub panes: BTreeMap<(EpochMs, EpochMs, u32), Cell>,
    /// Cells of open roll-up minutes by minute and group.
    pub minutes: BTreeMap<(EpochMs, u32), Cell>,
    /// Final windows the board keeps.
    pub windows: VecDeque<Window>,
    /// Of a running total: midnight, and the total of each group since.
    pub day: Option<(EpochMs, BTreeMap<u32, Cell>)>,
    /// Sum of all final numbers of each group, where a report asks for it.
    pub sums: BTreeMap<u32, FarSum>,
}

impl MetricSnapshot {
    /// What a running total holds.
    pub fn totals(&self) -> impl Iterator<Item = &Cell> {
        self.day.iter().flat_map(|(_, totals)| totals.values())
    }

    pub(super) fn absorb_groups(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let KeptMap { groups, next, period, left } = &mut self.groups;
        let at = reader.position();
        *next =
            u32::try_from(reader.u64("groups")?).map_err(|_| Malformed { what: "groups", at })?;
        (*period, *left) = (reader.i64("period")?, reader.u64("groups that left")?);
        while !reader.is_empty() {
            let at = reader.position();
            let group = group(reader)?;
            let unknown = || Malformed { what: "known group", at };
            match reader.u8("what became of a group")? {
                GONE => {
                    groups.remove(&group);
                    self.sums.remove(&group);
                }
                SEEN => groups.get_mut(&group).ok_or_else(unknown)?.seen = reader.i64("period")?,
                LEFT => {
                    groups.get_mut(&group).ok_or_else(unknown)?.left = time(reader, "period")?;
                }
                NEW => {
                    let at = reader.position();
                    let place = u32::try_from(reader.u64("place")?);
                    let place = place.map_err(|_| Malformed { what: "place", at })?;
                    let (seen, left) = (reader.i64("period")?, time(reader, "period")?);
                    let labels = Arc::new(labels(reader)?);
                    groups.insert(group, Kept { labels, place, seen, left });
                }
                _ => return Err(Malformed { what: "what became of a group", at }),
            }
        }
        Ok(())
    }

    pub(super) fn absorb_panes(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let pane = reader.i64("pane")?;
            let (enters, minute) = (time(reader, "entry")?, time(reader, "minute")?);
            let (group, cell) = (group(reader)?, Cell::decode(reader)?);
            // An event that a total begins with need not count.
            let nothing = cell.is_windowed() && cell.count() == 0;
            if let Some(minute) = minute.filter(|_| !nothing) {
                merge_into(&mut self.minutes, (minute, group), &cell.of_minute(), reader)?;
            }
            if let Some(enters) = enters {
                merge_into(&mut self.panes, (pane, enters, group), &cell.of_window(), reader)?;
            }
        }
        Ok(())
    }

    pub(super) fn forget_panes(&mut self, floor: Floor) {
        self.panes = self.panes.split_off(&(floor.pane, EpochMs::MIN, 0));
        if floor.enters > EpochMs::MIN {
            self.panes.retain(|(_, enters, _), _| *enters >= floor.enters);
        }
    }

    /// Each window differs from the one before it, or stands for itself.
    pub(super) fn absorb_windows(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let end = reader.i64("end")?;
            let differs = reader.u8("kind of window")? != 0;
            let before = self.windows.back().filter(|_| differs);
            let mut values: BTreeMap<u32, Number> =
                before.map(|before| before.values.iter().collect()).unwrap_or_default();
            for _ in 0..reader.u64("groups gone")? {
                values.remove(&group(reader)?);
            }
            for _ in 0..reader.u64("groups changed")? {
                values.insert(group(reader)?, Number::decode(reader)?);
            }
            let mut values: Values = values.into_iter().collect();
            values.shrink();
            self.windows.push_back(Window { end, values });
        }
        Ok(())
    }

    pub(super) fn absorb_day(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut totals = BTreeMap::new();
        let start = reader.i64("midnight")?;
        while !reader.is_empty() {
            totals.insert(group(reader)?, Cell::decode(reader)?);
        }
        self.day = Some((start, totals));
        Ok(())
    }

    /// A running total takes in the panes it has gone past, those of its own day.
    pub(super) fn absorb_run(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let (start, entered) = (reader.i64("midnight")?, reader.i64("pane")?);
        let (_, totals) = self
            .day
            .take_if(|(known, _)| *known == start)
            .unwrap_or_else(|| (start, BTreeMap::new()));
        let mut totals = totals;
        let panes = std::mem::take(&mut self.panes).into_iter();
        let (left, mut taken): (Vec<_>, Vec<_>) =
            panes.partition(|((_, enters, _), _)| *enters >= entered);
        self.panes.extend(left);
        // What has ended when something enters does not take it in.
        taken.sort_by_key(|((_, enters, _), _)| *enters);
        for ((pane, enters, group), cell) in taken {
            if let Cell::Moments(moments) = &cell {
                if let Some(cell) = moments.since(start) {
                    merge_into(&mut totals, group, &cell, reader)?;
                }
            } else if pane >= start {
                totals.get_mut(&group).map(|known| close(known, enters));
                merge_into(&mut totals, group, &cell, reader)?;
            }
        }
        totals.retain(|_, cell| !close(cell, entered));
        self.day = Some((start, totals));
        Ok(())
    }

    /// Appends sections of at most about `chunk` bytes each.
    pub(crate) fn encode(&self, id: &str, chunk: usize, sections: &mut Vec<Vec<u8>>) {
        let make = || SectionWriter::groups(id, &self.groups);
        let mut groups = Chunks { sections, chunk, make };
        groups.write(self.groups.groups.iter(), |writer, (number, kept)| {
            writer.group(*number, GroupChange::New, Some(kept));
        });
        if self.groups.groups.is_empty() && self.groups.next > 0 {
            groups.sections.push((groups.make)().finish());
        }
        let mut panes = Chunks { sections, chunk, make: || SectionWriter::panes(id) };
        panes.write(self.panes.iter(), |writer, ((pane, enters, group), cell)| {
            let place = Place { pane: *pane, enters: Some(*enters), minute: None };
            writer.pane(&place, *group, cell);
        });
        panes.write(self.minutes.iter(), |writer, ((minute, group), cell)| {
            let place = Place { pane: *minute, enters: None, minute: Some(*minute) };
            writer.pane(&place, *group, cell);
        });
        let mut windows = Chunks { sections, chunk, make: || SectionWriter::windows(id) };
        let mut before = None;
        windows.write(self.windows.iter(), |writer, window| {
            writer.window(window, before.replace(window));
        });
        let mut sums = Chunks { sections, chunk, make: || SectionWriter::sums(id) };
        sums.write(self.sums.iter(), |writer, (group, sum)| writer.sum(*group, sum));
        if let Some((start, totals)) = &self.day {
            let mut writer = SectionWriter::day(id, *start);
            totals.iter().for_each(|(group, cell)| writer.total(*group, cell));
            sections.push(writer.finish());
        }
    }
}

/// Writes items to sections of bounded length.
struct Chunks<'a, M> {
    sections: &'a mut Vec<Vec<u8>>,
    chunk: usize,
    make: M,
}

impl<M: Fn() -> SectionWriter> Chunks<'_, M> {
    fn write<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut SectionWriter, T),
    ) {
        let mut items = items.peekable();
        while items.peek().is_some() {
            let mut writer = (self.make)();
            for item in items.by_ref() {
                write(&mut writer, item);
                if writer.len() >= self.chunk {
                    break;
                }
            }
            self.sections.push(writer.finish());
        }
    }
}

/// Forgets the windows that ended by silence before a pane. True when there were some, and nothing
/// is left.
fn close(cell: &mut Cell, entered: EpochMs) -> bool {
    let Cell::Bursts(bursts) = cell else { return false };
    while bursts.close(entered).is_some() {}
    bursts.first_end().is_none()
}

/// # Errors
/// When the cell there is of another kind: the file is damaged.
fn merge_into<K: Ord>(
    cells: &mut BTreeMap<K, Cell>,
    key: K,
    cell: &Cell,
    reader: &Reader<'_>,
) -> Result<(), Malformed> {
    match cells.get_mut(&key) {
        Some(whole) if whole.takes(cell) => whole.merge(cell),
        Some(_) => return Err(Malformed { what: "cell of one kind", at: reader.position() }),
        None => {
            cells.insert(key, cell.clone());
        }
    }
    Ok(())
}
