//! `courier config-doc`: prints all settings with their defaults as a commented file that loads as it stands.
use crate::config::{self, Settings};
use std::io::Write;
use std::process::ExitCode;

/// Prints the file to `out`. Exit code 1: `out` takes no more.
pub fn run(out: &mut dyn Write) -> ExitCode {
    let written = out.write_all(config::to_yaml(&Settings::default()).as_bytes()).and_then(|()| out.flush());
    written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_file_is_the_one_in_the_config_folder() {
        let mut out = Vec::new();
        assert_eq!(run(&mut out), ExitCode::SUCCESS);
        let shipped = include_str!("../../config/courier.yaml");
        let hint = "write it anew: cargo run -- config-doc > config/courier.yaml";
        assert_eq!(String::from_utf8(out).unwrap(), shipped, "{hint}");
    }
}
