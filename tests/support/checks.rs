//! What must hold after any fault: every number is that of the events, every alert is
//! there once, and the ledger balances.

use std::collections::BTreeMap;

use super::events::{Event, Session, abandoned_alerts};
use super::server::Server;

/// Waits until everything is committed and delivered, then compares all of it with what the
/// set's own numbers and the plain model of sessions say. The last event must be the one
/// that closes everything.
pub fn check(server: &Server, events: &[Event], expected: &[Session], truth: &serde_json::Value) {
    let abandoned = truth["abandoned"]["none_in_session"].as_u64();
    let what = "everything is applied and every alert delivered";
    let pipeline = server.wait_pipeline(what, |pipeline| {
        pipeline["applied"] == events.len()
            && pipeline["in_flight"] == 0
            && pipeline["lag_events"] == 0
            && pipeline["alerts_delivered"].as_u64() >= abandoned
            && pipeline["alerts_committed"] == pipeline["alerts_delivered"]
    });
    let count = |name: &str| pipeline[name].as_u64().unwrap();
    // A batch of this set spans hours: when it is sent again, some of its ids are behind the
    // horizon. Such a repeat is late, and it is not counted either.
    let repeats = count("duplicate") + count("late");
    assert_eq!(count("received"), count("applied") + repeats, "{pipeline}");
    assert_eq!(count("rejected"), 0, "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    assert_eq!(pipeline["open_sessions"], 1, "only the closing user's own: {pipeline}");

    let kpi = server.topic("kpi");
    assert_eq!(kpi["closed"], truth["sessions"], "{kpi}");
    assert_eq!(kpi["abandoned"], truth["abandoned"]["none_in_session"], "{kpi}");
    assert_eq!(kpi["converted"], truth["with_cart_and_payment"], "{kpi}");

    let wanted = abandoned_alerts(expected);
    for path in ["v1/alerts", "v1/alert-log"] {
        let mut ids = BTreeMap::new();
        let mut found = Vec::new();
        for alert in server.all(path) {
            let id = alert["id"].as_str().unwrap().to_string();
            assert_eq!(ids.insert(id, alert.clone()), None, "{path}: an alert twice");
            if alert["kind"] == "abandoned" {
                let subject = alert["subject"].as_str().unwrap().to_string();
                found.push((subject, alert["at"].as_i64().unwrap()));
            }
        }
        found.sort();
        assert_eq!(found.len(), wanted.len(), "{path}: number of alerts");
        assert!(found == wanted, "{path}: the alerts are not those of the abandoned sessions");
    }
}
