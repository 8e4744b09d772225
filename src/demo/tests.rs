//! The shop's laws: the same seed gives the same events however it is asked, time goes
//! back by no more than stated, ids never repeat, the rate holds, every stage appears.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

const START: EpochMs = 1_760_000_000_000;

fn events(shop: &mut Shop, now: EpochMs) -> Vec<Bytes> {
    let mut out = Vec::new();
    while shop.events_until(now, &mut out) {}
    out
}

fn decoded(events: &[Bytes]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_seed_gives_the_same_events_however_it_is_asked(
        seed: u64,
        users in 1..300usize,
        pauses in prop::collection::vec(1..5_000i64, 1..12),
    ) {
        let end = START + pauses.iter().sum::<i64>();
        let whole = events(&mut Shop::new(seed, users, 200.0, START), end);
        let mut shop = Shop::new(seed, users, 200.0, START);
        let mut now = START;
        let mut pieces = Vec::new();
        for pause in pauses {
            now += pause;
            pieces.extend(events(&mut shop, now));
        }
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn time_goes_back_by_no_more_than_stated_and_never_ahead(seed: u64, users in 1..500usize) {
        let mut shop = Shop::new(seed, users, 300.0, START);
        let mut greatest = START - BACKWARDS_MS_MAX;
        for second in 1..=20 {
            let now = START + second * 1_000;
            for event in decoded(&events(&mut shop, now)) {
                let at = event["ts"].as_i64().unwrap();
                prop_assert!(at <= now);
                prop_assert!(at >= greatest - BACKWARDS_MS_MAX, "{} after {}", at, greatest);
                greatest = greatest.max(at);
            }
        }
    }
}

/// Without what mails need the events are those of the shop without, and only carts have an address.
#[test]
fn a_shop_that_sends_mail_is_the_same_shop() {
    let plain = decoded(&events(&mut Shop::new(3, 100, 200.0, START), START + 60_000));
    let mut shop = Shop::new(3, 100, 200.0, START).with_mails();
    let (mut addresses, mut agreed, mut carts) = (0, 0, 0);
    let mut mails = decoded(&events(&mut shop, START + 60_000));
    for event in &mut mails {
        let event = event.as_object_mut().unwrap();
        let kind = event["type"].as_str().unwrap();
        let (is_cart, adds) =
            (kind.starts_with("cart") || kind.starts_with("payment"), kind == "cart_add");
        assert_eq!(event.remove("item").is_some(), adds, "{event:?}");
        let consent = event.remove("consent");
        let user = event.get("user").and_then(Value::as_str).unwrap_or_default().to_owned();
        match event.remove("email") {
            Some(email) => assert_eq!(email, format!("{user}@example.org").as_str()),
            None => assert_eq!(consent, None),
        }
        assert!(consent.is_none() || is_cart, "{event:?}");
        carts += u32::from(is_cart);
        addresses += u32::from(consent.is_some());
        agreed += u32::from(consent == Some(true.into()));
    }
    assert_eq!(plain, mails);
    assert!(addresses > carts / 2 && addresses < carts, "{addresses} of {carts}");
    assert!(agreed > addresses / 2 && agreed < addresses, "{agreed} of {addresses}");
}

#[test]
fn the_rate_holds_over_a_day_of_the_shop() {
    for (seed, users, rate) in [(1, 400, 200.0), (2, 50, 20.0), (3, 2_000, 500.0)] {
        let mut shop = Shop::new(seed, users, rate, START);
        let found = events(&mut shop, START + phases::DAY).len() as f64;
        let expected = rate * phases::DAY as f64 / 1_000.0;
        let ratio = found / expected;
        assert!((0.93..1.07).contains(&ratio), "seed {seed}: {found} events, {expected} expected");
    }
}

#[test]
fn every_stage_region_and_kind_of_trouble_appears() {
    let mut shop = Shop::new(1, 400, 200.0, START);
    let events = decoded(&events(&mut shop, START + phases::DAY));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut users: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
    let mut regions = HashSet::new();
    let mut failed_in_trouble = (0_u32, 0_u32);
    let mut errors_in_burst = (0_u32, 0_u32);
    for event in &events {
        let kind = event["type"].as_str().unwrap();
        *kinds.entry(kind).or_default() += 1;
        regions.insert(event["region"].as_str().unwrap());
        if let Some(user) = event["user"].as_str() {
            users.entry(kind).or_default().insert(user);
        }
        let at = event["ts"].as_i64().unwrap() + BACKWARDS_MS_MAX / 2;
        if kind == "payment_failed" {
            let trouble = shop.phases.payment_trouble(at);
            *(if trouble { &mut failed_in_trouble.0 } else { &mut failed_in_trouble.1 }) += 1;
        }
        if event["status"].as_u64().is_some_and(|status| status >= 500) {
            let burst = shop.phases.error_burst(at).is_some();
            *(if burst { &mut errors_in_burst.0 } else { &mut errors_in_burst.1 }) += 1;
        }
    }
    let share = |kind: &str| kinds[kind] as f64 / events.len() as f64;
    assert!((0.37..0.43).contains(&share("http_request")), "{kinds:?}");
    for (kind, least) in [
        ("page_view", 30_000),
        ("cart_add", 5_000),
        ("payment_initiated", 2_000),
        ("payment_completed", 2_000),
        ("payment_failed", 200),
    ] {
        assert!(kinds[kind] >= least, "{kind} in {kinds:?}");
    }
    assert_eq!(regions.len(), REGIONS.len());
    let carts = &users["cart_add"];
    let lost = carts.difference(&users["payment_completed"]).count() as f64 / carts.len() as f64;
    assert!((0.2..0.8).contains(&lost), "{lost} of the carts were lost");
    // A rule that looks for three deviations must see the trouble: compare the rates.
    let seconds = |is: &dyn Fn(EpochMs) -> bool| {
        let day = (START..START + phases::DAY).step_by(1_000);
        let during = day.filter(|at| is(*at)).count() as f64;
        (during, phases::DAY as f64 / 1_000.0 - during)
    };
    let (during, outside) = seconds(&|at| shop.phases.payment_trouble(at));
    let times = (failed_in_trouble.0 as f64 / during) / (failed_in_trouble.1 as f64 / outside);
    assert!(times > 3.0, "failed payments rose {times} times: {failed_in_trouble:?}");
    let (during, outside) = seconds(&|at| shop.phases.error_burst(at).is_some());
    let times = (errors_in_burst.0 as f64 / during) / (errors_in_burst.1 as f64 / outside);
    assert!(times > 3.0, "errors rose {times} times: {errors_in_burst:?}");
}

#[test]
fn users_return_and_ids_never_repeat_even_after_a_restart() {
    let mut ids = HashSet::new();
    for start in [START, START + 1] {
        let mut shop = Shop::new(7, 100, 200.0, start);
        let before = shop.users;
        for event in decoded(&events(&mut shop, start + 120_000)) {
            assert!(ids.insert(event["id"].as_str().unwrap().to_string()), "{event}");
        }
        assert!(shop.users > before);
        assert!(shop.gone.len() <= GONE_PER_USER * 100);
    }
    let mut shop = Shop::new(7, 100, 200.0, START);
    let mut visits = BTreeMap::<String, usize>::new();
    for event in decoded(&events(&mut shop, START + 300_000)) {
        if event["path"] == "/" {
            *visits.entry(event["user"].as_str().unwrap().into()).or_default() += 1;
        }
    }
    let returned = visits.values().filter(|count| **count > 1).count();
    assert!(returned > visits.len() / 10, "{returned} of {} users returned", visits.len());
}

#[test]
fn one_call_is_bounded() {
    let mut shop = Shop::new(1, 100, 1_000.0, START);
    let mut out = Vec::new();
    assert!(shop.events_until(START + 3_600_000, &mut out));
    assert_eq!(out.len(), EVENTS_PER_CALL_MAX);
    assert!(!shop.events_until(START + 1_000, &mut out), "the past is done");
}
