//! Shows that `tidewatch prove` runs against a real server from the command line, finds
//! nothing that differs, and says so with its exit code.

mod support;

use serde_json::Value;
use support::run;

#[test]
fn kills_change_no_number_on_a_server_it_starts() {
    let server = support::nats::server().display().to_string();
    let proof = run(&[
        "prove",
        "--cycles",
        "3",
        "--events",
        "3000",
        "--seed",
        "7",
        "--json",
        "--nats-server",
        &server,
    ]);
    assert_eq!(proof.code, Some(0), "{}\n{}", proof.stdout, proof.stderr);
    let verdict = proof.json();
    assert_eq!(verdict["equal"], true, "{verdict}");
    assert_eq!(verdict["difference"], 0, "{verdict}");
    assert_eq!(verdict["seed"], 7);
    assert!(verdict["kills"].as_u64() >= Some(3), "{verdict}");
    let found = |what: &str| -> u64 {
        let mut checks = verdict["checks"].as_array().unwrap().iter();
        let check: &Value = checks.find(|check| check["what"] == what).expect(what);
        check["found"].as_u64().unwrap()
    };
    // Equal is worth something only when something was there to count.
    assert_eq!(found("events applied"), 3_001);
    for what in ["repeats not counted", "sessions converted", "alerts in the stream"] {
        assert!(found(what) > 10, "{what}: {verdict}");
    }
}

#[test]
fn without_a_server_it_cannot_be_run() {
    for args in [
        ["prove", "--nats-server", "/nowhere/nats-server"],
        // Port 9 is "discard": nobody listens there.
        ["prove", "--nats", "nats://127.0.0.1:9"],
    ] {
        let proof = run(&args);
        assert_eq!(proof.code, Some(3), "{}\n{}", proof.stdout, proof.stderr);
        assert!(proof.stdout.is_empty(), "{}", proof.stdout);
    }
    assert_eq!(run(&["prove", "--nats", "http://127.0.0.1:9"]).code, Some(2));
}
