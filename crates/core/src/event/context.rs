//! What a CloudEvent's envelope may hold, as all who read or write one must agree on it.

/// Where the object being walked stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// A native event.
    Native,
    /// The outer object of a CloudEvent.
    Envelope,
    /// The `data` of a CloudEvent.
    Data,
}

/// The attributes of a CloudEvent that are not extensions.
pub(super) const CONTEXT: [&str; 9] = [
    "specversion",
    "type",
    "id",
    "source",
    "time",
    "subject",
    "data",
    "data_base64",
    "datacontenttype",
];

/// What stands before an attribute's name in a header.
pub(super) const PREFIX: &str = "ce-";

/// Why the decoder refuses an envelope's member whose name is that of a header.
pub(super) fn not_an_attribute(header: &str) -> String {
    let name = header.strip_prefix(PREFIX).unwrap_or(header);
    let rule = match name {
        "data" | "data_base64" => "the data of the binary mode is the body",
        name if is_attribute(name) => "its value is not UTF-8 in percent-encoding",
        _ => "names are lower-case letters and digits",
    };
    format!("CloudEvent: header {header:?} is not an attribute: {rule}")
}

/// Whether an attribute of the binary mode may have this name.
pub(super) fn is_attribute(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty() && name.bytes().all(allowed) && name != "data"
}

/// True for `application/json`, `text/json` and everything `+json`.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}
