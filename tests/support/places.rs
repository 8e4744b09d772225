//! Where the rows of a table lie: a file, behind an address, in a bucket.

use std::collections::BTreeMap;

use async_nats::jetstream::{self, kv};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::nats::Broker;
use super::server::Folder;
use super::wait::until;
use super::{Answers, Reply};

/// A row: what it is looked up by, its kind and its cost.
pub type Row = (String, String, String);

/// A place. A table of it has the columns `kind` and `unit cost`.
pub trait Place {
    /// Sections that the whole configuration needs.
    fn sections(&self) -> String {
        String::new()
    }

    /// The keys of the lookup.
    fn keys(&self) -> String;

    /// These rows lie there, and no others.
    fn put(&mut self, rows: &[Row]);

    /// They cannot be had as they are, in one of several ways; what is said of it.
    fn spoil(&mut self, way: usize) -> &'static str;

    /// Whether a process starts while they cannot be had.
    fn is_far(&self) -> bool {
        true
    }

    /// After the last look.
    fn check(&self) {}
}

/// A CSV file.
pub struct InFile<'a>(pub &'a Folder);

impl Place for InFile<'_> {
    fn keys(&self) -> String {
        let file = self.0.path("products.csv").display().to_string();
        format!("file = {file:?}\ncolumn = \"id\"\n")
    }

    fn put(&mut self, rows: &[Row]) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["kind", "id", "unit cost"]).unwrap();
        for (id, kind, cost) in rows {
            writer.write_record([kind, id, cost]).unwrap();
        }
        // As a whole.
        self.0.write("products.new", writer.into_inner().unwrap());
        std::fs::rename(self.0.path("products.new"), self.0.path("products.csv")).unwrap();
    }

    fn spoil(&mut self, way: usize) -> &'static str {
        let (text, says) = [
            ("kind,id,unit cost\nx,a,1\ny,a,1\n", "has id \\\"a\\\" a second time in line 3"),
            ("kind,id\nx,a\n", "has no column \\\"unit cost\\\""),
        ][way % 2];
        self.0.write("products.csv", text);
        says
    }

    fn is_far(&self) -> bool {
        false
    }
}

/// An address.
pub struct OverHttp(pub Answers);

impl OverHttp {
    pub fn start() -> Self {
        OverHttp(Answers::start(Reply::Tagged("[]".into())))
    }
}

impl Place for OverHttp {
    fn keys(&self) -> String {
        let url = self.0.url();
        format!(
            "url = {url:?}\nrows = \"/data/rows\"\ncolumn = \"id\"\ntimeout = \"300ms\"\n\
             headers = {{ Authorization = \"env:SHOP_TOKEN\" }}\nbytes_max = \"64KiB\"\n"
        )
    }

    fn put(&mut self, rows: &[Row]) {
        let row = |(id, kind, cost): &Row| json!({"kind": kind, "id": id, "unit cost": cost});
        let rows: Vec<Value> = rows.iter().map(row).collect();
        self.0.set(Reply::Tagged(json!({"data": {"rows": rows}}).to_string()));
    }

    fn spoil(&mut self, way: usize) -> &'static str {
        let raw = |status, headers: &str, body: Vec<u8>| Reply::Raw(status, headers.into(), body);
        let to = "Location: http://10.0.0.1/latest/meta-data\r\n";
        let (reply, says) = match way % 6 {
            0 => (raw("500 Internal Server Error", "", b"no rows today".to_vec()), "answers 500"),
            1 => (raw("200 OK", "", b"<html>sign in</html>".to_vec()), "is no JSON"),
            2 => (raw("200 OK", "", vec![b'['; 65 << 10]), "has more bytes than bytes_max"),
            3 => (raw("302 Found", to, Vec::new()), "10.0.0.1/latest/meta-data"),
            4 => (Reply::Silence, "does not answer"),
            _ => (
                raw("200 OK", "", b"{\"data\": {\"rows\": [1]}}".to_vec()),
                "has no object in row 1",
            ),
        };
        self.0.set(reply);
        says
    }

    fn check(&self) {
        let seen = self.0.seen();
        let authorized = |head: &str| head.to_lowercase().contains("authorization: bearer abc\r\n");
        assert!(seen.iter().all(|(head, _)| authorized(head)), "{:?}", seen.first());
        assert!(
            seen.iter().any(|(_, status)| status.starts_with("304")),
            "it asks for changes alone"
        );
    }
}

/// A key-value bucket.
pub struct InBucket {
    pub broker: Broker,
    runtime: Runtime,
    rows: BTreeMap<String, (String, String)>,
    away: bool,
}

impl InBucket {
    pub fn start() -> Self {
        let (broker, runtime) = (Broker::start(), Runtime::new().unwrap());
        let place = InBucket { broker, runtime, rows: BTreeMap::new(), away: false };
        place.with(async |context: jetstream::Context| {
            let config = kv::Config { bucket: "products".into(), history: 5, ..Default::default() };
            context.create_key_value(config).await.map(drop).map_err(|error| error.to_string())
        });
        place
    }

    /// Does something on the server, which may just be starting.
    fn with(&self, work: impl AsyncFn(jetstream::Context) -> Result<(), String>) {
        until(60, "the server does it", || {
            self.runtime.block_on(async {
                let client = async_nats::connect(self.broker.url()).await.ok()?;
                work(jetstream::new(client)).await.ok()
            })
        });
    }
}

impl Place for InBucket {
    fn sections(&self) -> String {
        let url = self.broker.url();
        format!("[nats]\nurl = {url:?}\nreconnect_max = \"200ms\"\nrequest_timeout = \"1s\"\n")
    }

    fn keys(&self) -> String {
        "bucket = \"products\"\ntimeout = \"1s\"\n".into()
    }

    fn put(&mut self, rows: &[Row]) {
        if std::mem::take(&mut self.away) {
            self.broker.restart();
        }
        let rows: BTreeMap<String, (String, String)> = rows
            .iter()
            .map(|(id, kind, cost)| (id.clone(), (kind.clone(), cost.clone())))
            .collect();
        self.with(async |context: jetstream::Context| {
            let bucket = context.get_key_value("products").await.map_err(|e| e.to_string())?;
            for (at, id) in self.rows.keys().filter(|id| !rows.contains_key(*id)).enumerate() {
                match at % 2 {
                    0 => bucket.delete(id).await.map_err(|e| e.to_string())?,
                    _ => bucket.purge(id).await.map_err(|e| e.to_string())?,
                }
            }
            for (id, (kind, cost)) in &rows {
                let row: Map<String, Value> = [("kind", kind), ("unit cost", cost)]
                    .map(|(k, v)| (k.into(), json!(v)))
                    .into_iter()
                    .collect();
                let row = Value::Object(row).to_string();
                if self.rows.get(id) != rows.get(id) {
                    bucket.put(id, row.into()).await.map_err(|e| e.to_string())?;
                }
            }
            Ok(())
        });
        self.rows = rows;
    }

    fn spoil(&mut self, way: usize) -> &'static str {
        if way.is_multiple_of(2) {
            self.broker.kill_9();
            self.away = true;
            return "lookup products";
        }
        self.with(async |context: jetstream::Context| {
            let bucket = context.get_key_value("products").await.map_err(|e| e.to_string())?;
            bucket.put("spoilt", "{\"kind\": 1,".into()).await.map(drop).map_err(|e| e.to_string())
        });
        self.rows.insert("spoilt".into(), Default::default());
        "has a value in \\\"spoilt\\\" that is no JSON"
    }
}
