//! One text makes a struct, its defaults and its table; values go there and back.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::terms::KIB;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    Red,
    Green,
}

impl Word for Colour {
    const WORDS: &'static [(&'static str, Self)] =
        &[("red", Colour::Red), ("green", Colour::Green)];
}

settings! {
    /// What the shop sells.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Shop in "shop." {
        /// The most apples in a bag.
        ///
        /// More would tear it.
        pub apples_max: usize = 12, count(1, 100);
        /// Their colour, "red" or "green".
        pub colour: Colour = Colour::Red, word::<Colour>();
        /// How long it is open.
        pub open as "hours.open": Duration = Duration::from_millis(8 * HOUR as u64), span(0, DAY);
    } besides {
        /// Not in any file.
        pub till: u64 = 5;
    }
}

#[test]
fn one_text_makes_the_struct_its_defaults_and_its_table() {
    let shop = Shop::default();
    let wanted =
        Shop { apples_max: 12, colour: Colour::Red, open: Duration::from_secs(8 * 3_600), till: 5 };
    assert_eq!(shop, wanted);
    let paths: Vec<&str> = shop.keys().iter().map(|key| key.path).collect();
    assert_eq!(paths, ["shop.apples_max", "shop.colour", "hours.open"]);
    assert_eq!(shop.values(), [Value::Int(12), Value::Text("red".into()), Value::Int(28_800_000)]);
    let apples = &shop.keys()[0];
    assert_eq!((apples.section(), apples.name(), apples.is_bound()), ("shop", "apples_max", true));
    assert_eq!(apples.reason, " The most apples in a bag.\n\n More would tear it.\n");
    assert!(matches!(apples.rule, Rule::Count(1, 100)));
    assert!(matches!(shop.keys()[1].rule, Rule::Word(words) if words() == ["red", "green"]));
}

#[test]
fn a_key_is_set_by_its_path_and_nothing_else_is() {
    let mut shop = Shop::default();
    assert!(shop.set("shop.colour", Value::Text("green".into())));
    assert!(shop.set("hours.open", Value::Int(0)));
    assert_eq!(shop, Shop { colour: Colour::Green, open: Duration::ZERO, ..Shop::default() });
    let before = shop.clone();
    for (path, value) in [
        ("shop.colour", Value::Text("blue".into())),
        ("shop.apples_max", Value::Int(-1)),
        ("shop.apples_max", Value::Text("1".into())),
        ("shop.open", Value::Int(1)),
        ("shop.till", Value::Int(1)),
    ] {
        assert!(!shop.set(path, value), "{path}");
    }
    assert_eq!(shop, before);
}

#[test]
fn a_secret_is_not_in_the_debug_text() {
    assert_eq!(format!("{:?}", Secret("hush".into())), "Secret");
    assert_eq!(KIB, 1_024);
}

proptest! {
    #[test]
    fn every_type_goes_there_and_back(
        number in 0..i64::MAX,
        name in "[a-z]{0,4}",
        names in prop::collection::vec("[a-z]{1,3}", 0..4),
        set in any::<bool>(),
    ) {
        fn same<T: Field + PartialEq + std::fmt::Debug>(field: T) {
            assert_eq!(T::of(field.value()).as_ref(), Some(&field));
        }
        same(number as u64);
        same(number as usize);
        same((number % 65_536) as u16);
        same(-number);
        same(Duration::from_millis(number as u64));
        same((number != 0).then_some(number));
        same((!name.is_empty()).then(|| name.clone()));
        same(PathBuf::from(&name));
        same(Secret(name.clone()));
        same(Derived(set.then_some(number)));
        same(names.iter().map(|name| (name.clone(), name.clone())).collect::<Vec<_>>());
        same(names);
        same(name);
        same(set);
        same(number as f64);
        same(());
        same("127.0.0.1:80".parse::<core::net::SocketAddr>().unwrap());
    }
}
