//! `courier doctor`: prints what the server needs of the machine, item by item, and how long the certificate lasts, with the command that mends what is
//! missing. Changes nothing.
use std::process::ExitCode;

use crate::runtime::preflight::{self, Needs, Verdict};
use crate::runtime::tls::{Files, look};
use crate::stdx::clock::Clock;

/// Prints all findings; fails if one of them would keep the server from starting.
#[must_use]
pub fn run(needs: &Needs, tls: Option<&Files>) -> ExitCode {
    preflight::raise_limits();
    let mut findings = preflight::look(needs);
    findings.extend(tls.into_iter().flat_map(|files| look(files, Clock::start().now().unix_ms)));
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
