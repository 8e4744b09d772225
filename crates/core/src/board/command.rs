//! Messages of the protocol `tidewatch.v1`, client to server.

use bytestring::ByteString;
use serde_json::{Map, Value};

use super::frame::CommandError;

/// Most commands in one message (as an array) or subs in one `hello`.
const COMMANDS_MAX: usize = 64;

/// Longest `id` that is repeated.
const ID_BYTES_MAX: usize = 64;

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The first one: which versions the client speaks, and what it wants at once.
    Hello {
        /// To be repeated in `welcome`.
        id: Option<Value>,
        /// True when version 1 is among those the client speaks.
        version_fits: bool,
        /// Subs to begin with.
        subs: Vec<Command>,
    },
    /// Follow a topic.
    Sub {
        /// To be repeated in the answer.
        id: Option<Value>,
        /// Its name.
        topic: String,
    },
    /// Follow it no more.
    Unsub {
        /// To be repeated in the answer.
        id: Option<Value>,
        /// The sub's number.
        sub: u64,
    },
    /// The answer to a ping.
    Pong {
        /// Its number.
        number: u64,
    },
    /// A command that gets an `err`.
    Refused {
        /// To be repeated in the answer.
        id: Option<Value>,
        /// Why.
        error: CommandError,
    },
}

/// The text is not a message of the protocol: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACommand;

/// Reads the commands of one message: an object or an array of objects.
///
/// # Errors
/// When it is neither, or one has no type.
pub fn parse(message: &ByteString) -> Result<Vec<Command>, NotACommand> {
    match serde_json::from_str(message).map_err(|_| NotACommand)? {
        Value::Array(messages) if messages.len() <= COMMANDS_MAX => {
            messages.into_iter().map(command).collect()
        }
        message @ Value::Object(_) => Ok(vec![command(message)?]),
        _ => Err(NotACommand),
    }
}

fn command(message: Value) -> Result<Command, NotACommand> {
    let Value::Object(mut fields) = message else { return Err(NotACommand) };
    let id = answer_id(fields.remove("id"));
    let refused = |error| Command::Refused { id: id.clone(), error };
    let unsigned = |name: &str| fields.get(name).and_then(Value::as_u64);
    Ok(match fields.get("t").and_then(Value::as_str).ok_or(NotACommand)? {
        "hello" => hello(id, &fields)?,
        "sub" => sub(id, &fields),
        "unsub" => match unsigned("s") {
            Some(sub) => Command::Unsub { id, sub },
            None => refused(CommandError::BadRequest),
        },
        "pong" => match unsigned("i") {
            Some(number) => Command::Pong { number },
            None => refused(CommandError::BadRequest),
        },
        _ => refused(CommandError::UnknownCommand),
    })
}

/// Ids are repeated in answers, so only short ones are kept.
fn answer_id(id: Option<Value>) -> Option<Value> {
    id.filter(|id| match id {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= ID_BYTES_MAX,
        _ => false,
    })
}

fn hello(id: Option<Value>, fields: &Map<String, Value>) -> Result<Command, NotACommand> {
    let version_fits = match fields.get("v") {
        Some(Value::Array(versions)) => versions.iter().any(|version| version == 1),
        Some(version) => version == 1,
        None => false,
    };
    let subs = match fields.get("subs") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(subs)) if subs.len() <= COMMANDS_MAX => {
            let one = |body: &Value| {
                body.as_object().map(|body| sub(answer_id(body.get("id").cloned()), body))
            };
            subs.iter().map(one).collect::<Option<_>>().ok_or(NotACommand)?
        }
        Some(_) => return Err(NotACommand),
    };
    Ok(Command::Hello { id, version_fits, subs })
}

fn sub(id: Option<Value>, fields: &Map<String, Value>) -> Command {
    if fields.get("f").is_some_and(|filter| !filter.is_null()) {
        return Command::Refused { id, error: CommandError::NoFilters };
    }
    match fields.get("topic").and_then(Value::as_str) {
        Some(topic) => Command::Sub { id, topic: topic.to_owned() },
        None => Command::Refused { id, error: CommandError::BadRequest },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &'static str, expected: Result<Vec<Command>, NotACommand>) {
        assert_eq!(parse(&ByteString::from_static(message)), expected, "{message}");
    }

    fn id(n: u64) -> Option<Value> {
        Some(Value::from(n))
    }

    #[test]
    fn commands_are_read() {
        let kpi = Command::Sub { id: id(2), topic: "kpi".into() };
        let hello = Command::Hello { id: id(1), version_fits: true, subs: vec![kpi.clone()] };
        check(r#"{"t":"hello","id":1,"v":[1],"subs":[{"id":2,"topic":"kpi"}]}"#, Ok(vec![hello]));
        check(r#"{"t":"sub","id":2,"topic":"kpi","extra":1}"#, Ok(vec![kpi.clone()]));
        let pong = Command::Pong { number: 7 };
        check(
            r#"[{"t":"sub","id":2,"topic":"kpi","f":null},{"t":"pong","i":7}]"#,
            Ok(vec![kpi, pong]),
        );
        check(r#"{"t":"unsub","id":3,"s":4}"#, Ok(vec![Command::Unsub { id: id(3), sub: 4 }]));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let refused = |error| Ok(vec![Command::Refused { id: id(2), error }]);
        check(
            r#"{"t":"sub","id":2,"topic":"kpi","f":{"region":["eu"]}}"#,
            refused(CommandError::NoFilters),
        );
        check(r#"{"t":"hist","id":2}"#, refused(CommandError::UnknownCommand));
        check(r#"{"t":"sub","id":2}"#, refused(CommandError::BadRequest));
        check(r#"{"t":"pong","id":2,"i":-1}"#, refused(CommandError::BadRequest));
    }

    #[test]
    fn a_version_we_do_not_speak_does_not_fit() {
        for message in [r#"{"t":"hello","v":[2]}"#, r#"{"t":"hello"}"#, r#"{"t":"hello","v":"1"}"#]
        {
            let hello = Command::Hello { id: None, version_fits: false, subs: Vec::new() };
            check(message, Ok(vec![hello]));
        }
    }

    #[test]
    fn anything_else_is_no_command() {
        for message in
            ["", "x", "1", "null", "{}", "[1]", r#"{"t":1}"#, r#"{"t":"hello","subs":1}"#]
        {
            check(message, Err(NotACommand));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = parse(&ByteString::from(text));
        }
    }
}
