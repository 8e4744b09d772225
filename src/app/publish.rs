//! `tidewatch publish`: a file of events, or standard input, to a NATS subject.
//!
//! A thread reads lines, the publisher's engine sends them on the connection's thread, and
//! this one hands them over. What the buffer cannot take waits in the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::serving::complain;
use crate::cli::Exit;
use crate::cli::args::{Common, LogFormat, NatsFlags, PublishArgs};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::nats::NatsError;
use crate::nats::settings::{Auth, LinkSettings, check_subject};
use crate::publisher::{FlushReport, Mode, Options, Publisher, Stats};
use crate::telemetry;

/// The server where nothing names one.
const SERVER: &str = "nats://127.0.0.1:4222";
/// Longest line; a longer one is listed as failed and passed over. It is the largest message that
/// NATS advises to allow; what the server at hand takes is mostly less, and is checked then.
const LINE_BYTES_MAX: usize = 8 << 20;
/// Lines and bytes handed over at once, and pieces read ahead: 8 x (1 MiB + a line of 8 MiB)
/// are 72 MiB at the worst, some 1 MiB with events of 250 bytes.
const LINES_AT_ONCE: usize = 256;
const PIECE_BYTES: usize = 1 << 20;
const PIECES_AHEAD: usize = 8;
/// Failed lines that are listed; further ones are counted.
const FAILURES_MAX: usize = 1_000;
/// Failed lines that are listed for people.
const FAILURES_SHOWN: usize = 20;
/// Most bytes of a pack, and longest wait for one to fill.
const PACK_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(20);
/// How often the bar is redrawn.
const REDRAW: Duration = Duration::from_millis(200);
/// Longest distance between two looks at the pace, in ms.
const PACE_MS: i64 = 20;

/// Runs the command.
pub fn run(config: Config, common: &Common, args: &PublishArgs) -> Exit {
    let settings = telemetry::Settings {
        filter: common.log.clone().or_else(|| Some("warn".into())),
        json: common.log_format == LogFormat::Json,
    };
    if let Err(error) = telemetry::install(&settings) {
        return complain(&error, Exit::Usage);
    }
    let options = match options(&config, args) {
        Ok(options) => options,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let lines = match Lines::open(&args.file) {
        Ok(lines) => lines,
        Err(error) => {
            return complain(&format!("{}: {error}", args.file.display()), Exit::Usage);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, Exit::Failed),
    };
    match runtime.block_on(publish(lines, options, args.rate)) {
        Ok(summary) => tell(&summary, args.json),
        Err(error @ NatsError::Setting { .. }) => complain(&error, Exit::Usage),
        Err(error) => complain(&error, Exit::Failed),
    }
}

fn options(config: &Config, args: &PublishArgs) -> Result<Options, NatsError> {
    // A server that is named on the command line has nothing to do with the configured one.
    let configured = config.nats.link.as_ref().filter(|_| args.nats.nats.is_none());
    let gateway = configured.map(|_| &config.nats.gateway.subject);
    let subject = args.subject.as_ref().or(gateway).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or_else(|| NatsError::Setting {
        key: "--subject".into(),
        cause: "is needed; or give --config with nats.url and nats.gateway.subject".into(),
    })?;
    let link = link_settings(configured, &args.nats)?;
    let mut options = Options::new(link.url.clone(), subject.clone());
    options.link = link;
    options.failed_max = FAILURES_MAX;
    options.give_up_after = Duration::from_secs(args.give_up);
    options.ack_wait = options.ack_wait.min(options.give_up_after);
    options.mode = match (args.pack, args.atomic) {
        (Some(events), _) => Mode::Pack { events, bytes: PACK_BYTES, linger: LINGER },
        (None, Some(events)) => Mode::Atomic { events, linger: LINGER },
        (None, None) => Mode::Single,
    };
    Ok(options)
}

/// How to connect: as configured, and as the flags say otherwise.
///
/// # Errors
/// When a file with a secret cannot be read.
fn link_settings(
    configured: Option<&LinkSettings>,
    flags: &NatsFlags,
) -> Result<LinkSettings, NatsError> {
    let url = flags.nats.clone().unwrap_or_else(|| SERVER.into());
    let mut link = configured.cloned().unwrap_or_else(|| Options::new(url, "publish").link);
    link.name = "tidewatch-publish".into();
    if let Some(path) = &flags.creds {
        link.auth = Auth::Creds(path.clone());
    } else if let Some(path) = &flags.nkey_file {
        link.auth = Auth::Nkey(secret("--nkey-file", path)?);
    } else if let Some(path) = &flags.token_file {
        link.auth = Auth::Token(secret("--token-file", path)?);
    } else if let (Some(user), Some(path)) = (&flags.user, &flags.password_file) {
        link.auth = Auth::Password(user.clone(), secret("--password-file", path)?);
    }
    if let Some(prefix) = &flags.inbox_prefix {
        check_subject(prefix, false)
            .map_err(|cause| NatsError::Setting { key: "--inbox-prefix".into(), cause })?;
        link.inbox.clone_from(prefix);
    }
    let tls = &mut link.tls;
    tls.first |= flags.tls_first;
    tls.required |= flags.tls || flags.tls_first;
    tls.ca_file = flags.tls_ca.clone().or(tls.ca_file.take());
    tls.client = flags.tls_cert.clone().zip(flags.tls_key.clone()).or(tls.client.take());
    Ok(link)
}

fn secret(flag: &str, path: &Path) -> Result<String, NatsError> {
    let text = std::fs::read_to_string(path).map_err(|error| NatsError::Setting {
        key: flag.into(),
        cause: format!("{}: {error}", path.display()),
    })?;
    Ok(text.trim().to_owned())
}

/// What became of the file.
#[derive(Debug, Default, Serialize)]
struct Summary {
    read: u64,
    published: u64,
    duplicates: u64,
    failed: u64,
    retried: u64,
    elapsed_s: f64,
    events_per_s: f64,
    failures: Vec<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

#[derive(Debug, Serialize)]
struct Failure {
    /// Id of the event, or its line when it is not an event.
    id: String,
    reason: String,
}

impl Summary {
    fn fail(&mut self, id: String, reason: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(Failure { id, reason });
        }
    }

    fn add(&mut self, report: FlushReport, stats: Stats, elapsed_ms: i64) {
        self.published = report.published;
        self.duplicates = report.duplicates;
        self.retried = stats.retried;
        self.failed += report.failed_count;
        let room = FAILURES_MAX.saturating_sub(self.failures.len());
        let failed = report.failed.into_iter().take(room);
        self.failures.extend(failed.map(|(id, reason)| Failure { id, reason }));
        self.elapsed_s = elapsed_ms.max(1) as f64 / 1_000.0;
        self.events_per_s = self.published as f64 / self.elapsed_s;
    }
}

async fn publish(lines: Lines, options: Options, rate: Option<u64>) -> Result<Summary, NatsError> {
    let bar = bar(&lines);
    let publisher = Publisher::connect(options).await?;
    let clock = SystemClock::shared();
    let mut summary = Summary::default();
    let (done, pieces) = (Arc::clone(&lines.done), lines.start());
    tokio::select! {
        () = hand_over(&publisher, pieces, rate, &clock, &mut summary, || {
            bar.set_position(done.load(Ordering::Relaxed));
            bar.set_message(format!("{} events acknowledged", publisher.stats().acked));
        }) => {}
        _ = tokio::signal::ctrl_c() => {
            summary.stopped = Some("stopped before the end of the file".into());
        }
    }
    let report = publisher.flush().await;
    bar.finish_and_clear();
    summary.add(report, publisher.stats(), clock.elapsed());
    Ok(summary)
}

async fn hand_over(
    publisher: &Publisher,
    mut pieces: mpsc::Receiver<io::Result<Vec<Line>>>,
    rate: Option<u64>,
    clock: &SharedClock,
    summary: &mut Summary,
    progress: impl Fn(),
) {
    while let Some(piece) = pieces.recv().await {
        let lines = match piece {
            Ok(lines) => lines,
            Err(error) => {
                summary.stopped = Some(format!("the file cannot be read further: {error}"));
                return;
            }
        };
        for Line { number, event } in lines {
            keep_pace(clock, rate, summary.read).await;
            summary.read += 1;
            let accepted = match event {
                Some(event) => publisher.publish_bytes(event).await.map_err(|e| e.to_string()),
                None => Err(format!("longer than {LINE_BYTES_MAX} bytes")),
            };
            if let Err(reason) = accepted {
                summary.fail(format!("line {number}"), reason);
            }
        }
        progress();
    }
}

/// Waits until `sent` events are due at `rate` events a second.
async fn keep_pace(clock: &SharedClock, rate: Option<u64>, sent: u64) {
    let Some(rate) = rate else { return };
    let due = (sent as f64 * 1_000.0 / rate as f64) as i64;
    loop {
        let early = due - clock.elapsed();
        if early <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(early.min(PACE_MS) as u64)).await;
    }
}

/// A bar on the terminal behind standard error; hidden when there is none.
fn bar(lines: &Lines) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match lines.len {
        Some(_) => "{msg:<32} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
        None => "{msg:<32} {spinner} {bytes}  {bytes_per_sec}",
    };
    let style =
        ProgressStyle::with_template(template).expect("the template names only keys of indicatif");
    let bar = ProgressBar::with_draw_target(lines.len, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(REDRAW);
    bar.with_style(style)
}

fn tell(summary: &Summary, json: bool) -> Exit {
    let text = if json {
        serde_json::to_string_pretty(summary).expect("plain numbers and text")
    } else {
        summary.text()
    };
    use std::io::Write;
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed,
        _ if summary.failed > 0 || summary.stopped.is_some() => Exit::Failed,
        _ => Exit::Ok,
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} of {} events are in the stream, after {:.1} s ({:.0} events/s)",
            self.published, self.read, self.elapsed_s, self.events_per_s
        )];
        if self.duplicates > 0 {
            let what = "of them were there already: sent before, or other events with the same id";
            lines.push(format!("{} {what}", self.duplicates));
        }
        if self.failed > 0 {
            lines.push(format!("{} failed:", self.failed));
        }
        for Failure { id, reason } in self.failures.iter().take(FAILURES_SHOWN) {
            lines.push(format!("  {}: {}", id.escape_debug(), reason.escape_debug()));
        }
        if self.failed > FAILURES_SHOWN as u64 {
            lines.push(format!("  and {} more", self.failed - FAILURES_SHOWN as u64));
        }
        lines.extend(self.stopped.clone());
        lines.join("\n")
    }
}

/// A line of the input.
struct Line {
    /// From 1.
    number: u64,
    /// `None` when it is too long.
    event: Option<Bytes>,
}

/// Lines of a file, unpacked when it is gzip.
struct Lines {
    input: Box<dyn BufRead + Send>,
    /// Bytes of the file; `None` where that is not known.
    len: Option<u64>,
    /// Bytes read of it.
    done: Arc<AtomicU64>,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let (input, len): (Box<dyn Read + Send>, _) = match path.to_str() {
            Some("-") => (Box::new(io::stdin()), None),
            _ => {
                let file = File::open(path)?;
                let about = file.metadata()?;
                if about.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                (Box::new(file), about.is_file().then_some(about.len()))
            }
        };
        let done = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, done: Arc::clone(&done) };
        let mut input = BufReader::with_capacity(1 << 16, counted);
        let packed = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let input: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Lines { input, len, done })
    }

    /// Reads on a thread of its own, which ends with the file or when nobody listens.
    fn start(mut self) -> mpsc::Receiver<io::Result<Vec<Line>>> {
        let (pieces, received) = mpsc::channel(PIECES_AHEAD);
        let failed = pieces.clone();
        let thread = std::thread::Builder::new().name("lines".into()).spawn(move || {
            let mut number = 0;
            loop {
                let piece = self.piece(&mut number);
                let end = !matches!(&piece, Ok(lines) if !lines.is_empty());
                if (piece.is_err() || !end) && pieces.blocking_send(piece).is_err() {
                    return;
                }
                if end {
                    return;
                }
            }
        });
        if let Err(error) = thread {
            // The channel is empty and its other end is in our hands.
            let _ = failed.try_send(Err(error));
        }
        received
    }

    /// The next lines that are not blank; none at the end.
    fn piece(&mut self, number: &mut u64) -> io::Result<Vec<Line>> {
        let mut lines = Vec::with_capacity(LINES_AT_ONCE);
        let mut bytes = 0;
        while lines.len() < LINES_AT_ONCE && bytes < PIECE_BYTES {
            *number += 1;
            let mut line = Vec::new();
            let bound = LINE_BYTES_MAX as u64 + 1;
            if (&mut self.input).take(bound).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.last() != Some(&b'\n') && line.len() > LINE_BYTES_MAX {
                self.input.skip_until(b'\n')?;
                lines.push(Line { number: *number, event: None });
            } else if !line.trim_ascii().is_empty() {
                let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
                bytes += line.len();
                let event = Bytes::copy_from_slice(line.trim_ascii());
                lines.push(Line { number: *number, event: Some(event) });
            }
        }
        Ok(lines)
    }
}

/// Counts what is read.
struct Counted {
    input: Box<dyn Read + Send>,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.done.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
