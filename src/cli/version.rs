//! `tidewatch version`: which version this is, for people and for machines.

use serde::Serialize;

use crate::cli::args::VersionArgs;

/// Which version this is; also the body of `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// `tidewatch`.
    pub name: &'static str,
    /// Version of the crate.
    pub version: &'static str,
    /// Processor and system it was built for.
    pub target: String,
    /// The websocket protocol it speaks.
    pub protocol: &'static str,
}

impl Version {
    /// This build.
    pub fn here() -> Version {
        Version {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            protocol: "tidewatch.v1",
        }
    }
}

/// The text to print.
pub fn run(args: &VersionArgs) -> String {
    let version = Version::here();
    if args.json {
        serde_json::json!(version).to_string()
    } else {
        format!("{} {} ({})", version.name, version.version, version.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_version() {
        assert!(run(&VersionArgs { json: false }).starts_with("tidewatch 0."));
        let json: serde_json::Value =
            serde_json::from_str(&run(&VersionArgs { json: true })).unwrap();
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["protocol"], "tidewatch.v1");
    }
}
