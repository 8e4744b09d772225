//! A real browser: Chromium, driven through chromedriver with the plain WebDriver protocol.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Http, until};

/// chromedriver as a child process.
pub struct Driver {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Driver {
    pub fn start() -> Driver {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("chromedriver.log");
        let child = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: ./test does it");
        let port = until(20, "chromedriver listens", || {
            let text = fs::read_to_string(&log).unwrap();
            let (_, rest) = text.split_once("started successfully on port ")?;
            let port = rest.split('.').next()?.trim().parse::<u16>().ok()?;
            rest.contains('.').then_some(port)
        });
        Driver { child, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    /// A new browser window of its own.
    pub fn page(&self) -> Page {
        let http = Http::default();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--window-size=1400,1000",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let answer = http.post_json(&format!("{}/session", self.url), &wanted);
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["value"]["sessionId"].as_str().unwrap().to_string();
        Page { http, session: format!("{}/session/{id}", self.url) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One browser with one page. Closed when dropped.
pub struct Page {
    http: Http,
    session: String,
}

impl Page {
    pub fn command(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post_json(&format!("{}/{path}", self.session), body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()["value"].clone()
    }

    pub fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    pub fn script(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Looks at it, or at one of its panels: a picture light, dark and of a phone, and nothing is wider
    /// than the window.
    pub fn looks(&self, name: &str, panel: Option<&str>) {
        for (look, scheme, width, height) in [
            ("light", "light", 1400, 1000),
            ("dark", "dark", 1400, 1000),
            ("phone", "light", 390, 844),
            ("phone-dark", "dark", 390, 844),
        ] {
            self.look(scheme, width, height);
            if let Some(panel) = panel {
                let of = format!("[data-panel={panel}]");
                self.script(&format!("document.querySelector('{of}').scrollIntoView()"));
            }
            self.screenshot(&format!("{name}-{look}"));
            let wide = "const e = document.documentElement; return e.scrollWidth - e.clientWidth";
            assert_eq!(self.script(wide), 0, "{name}-{look}: nothing is wider than the window");
        }
    }

    /// Scheme and size, as a device with them would have it.
    pub fn look(&self, scheme: &str, width: u32, height: u32) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        for (name, params) in
            [("Emulation.setEmulatedMedia", media), ("Emulation.setDeviceMetricsOverride", size)]
        {
            self.command("goog/cdp/execute", &json!({ "cmd": name, "params": params }));
        }
        // Two frames: one to lay out anew, one to draw the charts into it.
        let frames = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](true)))";
        self.command("execute/async", &json!({ "script": frames, "args": [] }));
    }

    pub fn screenshot(&self, name: &str) {
        let answer = self.http.get(&format!("{}/screenshot", self.session)).json();
        let png = decode_base64(answer["value"].as_str().unwrap());
        assert!(png.starts_with(b"\x89PNG"), "a picture");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    pub fn state(&self) -> String {
        self.script("return document.body.dataset.state").as_str().unwrap_or_default().into()
    }

    /// Types into whatever has the focus, as a keyboard does.
    pub fn keys(&self, text: &str) {
        let active = self.script("return document.activeElement");
        let (_, id) = active.as_object().and_then(|one| one.iter().next()).expect("an element");
        self.command(&format!("element/{}/value", id.as_str().unwrap()), &json!({ "text": text }));
    }

    /// `data-value` of the first element that fits, if there is one.
    pub fn value(&self, selector: &str) -> Option<String> {
        let script = format!("return document.querySelector('{selector}')?.dataset.value");
        self.script(&script).as_str().map(String::from)
    }

    pub fn count(&self, selector: &str) -> u64 {
        let script = format!("return document.querySelectorAll('{selector}').length");
        self.script(&script).as_u64().unwrap()
    }

    pub fn wait(&self, what: &str, condition: impl FnMut() -> Option<()>) {
        until(90, what, condition);
    }

    /// Nothing of level warning or above in the console, except what contains one of
    /// `expected`.
    pub fn assert_no_errors(&self, expected: &[&str]) {
        let entries = self.command("se/log", &json!({ "type": "browser" }));
        let errors: Vec<_> = entries
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].as_str().unwrap().to_string())
            .filter(|message| !expected.iter().any(|part| message.contains(part)))
            .collect();
        assert!(errors.is_empty(), "the console: {errors:#?}");
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Ends the browser; when that fails chromedriver's own end does it.
        let _ = self.http.try_delete(&self.session);
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> =
        text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=').map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
