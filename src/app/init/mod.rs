//! `tidewatch init`: looks at real events and writes a configuration that fits them, with what was
//! guessed as comments.

mod funnel;
mod guess;
mod panels;
#[cfg(feature = "nats")]
mod stream;
mod written;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use self::guess::Guess;
use super::serving::complain;
use crate::actors::ports::{Pull, Source as _};
use crate::cli::Exit;
use crate::cli::args::InitArgs;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::event::RawBatch;
use crate::source::propose::{Column, Sample, Settings, sample};
use crate::store::log::History;

/// Bytes that the file may unpack to, in a temporary file.
const UNPACKED_MAX: u64 = 64 << 30;

/// Most bytes of a log's events that are looked at.
const BYTES_MAX: usize = 32 << 20;

/// Why nothing was written.
type Failed = (String, Exit);

/// Runs the command.
pub fn run(config: &Config, args: &InitArgs) -> Exit {
    match init(config, args) {
        Ok(()) => Exit::Ok,
        Err((why, exit)) => complain(&why, exit),
    }
}

fn init(config: &Config, args: &InitArgs) -> Result<(), Failed> {
    let streams = args.stream.is_some() || args.subject.is_some() || config.nats.link.is_some();
    let mut section = String::new();
    let sample = match &args.file {
        Some(file) => {
            let (file, encoding) = (file.clone(), args.encoding.clone());
            let rows = args.rows as usize;
            let settings = Settings { file, encoding, rows, unpacked_max: UNPACKED_MAX };
            sample(&settings, &SystemClock::shared())
                .map_err(|error| (error.to_string(), Exit::Failed))?
        }
        None if streams => {
            let (sample, reads) = stream(config, args)?;
            section = reads;
            sample
        }
        None => newest(&config.general.data_dir, args.rows as usize)?,
    };
    let guess = Guess::of(&sample);
    if guess.roles.time.is_none() || guess.roles.kind.is_none() {
        let what = if guess.roles.time.is_none() { "time" } else { "type" };
        let names: Vec<&str> = sample.columns.iter().map(|column| &*column.name).collect();
        let why = format!(
            "{}: nothing looks like the {what} of an event among {}",
            sample.name,
            names.join(", ")
        );
        return Err((why, Exit::Refused));
    }
    let text = written::written(&guess, &section);
    if let Err(error) = Config::parse("the proposal", &text) {
        let why = format!("{}: no configuration fits these events: {error}", sample.name);
        return Err((why, Exit::Failed));
    }
    if args.out == Path::new("-") {
        return put(&mut std::io::stdout().lock(), &text, &args.out);
    }
    let map = sample.map.as_ref().map(|map| (args.out.with_extension("map.toml"), map));
    // Both or none.
    let taken = |path: &Path| path.exists() && !args.force;
    let paths = std::iter::once(&args.out).chain(map.as_ref().map(|(path, _)| path));
    if let Some(path) = paths.into_iter().find(|path| taken(path)) {
        let why = format!("{} is there already: --force overwrites it", path.display());
        return Err((why, Exit::Usage));
    }
    write(&args.out, &text, args.force)?;
    if let Some((path, map)) = &map {
        write(path, map, args.force)?;
    }
    tell(&guess, args, map.map(|(path, _)| path), streams);
    Ok(())
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failed> {
    let mut how = OpenOptions::new();
    how.write(true).truncate(true);
    // Whoever made it meanwhile keeps it.
    if force {
        how.create(true)
    } else {
        how.create_new(true)
    };
    let mut file =
        how.open(path).map_err(|error| (format!("{}: {error}", path.display()), Exit::Failed))?;
    put(&mut file, text, path)
}

fn put(out: &mut impl Write, text: &str, path: &Path) -> Result<(), Failed> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err((format!("{}: {error}", path.display()), Exit::Failed))
        }
        _ => Ok(()),
    }
}

/// Says what was guessed, and what to do next.
fn tell(guess: &Guess<'_>, args: &InitArgs, map: Option<PathBuf>, streams: bool) {
    let sample = guess.sample;
    let out = args.out.display();
    println!("{out}: written from {} events of {}.", sample.rows.len(), sample.name);
    let roles = [
        ("time", guess.roles.time),
        ("type", guess.roles.kind),
        ("key", guess.roles.key),
        ("id", guess.roles.id),
        ("amount", guess.roles.amount),
    ];
    for (what, role) in roles {
        let found = guess.column(role).map(|column| match of_one(guess, column) {
            Some(_) if what == "time" => "? that of the file".to_owned(),
            Some(value) => format!("? {value:?} for all"),
            None => column.title.clone(),
        });
        println!("  {what:<7} {}", found.unwrap_or_else(|| "nothing looks like one".into()));
    }
    if let Some(funnel) = &guess.funnel {
        println!("  steps   {}", funnel.steps.join(", "));
    }
    if let Some(fails) = &guess.fails {
        println!("  fails   {}", fails.condition);
    }
    if let Some(path) = &map {
        println!("{}: how its rows become events.", path.display());
    }
    if let Some(file) = &args.file {
        let map = map.map(|path| format!(" --map {}", path.display())).unwrap_or_default();
        println!(
            "Look it through, then:\n  tidewatch replay {}{map} --config {out}",
            file.display()
        );
    } else if streams {
        println!("Look it through, then:\n  tidewatch serve --config {out}");
    }
}

/// The only value of an attribute that the map makes of no column.
fn of_one<'c>(guess: &Guess<'_>, column: &'c Column) -> Option<&'c String> {
    let of_map = guess.sample.map.is_some() && column.title == column.name;
    column.values.first().filter(|_| of_map && column.values.len() == 1)
}

#[cfg(feature = "nats")]
use stream::stream;

#[cfg(not(feature = "nats"))]
fn stream(_: &Config, _: &InitArgs) -> Result<(Sample, String), Failed> {
    Err((crate::config::missing("NATS", "nats"), Exit::Usage))
}

/// The newest events of a data folder's log.
fn newest(folder: &Path, most: usize) -> Result<Sample, Failed> {
    let failed = |error: &dyn std::fmt::Display| (error.to_string(), Exit::Failed);
    let mut history = History::open(folder).map_err(|error| failed(&error))?;
    history.skip_to_newest(most as u64);
    let name = format!("the log of {}", folder.display());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let mut events = Vec::new();
    runtime.map_err(|error| failed(&error))?.block_on(async {
        while events.len() < BYTES_MAX {
            match history.pull(most).await.map_err(|error| failed(&error))? {
                Pull::Batch(batch) => lines(&batch, &mut events),
                Pull::Gap { .. } => {}
                _ => break,
            }
        }
        Ok(())
    })?;
    let text = String::from_utf8_lossy(&events);
    let none = || (format!("{name} holds no events as JSON"), Exit::Refused);
    Sample::of_events(&name, &text, most).ok_or_else(none)
}

fn lines(batch: &RawBatch, out: &mut Vec<u8>) {
    for item in &batch.items {
        out.extend_from_slice(batch.bytes(item));
        out.push(b'\n');
    }
}
