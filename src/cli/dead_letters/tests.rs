//! Against records in memory, and against a small HTTP server that writes down what it
//! was asked.

use super::server::ENDPOINT_FILE;
use super::*;
use crate::actors::ports::{Appended, BoxFuture};
use crate::domain::alert::Alert;
use crate::domain::commit::LateEvent;
use parking_lot::Mutex;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

#[derive(Clone, Default)]
struct Memory {
    letters: Arc<Mutex<Vec<StoredDeadLetter>>>,
    log: Arc<Mutex<Vec<Bytes>>>,
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

    fn late(&self, _limit: usize) -> Result<Vec<LateEvent>, StoreError> {
        Ok(Vec::new())
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

fn memory() -> (Memory, Idle) {
    let memory = Memory::default();
    *memory.letters.lock() =
        vec![letter(1, "fine 1", None), letter(2, "bad", None), letter(3, "fine 3", Some(5))];
    let idle = Idle { records: Box::new(memory.clone()), log: Box::new(memory.clone()) };
    (memory, idle)
}

fn fine(raw: Vec<u8>, _: &Hints) -> Result<Vec<u8>, String> {
    if raw.starts_with(b"fine") { Ok(raw) } else { Err("still bad".into()) }
}

#[test]
fn all_that_is_understood_now_is_redriven_once() {
    let (memory, idle) = memory();
    let refused = vec![Refused { id: 2, reason: "still bad".into() }];
    let first = redrive(&idle, None, 77, fine).unwrap();
    assert_eq!(first, Redriven { redriven: 1, refused: refused.clone() });
    assert_eq!(*memory.log.lock(), ["fine 1"]);
    assert_eq!(memory.letters.lock()[0].redriven, Some(77));
    let second = redrive(&idle, None, 78, fine).unwrap();
    assert_eq!(second, Redriven { redriven: 0, refused });
    assert_eq!(memory.log.lock().len(), 1);
}

#[test]
fn named_ones_are_redriven_or_refused_with_a_reason() {
    let (memory, idle) = memory();
    let result = redrive(&idle, Some(&[1, 1, 2, 3, 9]), 77, fine).unwrap();
    assert_eq!(result.redriven, 1);
    let mut refused: Vec<_> =
        result.refused.iter().map(|refused| (refused.id, refused.reason.as_str())).collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        [
            (1, "is named twice"),
            (2, "still bad"),
            (3, "was redriven already"),
            (9, "there is no such dead letter")
        ]
    );
    assert_eq!(*memory.log.lock(), ["fine 1"]);
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

fn unexpected(_: &Config) -> Result<Idle, StoreError> {
    panic!("the folder must not be opened while a server runs")
}

#[test]
fn a_running_server_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: folder.path().into(), ..Config::default() };
    let ask = |answers: Vec<(u16, String)>, action: DeadLettersAction| {
        let (url, asked) = server(answers);
        std::fs::write(folder.path().join(ENDPOINT_FILE), format!("{url}/\n")).unwrap();
        let result = run(&config, &action, unexpected).map_err(|error| error.to_string());
        (result, asked.join().unwrap(), url)
    };
    let live = || (200, "ok".to_string());

    let body = as_json(&Items { items: vec![letter(4, "x", None).into()] });
    let list = DeadLettersAction::List { after: 3, limit: 10, json: true };
    let (result, asked, _) = ask(vec![live(), (200, body.clone())], list);
    assert_eq!(result.unwrap(), body);
    assert_eq!(asked[1], "GET /v1/dead-letters?after=3&limit=10 HTTP/1.1");

    let redrive = DeadLettersAction::Redrive { ids: vec![1, 2], all: false, json: false };
    let answer = "{\"redriven\":1,\"refused\":[{\"id\":2,\"reason\":\"still bad\"}]}";
    let (result, asked, _) = ask(vec![live(), (200, answer.into())], redrive);
    assert_eq!(result.unwrap(), "1 redriven, 1 refused\n       2  still bad");
    assert_eq!(asked[1], "POST /v1/dead-letters/redrive HTTP/1.1{\"ids\":[1,2]}");

    let show = DeadLettersAction::Show { id: 9, json: false };
    let problem =
        "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"detail\":\"no dead letter 9\"}";
    let (result, _, url) = ask(vec![live(), (404, problem.into())], show);
    assert_eq!(result.unwrap_err(), format!("the server at {url}: no dead letter 9"));
}

#[test]
fn an_endpoint_that_leads_nowhere_means_an_idle_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: folder.path().into(), ..Config::default() };
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(folder.path().join(ENDPOINT_FILE), format!("http://{unused}")).unwrap();
    let open = |_: &Config| Ok(memory().1);
    let list = DeadLettersAction::List { after: 0, limit: 100, json: false };
    assert_eq!(run(&config, &list, open).unwrap().lines().count(), 4);
    let show = DeadLettersAction::Show { id: 9, json: false };
    assert!(matches!(run(&config, &show, open), Err(DeadLettersError::Unknown(9))));
}

#[test]
fn the_exit_code_tells_what_to_do() {
    let locked = StoreError::Locked { path: "d".into(), pid: 1 };
    assert_eq!(DeadLettersError::from(locked).exit(), Exit::Locked);
    let damaged = StoreError::Damaged { path: "d".into(), what: "x".into(), remedy: "y".into() };
    assert_eq!(DeadLettersError::from(damaged).exit(), Exit::Damaged);
    assert_eq!(DeadLettersError::Unknown(1).exit(), Exit::Failed);
}
