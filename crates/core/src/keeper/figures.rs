//! The newest number of every metric and group, with whole labels: what `/metrics` and
//! `/v1/groups` give to other systems. The numbers are those of the board.

use std::sync::Arc;

use super::{Keeper, window_words};
use crate::board::figure::{Figure, Row};
use crate::metric::groups::{OVERFLOW, OVERFLOW_TEXT};
use crate::metric::shown::Shown;
use crate::metric::{Facts, Metric};
use crate::time::EpochMs;

impl Keeper {
    /// The numbers of all metrics at a watermark. A metric without any event yet has none.
    pub fn figures(&self, watermark: EpochMs) -> Vec<Figure> {
        let metrics = self.engine.metrics().iter().enumerate();
        metrics
            .map(|(index, metric)| {
                let spec = &metric.spec;
                let live = spec.of == Facts::LiveSessions;
                Figure {
                    metric: spec.name.clone(),
                    title: spec.title.clone(),
                    unit: spec.unit.clone(),
                    window: if live { "now".into() } else { window_words(&spec.window) },
                    labels: if live { vec!["step".into()] } else { spec.group_by.clone() },
                    shape: spec.aggregate.shape(),
                    field: spec.field.clone().unwrap_or_default(),
                    warming_since: self
                        .since(index, watermark)
                        .filter(|since| since.warming)
                        .map(|since| since.at),
                    groups: self.newest(index, metric, watermark),
                }
            })
            .collect()
    }

    fn newest(&self, index: usize, metric: &Metric, watermark: EpochMs) -> Vec<Row> {
        if metric.spec.of == Facts::LiveSessions {
            let number = |(step, count): (&str, i64)| Row {
                labels: Arc::new(vec![step.to_owned()]),
                value: Some((count as f64).into()),
                overflow: false,
            };
            return self.by_step().map(number).collect();
        }
        let state = self.engine.state(index);
        let shown = Shown::new(&self.engine, index, self.began(index), watermark);
        let Some(now) = shown.and_then(|shown| shown.now()) else { return Vec::new() };
        let none = metric.empty();
        if metric.spec.group_by.is_empty() {
            let value = now.iter().next().map(|(_, value)| value).or(none);
            return vec![Row { value, ..Row::default() }];
        }
        let value = |group: u32| now.get(group).or_else(|| none.clone());
        let present = state.groups.present();
        let mut rows: Vec<Row> = present
            .map(|(group, labels)| Row {
                labels: Arc::clone(labels),
                value: value(group),
                overflow: false,
            })
            .collect();
        if self.engine.overflow[index] > 0 {
            let labels = metric.spec.group_by.iter().map(|_| OVERFLOW_TEXT.to_owned());
            rows.push(Row {
                labels: Arc::new(labels.collect()),
                value: value(OVERFLOW),
                overflow: true,
            });
        }
        rows
    }
}
