//! `courier doctor`: prints what the server needs of the machine, item by item, and how long the certificate lasts, with the command that mends what is
//! missing. Changes nothing.
use std::process::ExitCode;

use crate::config::{AuthMode, Settings};
use crate::runtime::preflight::{self, Finding, Needs, Verdict};
use crate::runtime::tls::{Files, look};
use crate::stdx::clock::Clock;

/// Prints all findings; fails if one of them would keep the server from starting.
#[must_use]
pub fn run(needs: &Needs, tls: Option<&Files>, access: Finding) -> ExitCode {
    preflight::raise_limits();
    let mut findings = preflight::look(needs);
    findings.extend(tls.into_iter().flat_map(|files| look(files, Clock::start().now().unix_ms)));
    findings.push(access);
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

/// Who may come in, as the settings have it.
#[must_use]
pub fn access(settings: &Settings) -> Finding {
    let inside = settings.addresses().all(|address| address.ip().to_canonical().is_loopback());
    let (verdict, text) = match (settings.auth.mode, inside) {
        (AuthMode::Required, _) => (
            Verdict::Fine,
            "a token, or the API key or certificate of a service, is required; open without: /health, /health/live, /health/ready, /openapi.json, \
             /asyncapi.json"
                .to_owned(),
        ),
        (_, true) => (Verdict::Fine, "anybody on this machine may publish, subscribe and see all".to_owned()),
        (_, false) => (
            Verdict::Short,
            "anybody who reaches the port may publish, subscribe and see all: write `auth: required` and \
             auth.jwt.secret"
                .to_owned(),
        ),
    };
    Finding { subject: "access", verdict, text }
}
