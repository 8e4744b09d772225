//! Against records in memory, and against a small HTTP server that writes down what it
//! was asked.

use super::server::ENDPOINT_FILE;
use super::*;
use crate::actors::ports::{AppendError, Appended, BoxFuture};
use crate::actors::redrive::Refused;
use crate::domain::alert::Alert;
use crate::domain::commit::LateEvent;
use crate::domain::event::Schema;
use bytes::Bytes;
use parking_lot::Mutex;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

#[derive(Clone, Default)]
struct Memory {
    letters: Arc<Mutex<Vec<StoredDeadLetter>>>,
    log: Arc<Mutex<Vec<Bytes>>>,
    /// Bytes of each append.
    appends: Arc<Mutex<Vec<usize>>>,
}

impl Records for Memory {
    fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let letters = self.letters.lock();
        Ok(letters.iter().filter(|letter| letter.id > after).take(limit).cloned().collect())
    }

    fn dead_letter(&self, id: u64) -> Result<Option<StoredDeadLetter>, StoreError> {
        Ok(self.letters.lock().iter().find(|letter| letter.id == id).cloned())
    }

    fn mark_redriven(&self, ids: &[u64], at: EpochMs) -> Result<(), StoreError> {
        for letter in self.letters.lock().iter_mut().filter(|letter| ids.contains(&letter.id)) {
            letter.redriven = Some(at);
        }
        Ok(())
    }

    fn late(
        &self,
        _before: Option<u64>,
        _limit: usize,
        _bytes_max: usize,
    ) -> Result<Vec<(u64, LateEvent)>, StoreError> {
        Ok(Vec::new())
    }

    fn dead_letters_newest(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn alerts_newest(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn alerts(&self, _after: u64, _limit: usize) -> Result<Vec<Alert>, StoreError> {
        Ok(Vec::new())
    }

    fn alert_log(&self, _after: u64, _limit: usize) -> Result<Vec<Alert>, StoreError> {
        Ok(Vec::new())
    }
}

impl EventLog for Memory {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.appends.lock().push(events.iter().map(Bytes::len).sum());
        let mut log = self.log.lock();
        let first = log.len() as u64 + 1;
        log.extend(events);
        let last = log.len() as u64;
        Box::pin(async move { Ok(Appended { first, last }) })
    }

    fn backlog(&self) -> (u64, u64) {
        (0, 1)
    }
}

fn letter(id: u64, raw: &str, redriven: Option<EpochMs>) -> StoredDeadLetter {
    StoredDeadLetter {
        id,
        source: "log".into(),
        position: 100 + id,
        reason: "ts: is missing\u{1b}[2J".into(),
        raw: raw.as_bytes().to_vec(),
        at: 1_700_000_000_123,
        redriven,
        hints: Hints::default(),
    }
}

const FINE: &str = r#"{"ts":1,"type":"x","id":"a"}"#;
const NAMELESS: &str = r#"{"ts":1,"type":"x"}"#;

fn memory() -> Memory {
    let memory = Memory::default();
    *memory.letters.lock() = vec![
        letter(1, FINE, None),
        letter(2, "bad", None),
        letter(3, FINE, Some(5)),
        letter(4, NAMELESS, None),
    ];
    memory
}

fn redriven(memory: &Memory, wanted: Wanted, gate: &Gate) -> Redriven {
    redriven_as(Schema::default(), memory, wanted, gate)
}

fn redriven_as(schema: Schema, memory: &Memory, wanted: Wanted, gate: &Gate) -> Redriven {
    let redrive = Redrive {
        records: Arc::new(memory.clone()),
        log: memory,
        schema: Arc::new(schema),
        gate,
        now: 77,
    };
    wait_for(redrive.run(wanted)).unwrap()
}

/// What is in the log of `memory`.
fn sent(memory: &Memory) -> Vec<String> {
    memory.log.lock().iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect()
}

const NAMED: &str = r#"{"ts":1,"type":"x","id":"dead-letter log 104 4"}"#;

fn still_bad() -> Refused {
    Refused { id: 2, reason: "not JSON: expected value at line 1 column 1".into() }
}

#[test]
fn all_that_is_understood_now_is_redriven_once() {
    let (memory, gate) = (memory(), Gate::default());
    let first = redriven(&memory, Wanted::After(0), &gate);
    assert_eq!((first.redriven, first.refused), (2, vec![still_bad()]));
    assert_eq!(sent(&memory), [FINE, NAMED]);
    assert_eq!(memory.letters.lock()[0].redriven, Some(77));
    let second = redriven(&memory, Wanted::After(0), &gate);
    assert_eq!((second.redriven, second.refused), (0, vec![still_bad()]));
    assert_eq!(memory.log.lock().len(), 2);
}

#[test]
fn a_letter_whose_mark_was_lost_is_the_same_event_again() {
    let (memory, gate) = (memory(), Gate::default());
    redriven(&memory, Wanted::Ids(vec![4]), &gate);
    // A crash between the append and the mark.
    memory.letters.lock()[3].redriven = None;
    redriven(&memory, Wanted::Ids(vec![4]), &gate);
    assert_eq!(sent(&memory), [NAMED, NAMED]);
}

#[test]
fn two_at_once_redrive_each_letter_once() {
    let (memory, gate) = (memory(), Gate::default());
    let redrive = || Redrive {
        records: Arc::new(memory.clone()),
        log: &memory,
        schema: Arc::default(),
        gate: &gate,
        now: 77,
    };
    let (first, second) = (redrive(), redrive());
    let both =
        async { tokio::join!(first.run(Wanted::Ids(vec![1, 4])), second.run(Wanted::After(0))) };
    let (one, other) = wait_for(both);
    assert_eq!(one.unwrap().redriven + other.unwrap().redriven, 2);
    let mut sent = sent(&memory);
    sent.sort();
    assert_eq!(sent, [FINE, NAMED]);
}

#[test]
fn named_ones_are_redriven_or_refused_with_a_reason() {
    let memory = memory();
    let result = redriven(&memory, Wanted::Ids(vec![1, 1, 2, 3, 9]), &Gate::default());
    assert_eq!(result.redriven, 1);
    let mut refused: Vec<_> =
        result.refused.iter().map(|refused| (refused.id, refused.reason.as_str())).collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        [
            (1, "is named twice"),
            (2, "not JSON: expected value at line 1 column 1"),
            (3, "was redriven already"),
            (9, "there is no such dead letter; it may have made room for newer ones")
        ]
    );
    assert_eq!(sent(&memory), [FINE]);
}

#[test]
fn great_letters_that_are_named_go_in_pages_of_bytes() {
    let memory = Memory::default();
    let great = |id: u64| {
        let pad = "x".repeat(5 << 20);
        letter(id, &format!(r#"{{"ts":1,"type":"x","id":"{id}","pad":"{pad}"}}"#), None)
    };
    *memory.letters.lock() = (1..=9).map(great).collect();
    // The last one comes again on another page than the first.
    let ids = (0..=9).chain([1]).collect();
    let mut schema = Schema::default();
    schema.limits.event_bytes = 16 << 20;
    let result = redriven_as(schema, &memory, Wanted::Ids(ids), &Gate::default());
    assert_eq!(result.redriven, 9);
    let refused: Vec<_> = result.refused.iter().map(|it| (it.id, it.reason.as_str())).collect();
    let gone = "there is no such dead letter; it may have made room for newer ones";
    assert_eq!(refused, [(0, gone), (1, "is named twice")]);
    let (appends, page) = (memory.appends.lock().clone(), 16 << 20);
    assert_eq!(appends.len(), 3, "{appends:?}");
    assert!(appends.iter().all(|bytes| *bytes < page + (6 << 20)), "{appends:?}");
    let ids = |event: &Bytes| event.slice(..40);
    let order: Vec<Bytes> = memory.log.lock().iter().map(ids).collect();
    assert!(order.is_sorted() && order.len() == 9, "each once, in the order they were named");
}

#[test]
fn people_get_a_table_without_control_characters() {
    let item = Item::from(letter(2, "{\"a\":\u{7}1}", None));
    assert_eq!(
        table(std::slice::from_ref(&item)),
        "      ID  AT                        POSITION    BYTES  REASON\n\
         \u{20}      2  2023-11-14T22:13:20Z           102        8  ts: is missing\u{fffd}[2J"
    );
    assert!(page(&item).ends_with("\n\n{\"a\":\u{fffd}1}"));
    assert_eq!(table(&[]), "No dead letters.");
}

/// Answers requests with `answers`, in order, and returns their request lines and bodies.
fn server(answers: Vec<(u16, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let answer_one = |(status, body): (u16, String)| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let lower = line.to_ascii_lowercase();
                if let Some(number) = lower.strip_prefix("content-length:") {
                    length = number.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut asked = vec![0; length];
            reader.read_exact(&mut asked).unwrap();
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
            write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
            format!("{}{}", first.trim(), String::from_utf8(asked).unwrap())
        };
        answers.into_iter().map(answer_one).collect()
    };
    (url, std::thread::spawn(serve))
}

fn no_records(_: &Config) -> Result<Arc<dyn Records>, StoreError> {
    panic!("the folder must not be opened")
}

fn no_log(_: &Config) -> Result<Box<dyn EventLog>, StoreError> {
    panic!("the folder must not be owned")
}

const NOTHING: OpenIdle = OpenIdle { records: no_records, log: no_log };

const LIST: DeadLettersAction = DeadLettersAction::List { after: 3, limit: 10, json: true };

/// The default configuration on a data folder.
fn on(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.general.data_dir = folder.into();
    config
}

/// The answer to the first question: who are you?
fn tidewatch() -> (u16, String) {
    (200, r#"{"name":"tidewatch","version":"0.1.0"}"#.to_owned())
}

#[test]
fn a_running_server_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let config = on(folder.path());
    let ask = |answers: Vec<(u16, String)>, action: DeadLettersAction| {
        let (url, asked) = server(answers);
        std::fs::write(folder.path().join(ENDPOINT_FILE), format!("{url}/\n")).unwrap();
        let result = run(&config, None, &action, NOTHING).map_err(|error| error.to_string());
        (result, asked.join().unwrap(), url)
    };
    let items: Vec<Item> = [4, 5].map(|id| letter(id, "x", None).into()).into();
    let page = |items: &[Item], next: &str| {
        (200, format!("{{\"items\":{},\"next\":{next}}}", as_json(&items)))
    };
    // A server may give less than was asked for, and say where it goes on.
    let answers = vec![tidewatch(), page(&items[..1], "4"), page(&items[1..], "null")];
    let (result, asked, _) = ask(answers, LIST);
    assert_eq!(result.unwrap().text, as_json(&Items { items, next: None }));
    assert_eq!(asked[1], "GET /v1/dead-letters?after=3&limit=10 HTTP/1.1");
    assert_eq!(asked[2], "GET /v1/dead-letters?after=4&limit=9 HTTP/1.1");

    let redrive = DeadLettersAction::Redrive { ids: vec![1, 2], all: false, json: false };
    let answer = r#"{"redriven":1,"refused":[{"id":2,"reason":"still bad"}]}"#;
    let (result, asked, _) = ask(vec![tidewatch(), (200, answer.into())], redrive);
    let done = result.unwrap();
    assert_eq!(
        (done.text.as_str(), done.exit),
        ("1 redriven, 1 refused\n       2  still bad", Exit::Failed)
    );
    assert_eq!(asked[1], r#"POST /v1/dead-letters/redrive HTTP/1.1{"ids":[1,2]}"#);

    let all = DeadLettersAction::Redrive { ids: vec![], all: true, json: false };
    let first = r#"{"redriven":3,"refused":[],"more":true,"next":9}"#;
    let second = r#"{"redriven":1,"refused":[]}"#;
    let (result, asked, _) = ask(vec![tidewatch(), (200, first.into()), (200, second.into())], all);
    let done = result.unwrap();
    assert_eq!((done.text.as_str(), done.exit), ("4 redriven, 0 refused", Exit::Ok));
    assert!(asked[2].ends_with(r#"{"after":9,"all":true}"#), "{asked:?}");

    let show = DeadLettersAction::Show { id: 9, json: false };
    let problem = r#"{"type":"about:blank","title":"Not Found","detail":"no dead letter 9"}"#;
    let (result, _, url) = ask(vec![tidewatch(), (404, problem.into())], show);
    assert_eq!(result.unwrap_err(), format!("the server at {url}: no dead letter 9"));
}

#[test]
fn a_letter_that_is_shown_in_part_is_fetched_whole() {
    let (url, asked) = server(vec![
        tidewatch(),
        (200, as_json(&Item { cut: true, ..Item::from(letter(4, "{\"a\"", None)) })),
        (200, "{\"a\":1}".into()),
    ]);
    let listen = url.trim_start_matches("http://");
    let mut config = Config::default();
    config.web.listen = listen.parse().unwrap();
    let show = DeadLettersAction::Show { id: 4, json: false };
    let done = run(&config, Some(listen), &show, NOTHING).unwrap();
    assert!(done.text.ends_with("\n\n{\"a\":1}"), "{}", done.text);
    assert_eq!(asked.join().unwrap()[2], "GET /v1/dead-letters/4/raw HTTP/1.1");
}

#[test]
fn an_endpoint_that_leads_nowhere_means_an_idle_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = on(folder.path());
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(folder.path().join(ENDPOINT_FILE), format!("http://{unused}")).unwrap();
    let open = OpenIdle { records: |_| Ok(Arc::new(memory())), log: no_log };
    let list = DeadLettersAction::List { after: 0, limit: 100, json: false };
    assert_eq!(run(&config, None, &list, open).unwrap().text.lines().count(), 5);
    let show = DeadLettersAction::Show { id: 9, json: false };
    assert!(matches!(run(&config, None, &show, open), Err(DeadLettersError::Unknown(9))));
    // Redriving needs the folder; whoever has it is named.
    let locked = |_: &Config| Err(StoreError::Locked { path: "d".into(), pid: 7 });
    let redrive = DeadLettersAction::Redrive { ids: vec![1], all: false, json: false };
    let error = run(&config, None, &redrive, OpenIdle { log: locked, ..open }).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    assert!(error.to_string().contains("process 7") && error.to_string().contains("--listen"));
}

#[test]
fn where_it_looked_is_said_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("not-there");
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = on(&data_dir);
    config.web.listen = unused;
    for listen in [None, Some("its value is in the configuration")] {
        let error = run(&config, listen, &LIST, NOTHING).unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        let text = error.to_string();
        assert!(text.contains(&unused.to_string()) && text.contains("--data-dir"), "{text}");
        assert_eq!(text.contains("no such folder"), listen.is_none(), "{text}");
    }
    assert!(!data_dir.exists());
    // Something else at the address is not a server of ours.
    let (url, asked) = server(vec![(200, "<html>".into())]);
    config.web.listen = url.trim_start_matches("http://").parse().unwrap();
    let error = run(&config, None, &LIST, NOTHING).unwrap_err().to_string();
    assert!(error.contains("not tidewatch"), "{error}");
    asked.join().unwrap();
    // One of ours will do where there is no folder.
    let (url, asked) = server(vec![tidewatch(), (200, "{\"items\":[]}".into())]);
    config.web.listen = url.trim_start_matches("http://").parse().unwrap();
    assert_eq!(run(&config, None, &LIST, NOTHING).unwrap().exit, Exit::Ok);
    asked.join().unwrap();
}

#[test]
fn the_exit_code_tells_what_to_do() {
    let locked = StoreError::Locked { path: "d".into(), pid: 1 };
    assert_eq!(DeadLettersError::from(locked).exit(), Exit::Locked);
    let damaged = StoreError::Damaged { path: "d".into(), what: "x".into(), remedy: "y".into() };
    assert_eq!(DeadLettersError::from(damaged).exit(), Exit::Damaged);
    assert_eq!(DeadLettersError::Unknown(1).exit(), Exit::Failed);
}
