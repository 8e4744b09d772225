//! A key of the configuration in one place: [`settings!`] makes a struct, its defaults and a
//! table of its keys of one text.
//!
//! A part declares its settings with it, next to the code that they bound. Everything else
//! that has to know of a key goes through [`Section`]: `config` reads, checks and prints it,
//! and writes its comment into `config/tidewatch.toml`. Nothing here reads a file.
//!
//! ```text
//! settings! {
//!     /// What the shop sells.
//!     #[derive(Clone, Debug, PartialEq)]
//!     pub struct Settings in "shop." {
//!         /// The most apples in a bag. More would tear it.
//!         pub apples_max: usize = 12, count(1, 100);
//!     }
//! }
//! ```
//!
//! The comment of a field is its reason: it is the documentation of the field and, with its
//! bounds behind it, the comment of `shop.apples_max` in the file.

pub mod rule;
pub mod value;

pub use rule::Rule;
pub use value::{Derived, Field, MASK, Secret, Value, Word, is_elsewhere, without_query};

/// What a rule and a default may be written with.
pub mod terms {
    pub use super::rule::*;

    /// Milliseconds of a second.
    pub const SECOND: i64 = 1_000;
    /// Milliseconds of a minute.
    pub const MINUTE: i64 = 60 * SECOND;
    /// Milliseconds of an hour.
    pub const HOUR: i64 = 60 * MINUTE;
    /// Milliseconds of a day of 24 hours.
    pub const DAY: i64 = 24 * HOUR;
    /// Bytes.
    pub const KIB: i64 = 1 << 10;
    /// Bytes.
    pub const MIB: i64 = 1 << 20;
    /// Bytes.
    pub const GIB: i64 = 1 << 30;
    /// Most names in one list: people write them.
    pub const NAMES_MAX: usize = 64;
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its section and its name, `session.gap`. In a table of a list, such as `[[rule]]`, and
    /// outside the sections the name alone.
    pub path: &'static str,
    /// What it may be.
    pub rule: Rule,
    /// Why it is there and what it does, for people. Lines as they stand in the source.
    pub reason: &'static str,
}

impl Key {
    /// Its section, `session` or `nats.out`; empty outside the sections.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether it bounds what is held and changes no number until the bound is reached: by the
    /// convention for names, `keys_max`.
    pub fn is_bound(&self) -> bool {
        self.path.ends_with("_max")
    }
}

/// Settings with a table of their keys; none unless it says so.
pub trait Section {
    /// The keys, in the order in which people read them.
    fn keys(&self) -> &'static [Key] {
        &[]
    }

    /// What they are set to, in the order of [`Section::keys`].
    fn values(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Sets one. False when there is no such key, or when its field cannot hold the value.
    fn set(&mut self, _path: &str, _value: Value) -> bool {
        false
    }
}

/// The keys of a section with what they are set to.
pub fn entries(section: &dyn Section) -> impl Iterator<Item = (&'static Key, Value)> {
    section.keys().iter().zip(section.values())
}

/// Makes a struct, its `Default` and its [`Section`] of one text; see the module.
///
/// A field is `/// reason`, `visibility name: Type = default, rule;`. Its key is the prefix and
/// its name, or what `as "section.key"` says. Fields `besides` the keys have a default and
/// nothing else.
#[macro_export]
#[doc(hidden)]
macro_rules! settings_table {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident in $prefix:literal {
            $(
                $(#[doc = $reason:literal])+
                $field_vis:vis $field:ident $(as $path:literal)? : $type:ty = $default:expr, $rule:expr;
            )+
        } $(besides {
            $(
                $(#[$other_meta:meta])+
                $other_vis:vis $other:ident : $other_type:ty = $other_default:expr;
            )+
        })?
    ) => {
        $(#[$meta])*
        // Reasons are written for the file, too, where no link leads anywhere.
        #[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags, rustdoc::bare_urls)]
        $vis struct $name {
            $( $(#[doc = $reason])+ $field_vis $field: $type, )+
            $($( $(#[$other_meta])+ $other_vis $other: $other_type, )+)?
        }

        impl Default for $name {
            fn default() -> Self {
                #[allow(unused_imports)]
                use $crate::settings::terms::*;
                $name {
                    $( $field: $default, )+
                    $($( $other: $other_default, )+)?
                }
            }
        }

        impl $crate::settings::Section for $name {
            fn keys(&self) -> &'static [$crate::settings::Key] {
                #[allow(unused_imports)]
                use $crate::settings::terms::*;
                const KEYS: &[$crate::settings::Key] = &[$(
                    $crate::settings::Key {
                        path: $crate::settings_table!(@path $prefix $field $($path)?),
                        rule: $rule,
                        reason: concat!($($reason, "\n"),+),
                    },
                )+];
                KEYS
            }

            fn values(&self) -> Vec<$crate::settings::Value> {
                vec![$( $crate::settings::Field::value(&self.$field) ),+]
            }

            fn set(&mut self, path: &str, value: $crate::settings::Value) -> bool {
                $(
                    if path == $crate::settings_table!(@path $prefix $field $($path)?) {
                        let field = $crate::settings::Field::of(value);
                        return field.map(|field| self.$field = field).is_some();
                    }
                )+
                false
            }
        }
    };
    (@path $prefix:literal $field:ident) => { concat!($prefix, stringify!($field)) };
    (@path $prefix:literal $field:ident $path:literal) => { $path };
}
pub use crate::settings_table as settings;

#[cfg(test)]
mod tests;
