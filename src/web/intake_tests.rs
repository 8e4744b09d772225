//! The shares of the intake, with bodies that are played by the test and a clock that is
//! a number.

use super::*;

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

fn intake() -> Intake {
    Intake::new(&Settings {
        intake_bytes_max: 16 * MIB,
        body_bytes_max: MIB,
        inflated_bytes_max: 2 * MIB,
        ..Settings::default()
    })
}

fn peer(n: u8) -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)))
}

#[test]
fn what_is_held_is_what_came_and_leaves_with_the_body() {
    let intake = intake();
    let (a, b) = (intake.enter(peer(1), 0), intake.enter(peer(2), 0));
    assert_eq!((intake.bytes(), intake.bodies()), (0, 2));
    a.hold(100, 0).unwrap();
    a.hold(50, 0).unwrap();
    b.hold(MIB, 0).unwrap();
    assert_eq!(intake.bytes(), MIB + 100);
    drop(b);
    assert_eq!((intake.bytes(), intake.bodies()), (100, 1));
    drop(a);
    let table = intake.0.table.lock();
    assert_eq!((table.all.bytes, table.all.large, table.peers.len()), (0, 0, 0));
}

#[test]
fn large_bodies_leave_room_for_small_ones_and_one_peer_for_others() {
    let intake = intake();
    let mut held = Vec::new();
    let fill = |n: u8, held: &mut Vec<Admission>| {
        let mut taken = 0;
        loop {
            let admission = intake.enter(peer(n), 0);
            let fits = admission.hold(MIB, 0).is_ok();
            held.push(admission);
            if !fits {
                return taken;
            }
            taken += 1;
        }
    };
    let first = fill(1, &mut held);
    assert!((8..=9).contains(&first), "half for one peer's large bodies: {first}");
    let second = fill(2, &mut held);
    assert!((4..=5).contains(&second), "three quarters for all large bodies: {second}");
    assert_eq!(fill(3, &mut held), 0);
    for n in [1, 2, 3] {
        let small = intake.enter(peer(n), 0);
        small.hold(SMALL_BYTES, 0).unwrap();
        held.push(small);
    }
}

#[test]
fn a_body_that_hardly_moves_gives_way_and_one_that_moves_does_not() {
    let intake = intake();
    let stalled: Vec<_> = (0..18).map(|n| (intake.enter(peer(n), 0), 700 * KIB)).collect();
    for (admission, bytes) in &stalled {
        admission.hold(*bytes, 0).unwrap();
    }
    let moving = intake.enter(peer(40), 0);
    moving.hold(700 * KIB, 0).unwrap();
    moving.came(90 * KIB, 700);
    let done = intake.enter(peer(41), 0);
    done.hold(10, 0).unwrap();
    done.arrived();
    let is_cut = |admission: &Admission| !intake.0.table.lock().bodies[&admission.id].arriving;

    let new = intake.enter(peer(50), 900);
    assert_eq!(new.hold(MIB, 900), Err(NoRoom));
    assert!(!stalled.iter().any(|(admission, _)| is_cut(admission)), "nobody is slow yet");
    assert_eq!(new.hold(MIB, 1_500), Err(NoRoom));
    let cut: Vec<_> = stalled.iter().filter(|(admission, _)| is_cut(admission)).collect();
    assert_eq!(cut.len(), 2, "two of them make room for one");
    assert!(!is_cut(&moving));
    let kept = stalled.into_iter().filter(|(admission, _)| !is_cut(admission)).collect::<Vec<_>>();
    new.hold(MIB, 1_500).unwrap();
    drop(kept);
}

#[test]
fn the_largest_body_passes_whatever_the_shares_are() {
    let settings = Settings {
        intake_bytes_max: 2 * MIB,
        body_bytes_max: MIB,
        inflated_bytes_max: 2 * MIB,
        ..Settings::default()
    };
    let intake = Intake::new(&settings);
    intake.enter(None, 0).hold(2 * MIB, 0).unwrap();
}

#[test]
fn one_host_has_one_ipv6_network() {
    let six = |text: &str| network(text.parse().unwrap());
    assert_eq!(six("2001:db8::1"), six("2001:db8::ffff:2"));
    assert_ne!(six("2001:db8::1"), six("2001:db8:0:1::1"));
    assert_eq!(six("::ffff:10.0.0.1"), six("10.0.0.1"));
}

proptest::proptest! {
    /// Whatever bodies do, the sums are those of the bodies that are there, and no share
    /// is exceeded.
    #[test]
    fn the_sums_hold(steps in proptest::collection::vec((0u8..4, 0u8..4, 0usize..3 * MIB, 0i64..3_000), 1..60)) {
        let intake = intake();
        let (mut admitted, mut now) = (Vec::<Admission>::new(), 0);
        for (what, who, bytes, passed) in steps {
            now += passed;
            match what {
                0 => admitted.push(intake.enter(peer(who), now)),
                1 if !admitted.is_empty() => { admitted.remove(bytes % admitted.len()); }
                2 if !admitted.is_empty() => admitted[bytes % admitted.len()].arrived(),
                _ if !admitted.is_empty() => {
                    let at = usize::from(who) % admitted.len();
                    let _ = admitted[at].hold(bytes, now);
                }
                _ => {}
            }
            let table = intake.0.table.lock();
            let sum = table.bodies.values().map(|body| body.bytes).sum::<usize>();
            proptest::prop_assert_eq!(table.all.bytes, sum);
            let sum = table.bodies.values().map(|body| large(body.bytes)).sum::<usize>();
            proptest::prop_assert_eq!(table.all.large, sum);
            let of_peers = table.peers.values().map(|used| used.bytes).sum::<usize>();
            proptest::prop_assert_eq!(of_peers, table.all.bytes);
            let shares = &intake.0.shares;
            proptest::prop_assert!(table.all.bytes <= shares.all && table.all.large <= shares.large);
            for used in table.peers.values() {
                proptest::prop_assert!(used.bytes <= shares.one_peer && used.large <= shares.one_peer_large);
            }
        }
    }
}
