//! An HTTP server that answers what it is told to, good or bad.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With an entity tag, and 304 to whoever has it.
    Tagged(String),
    /// A status line's end, more headers (each with its line end), and a body.
    Raw(&'static str, String, Vec<u8>),
    /// Nothing, for as long as it lives.
    Silence,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    /// Heads of requests with the statuses that were answered.
    seen: Mutex<Vec<(String, String)>>,
    silent: Mutex<Vec<TcpStream>>,
}

/// The server; its thread ends with the process.
#[derive(Debug)]
pub struct Answers {
    port: u16,
    shared: Arc<Shared>,
}

impl Answers {
    pub fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (reply, seen, silent) = (Mutex::new(reply), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { reply, seen, silent });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                own.answer(client);
            }
        });
        Answers { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/rows", self.port)
    }

    pub fn set(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// Requests that got no answer.
    pub fn silenced(&self) -> usize {
        self.shared.silent.lock().unwrap().len()
    }

    /// Heads of all requests, with the statuses that were answered.
    pub fn seen(&self) -> Vec<(String, String)> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Shared {
    fn answer(&self, mut client: TcpStream) {
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        if !head.ends_with("\r\n\r\n") {
            // Who asked was killed on its way.
            return;
        }
        let reply = self.reply.lock().unwrap().clone();
        let (status, headers, body) = match reply {
            Reply::Silence => {
                self.silent.lock().unwrap().push(client);
                return;
            }
            Reply::Raw(status, headers, body) => (status, headers, body),
            Reply::Tagged(body) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(body.as_bytes());
                let tag = format!("\"{:x}\"", hasher.finish());
                let has = head.to_lowercase().contains(&format!("if-none-match: {tag}\r\n"));
                let (status, body) =
                    if has { ("304 Not Modified", "".into()) } else { ("200 OK", body) };
                (status, format!("ETag: {tag}\r\n"), body.into_bytes())
            }
        };
        self.seen.lock().unwrap().push((head, status.to_owned()));
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        // The client may have gone.
        let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(&body));
    }
}
