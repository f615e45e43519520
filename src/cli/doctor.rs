//! `courier doctor`: prints what the server needs of the machine, item by item, with the command that mends what is
//! missing. Changes nothing.
use std::process::ExitCode;

use crate::runtime::preflight::{self, Needs, Verdict};

/// Prints all findings; fails if one of them would keep the server from starting.
#[must_use]
pub fn run(needs: &Needs) -> ExitCode {
    preflight::raise_limits();
    let findings = preflight::look(needs);
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Fine => "ok",
            Verdict::Short => "short",
            Verdict::Hard => "not ok",
        };
        println!("{mark:<8}{:<15}{}", finding.subject, finding.text);
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Hard) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
