//! `tidewatch check`: is the configuration sound, and what is in force?

use crate::cli::args::CheckArgs;
use crate::config::{Config, ConfigError};

/// The text to print.
///
/// # Errors
/// Every mistake in the configuration.
pub fn run(args: &CheckArgs, loaded: Result<Config, ConfigError>) -> Result<String, ConfigError> {
    let config = loaded?;
    match args.print {
        true => Ok(config.print().trim_end().to_string()),
        false => Ok(summary(&config)),
    }
}

fn summary(config: &Config) -> String {
    let schema = config.schema(0);
    let warnings = config.warnings().into_iter().map(|warning| format!("warning: {warning}\n"));
    format!(
        "{}The configuration is sound (metrics: {}, rules: {}, attributes used: {}, \
         event types named: {}).",
        warnings.collect::<String>(),
        config.metrics.len(),
        config.rules.len(),
        schema.slots.len(),
        schema.kinds.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_configuration_is_summed_up_or_printed() {
        let check = |print| run(&CheckArgs { print }, Config::parse("t.toml", ""));
        assert_eq!(
            check(false).unwrap(),
            "The configuration is sound (metrics: 8, rules: 1, attributes used: 4, event types named: 6)."
        );
        let printed = check(true).unwrap();
        assert_eq!(Config::parse("printed", &printed).unwrap(), Config::default());
    }

    #[test]
    fn a_mistake_is_handed_on() {
        let loaded = Config::parse("t.toml", "[session]\ngap = \"0s\"");
        let error = run(&CheckArgs::default(), loaded).unwrap_err();
        assert_eq!(
            error.to_string(),
            "t.toml:2:1: session.gap = \"0s\": must be from \"1s\" to \"7d\""
        );
    }
}
