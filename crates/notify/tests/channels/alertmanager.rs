//! A real Alertmanager (Debian's): it takes what is sent, and knows an incident from its beginning to
//! its end.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::rig::{never, open, sample};
use serde_json::Value as Json;
use tidewatch_clock::SystemClock;
use tidewatch_core::incident::Step;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until the answer is what is wanted.
fn wait(url: &str, wanted: impl Fn(&Json) -> bool) -> Json {
    let clock = SystemClock::shared();
    let (_hold, never) = std::sync::mpsc::sync_channel::<()>(0);
    let mut last = Json::Null;
    while clock.elapsed() < 20_000 {
        if let Ok(mut answer) = ureq::get(url).call() {
            last = answer.body_mut().read_json().unwrap_or_default();
            if wanted(&last) {
                return last;
            }
        }
        let _ = never.recv_timeout(Duration::from_millis(50));
    }
    panic!("not in time: {last:#}");
}

#[test]
fn an_incident_lives_in_alertmanager() {
    if Command::new("prometheus-alertmanager").arg("--version").output().is_err() {
        crate::skip::skipped("no prometheus-alertmanager: ./test installs it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("am.yml");
    std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(process);
    let url = format!("http://127.0.0.1:{port}");
    let alerts = format!("{url}/api/v2/alerts");
    wait(&alerts, Json::is_array);
    let channel = open("alertmanager", &[("url", &url)]);
    // The samples lie at a time of their own: an incident of now.
    let now = SystemClock::shared().wall();
    let at_now = |step| {
        let mut told = sample(step);
        let shift = now - told.at;
        told.at = now;
        for fact in ["/since", "/resolved/at"] {
            if let Some(Json::Number(at)) = told.facts.pointer(fact).cloned() {
                let at = at.as_i64().unwrap() + shift;
                *told.facts.pointer_mut(fact).unwrap() = at.into();
            }
        }
        told
    };
    channel.deliver(&at_now(Step::Fired), None).unwrap();
    let firing = wait(&alerts, |alerts| alerts[0]["status"]["state"] == "active");
    assert_eq!(firing[0]["labels"]["alertname"], "sample_rule");
    assert_eq!(firing[0]["labels"]["shop_id"], "sample");
    assert_eq!(firing[0]["annotations"]["incident"], at_now(Step::Fired).about);
    channel.deliver(&at_now(Step::Acknowledged), None).unwrap();
    let same = wait(&alerts, |alerts| alerts[0]["annotations"]["acknowledged_by"] == "ada");
    assert_eq!(same.as_array().unwrap().len(), 1, "one incident is one alert: {same:#}");
    channel.deliver(&at_now(Step::Resolved), None).unwrap();
    wait(&alerts, |alerts| alerts.as_array().is_some_and(Vec::is_empty));
    channel.deliver(&at_now(Step::Occurred), None).unwrap();
    wait(&alerts, |alerts| alerts[0]["labels"]["kind"] == "occurrence");
    let mut wrong = at_now(Step::Fired);
    wrong.facts["rule"] = "".into();
    wrong.facts["severity"] = "".into();
    wrong.facts["metric"] = "".into();
    (wrong.at, wrong.facts["since"]) = (i64::MAX / 2, (i64::MAX / 2).into());
    never(channel.deliver(&wrong, None));
}
