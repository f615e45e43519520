//! `courier doctor`: prints what the server needs of the machine, item by item, how long the certificate lasts and what is open
//! to whom, with the command that mends what is missing. Changes nothing.
use std::process::ExitCode;

use crate::config::{AuthMode, Loaded, Settings};
use crate::runtime::preflight::{self, Finding, Needs, Verdict};
use crate::runtime::tls::{Files, look};
use crate::stdx::clock::Clock;

/// Prints all findings; fails if one of them would keep the server from starting.
#[must_use]
pub fn run(needs: &Needs, tls: Option<&Files>, access: Vec<Finding>) -> ExitCode {
    preflight::raise_limits();
    let mut findings = preflight::look(needs);
    findings.extend(tls.into_iter().flat_map(|files| look(files, Clock::start().now().unix_ms)));
    findings.extend(access);
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

/// Who may come in, as the settings have it, and what makes that less than it says.
#[must_use]
pub fn access(loaded: &Loaded) -> Vec<Finding> {
    let settings = &loaded.settings;
    let short = |text: String| Finding { subject: "access", verdict: Verdict::Short, text };
    let (verdict, text) = who(settings);
    let mut findings = vec![Finding { subject: "access", verdict, text: text.to_owned() }];
    findings.extend(loaded.warnings.iter().cloned().map(short));
    if settings.auth.mode == AuthMode::Required {
        let addresses = settings.addresses().zip(settings.encrypted());
        let plain = addresses.filter(|(at, encrypted)| !encrypted && !at.ip().to_canonical().is_loopback());
        findings.extend(plain.map(|(at, _)| {
            short(format!(
                "tokens and events pass {at} unencrypted: set tls.cert and tls.key, or let a proxy before it do that"
            ))
        }));
    }
    findings
}

fn who(settings: &Settings) -> (Verdict, &'static str) {
    let inside = settings.addresses().all(|address| address.ip().to_canonical().is_loopback());
    match (settings.auth.mode, inside) {
        (AuthMode::Required, _) => (
            Verdict::Fine,
            "a token, or the API key or certificate of a service, is required; open without: /health, /health/live, \
             /health/ready, /openapi.json, /asyncapi.json",
        ),
        (_, true) => (Verdict::Fine, "anybody on this machine may publish, subscribe and see all"),
        (_, false) => (
            Verdict::Short,
            "anybody who reaches the port may publish, subscribe and see all: write `auth: required` and auth.jwt.secret",
        ),
    }
}
