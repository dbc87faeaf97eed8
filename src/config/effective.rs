//! The configuration as it came out, for `--print-config`.

use std::fmt;

use super::Source;

/// One key with its value and where that came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    /// The value as TOML; `None` when nothing was said and the meaning is in `note`.
    pub value: Option<String>,
    pub source: Source,
    /// What an unset key means; empty otherwise.
    pub note: &'static str,
}

/// Every key, in the order of the documentation. Displayed, it is a configuration file that
/// gives the same configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    pub settings: Vec<Setting>,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |setting: &Setting| match &setting.value {
            Some(value) => format!("{} = {value}", setting.key),
            None => format!("# {} is not set: {}", setting.key, setting.note),
        };
        let aligned = |setting: &&Setting| setting.value.is_some();
        let widths = self.settings.iter().filter(aligned).map(|setting| line(setting).len());
        let width = widths.filter(|&width| width <= 60).max().unwrap_or(0);
        for setting in &self.settings {
            writeln!(f, "{:<width$}  # {}", line(setting), setting.source)?;
        }
        Ok(())
    }
}
