//! What an aggregate says of a window: one number, a ranked list, or a histogram. All of a
//! metric have one shape.

use serde::{Deserialize, Serialize};

use crate::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// What the numbers of a metric look like. Written beside them wherever they go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "shape", rename_all = "lowercase")]
pub enum Shape {
    /// One number.
    #[default]
    Scalar,
    /// The values that came most, by their count.
    Ranked,
    /// How many lie between bounds.
    Histogram {
        /// Greatest number of each bucket but the last, ascending.
        bounds: Vec<f64>,
    },
}

impl Shape {
    /// True for one number.
    pub fn is_scalar(&self) -> bool {
        *self == Shape::Scalar
    }
}

/// A number of a window and group. As JSON a number, `{"of", "top"}`, or a list of counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// One number.
    Scalar(f64),
    /// The values that came most.
    Ranked(Box<Ranking>),
    /// The count of each bucket; the last is of what is above all bounds.
    Histogram(Box<[u64]>),
}

/// The values that came most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// How many facts had a value.
    pub of: u64,
    /// Value, how often it came, and how far that may be off (95 %; 0 where it is exact). The
    /// most frequent first, those that came as often by value.
    pub top: Vec<(String, u64, u64)>,
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        Number::Scalar(number)
    }
}

impl Number {
    /// The one number; `None` of other shapes.
    pub fn scalar(&self) -> Option<f64> {
        match self {
            Number::Scalar(number) => Some(*number),
            _ => None,
        }
    }

    /// How many facts it is made of; of one number, none.
    pub fn facts(&self) -> u64 {
        match self {
            Number::Scalar(_) => 0,
            Number::Ranked(ranking) => ranking.of,
            Number::Histogram(counts) => counts.iter().sum(),
        }
    }

    /// As text: a number as it is, what is more than one as JSON.
    pub fn to_text(&self) -> String {
        match self {
            Number::Scalar(number) => number.to_string(),
            other => serde_json::to_string(other).unwrap_or_default(),
        }
    }

    /// True when they say the same to the last bit.
    pub fn is_same(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Scalar(a), Number::Scalar(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Number::Scalar(number) => {
                // Short when it is a short integer.
                let whole = *number as i64;
                if (whole as f64).to_bits() == number.to_bits() && whole.unsigned_abs() < 1 << 48 {
                    out.push(1);
                    put_i64(out, whole);
                } else {
                    out.push(0);
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
            Number::Ranked(ranking) => {
                out.push(2);
                put_u64(out, ranking.of);
                put_u64(out, ranking.top.len() as u64);
                for (value, count, error) in &ranking.top {
                    put_bytes(out, value.as_bytes());
                    put_u64(out, *count);
                    put_u64(out, *error);
                }
            }
            Number::Histogram(counts) => {
                out.push(3);
                put_u64(out, counts.len() as u64);
                counts.iter().for_each(|count| put_u64(out, *count));
            }
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Number, Malformed> {
        let at = reader.position();
        Ok(match reader.u8("shape of a number")? {
            0 => {
                let bytes = reader.take(8, "number")?.try_into().expect("8 bytes were taken");
                Number::Scalar(f64::from_le_bytes(bytes))
            }
            1 => Number::Scalar(reader.i64("number")? as f64),
            2 => {
                let (of, mut top) = (reader.u64("facts")?, Vec::new());
                for _ in 0..reader.u64("values of a ranking")? {
                    let value = reader.bytes("value")?;
                    let value = std::str::from_utf8(value);
                    let value = value.map_err(|_| Malformed { what: "value", at })?;
                    top.push((value.to_owned(), reader.u64("count")?, reader.u64("error")?));
                }
                Number::Ranked(Box::new(Ranking { of, top }))
            }
            3 => {
                let mut counts = Vec::new();
                for _ in 0..reader.u64("buckets")? {
                    counts.push(reader.u64("count")?);
                }
                Number::Histogram(counts.into())
            }
            _ => return Err(Malformed { what: "shape of a number", at }),
        })
    }
}

/// Groups with their numbers, in order of the groups. All are of one shape, and held as such: a
/// history of scalars takes 16 bytes for each.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// One number each.
    Scalars(Vec<(u32, f64)>),
    /// Ranked lists, and histograms.
    Others(Box<[(u32, Number)]>),
}

/// No groups.
pub const NO_VALUES: &Values = &Values::Scalars(Vec::new());

impl Default for Values {
    fn default() -> Self {
        NO_VALUES.clone()
    }
}

impl FromIterator<(u32, Number)> for Values {
    fn from_iter<T: IntoIterator<Item = (u32, Number)>>(numbers: T) -> Self {
        let (mut scalars, mut others) = (Vec::new(), Vec::new());
        for (group, number) in numbers {
            match number {
                Number::Scalar(number) => scalars.push((group, number)),
                number => others.push((group, number)),
            }
        }
        if others.is_empty() { Values::Scalars(scalars) } else { Values::Others(others.into()) }
    }
}

impl Values {
    /// How many groups.
    pub fn len(&self) -> usize {
        match self {
            Values::Scalars(scalars) => scalars.len(),
            Values::Others(others) => others.len(),
        }
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Groups with one number each; none of other shapes.
    pub fn scalars(&self) -> &[(u32, f64)] {
        match self {
            Values::Scalars(scalars) => scalars,
            Values::Others(_) => &[],
        }
    }

    /// The number of a group.
    pub fn get(&self, group: u32) -> Option<Number> {
        match self {
            Values::Scalars(scalars) => {
                let at = scalars.binary_search_by_key(&group, |(group, _)| *group).ok()?;
                Some(scalars[at].1.into())
            }
            Values::Others(others) => {
                let at = others.binary_search_by_key(&group, |(group, _)| *group).ok()?;
                Some(others[at].1.clone())
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Number)> {
        let others = match self {
            Values::Scalars(_) => &[][..],
            Values::Others(others) => others,
        };
        let scalars = self.scalars().iter().map(|(group, number)| (*group, (*number).into()));
        scalars.chain(others.iter().cloned())
    }

    /// Gives room back that is not needed.
    pub fn shrink(&mut self) {
        if let Values::Scalars(scalars) = self {
            scalars.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Number> {
        let value = ("[a-z/é]{0,8}", any::<u64>(), 0u64..9);
        prop_oneof![
            any::<f64>()
                .prop_filter("JSON has no such numbers", |n| n.is_finite())
                .prop_map(Number::from),
            (any::<u64>(), prop::collection::vec(value, 0..4))
                .prop_map(|(of, top)| Number::Ranked(Box::new(Ranking { of, top }))),
            prop::collection::vec(any::<u64>(), 2..6)
                .prop_map(|counts| Number::Histogram(counts.into())),
        ]
    }

    /// A history has a window for each second of a day.
    #[test]
    fn values_take_no_more_than_a_list_of_scalars() {
        assert_eq!(size_of::<Values>(), size_of::<Vec<(u32, f64)>>());
    }

    proptest! {
        #[test]
        fn a_number_reads_back_as_bytes_and_as_json(number in numbers()) {
            let mut bytes = Vec::new();
            number.encode(&mut bytes);
            let read = Number::decode(&mut Reader::new(&bytes)).unwrap();
            prop_assert!(read.is_same(&number));
            let json = serde_json::to_string(&number).unwrap();
            prop_assert!(serde_json::from_str::<Number>(&json).unwrap().is_same(&number), "{json}");
        }

        #[test]
        fn values_are_the_numbers_by_group(
            groups in prop::collection::btree_set(any::<u32>(), 0..9),
            number in numbers(),
        ) {
            let all: Vec<_> = groups.iter().map(|group| (*group, number.clone())).collect();
            let values: Values = all.iter().cloned().collect();
            prop_assert_eq!(values.iter().collect::<Vec<_>>(), all);
            prop_assert_eq!(values.len(), groups.len());
            for group in groups {
                prop_assert_eq!(values.get(group), Some(number.clone()));
            }
            prop_assert_eq!(values.get(7).is_some(), values.iter().any(|(group, _)| group == 7));
        }
    }
}
