//! `courier [serve] [PORT] [--config FILE]`: serves until it is told to stop.

use crate::config;
use crate::server::{Address, Server, log_panics, start_logging};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// What may follow `serve`.
#[derive(Args, Clone, Default)]
pub struct Words {
    /// The port; overrides the settings
    port: Option<u16>,
    /// The settings file; config/courier.yaml if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Serves.
pub fn run(words: &Words) -> ExitCode {
    let flags: Vec<(String, String)> =
        words.port.iter().map(|port| ("port".to_owned(), port.to_string())).collect();
    let file = words.config.clone();
    let read = move || config::read(file.as_deref(), flags.clone());
    let loaded = match read() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::FAILURE;
        }
    };
    let logs = start_logging(&loaded.settings);
    log_panics();
    for note in &loaded.notes {
        tracing::debug!("{note}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let served = Server::start(&loaded.settings, loaded.policy.clone()).and_then(|server| {
        server.follow_signals(&loaded.settings, logs, Box::new(read))?;
        greet(&server);
        server.wait()
    });
    match served {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("courier: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says where, and how to try it.
fn greet(server: &Server) {
    let Address { at, encrypted, .. } = server.addresses[0];
    let (http, ws) = if encrypted { ("https", "wss") } else { ("http", "ws") };
    println!("Courier listens on {http}://{at}");
    for Address { at, encrypted, dialect } in &server.addresses[1..] {
        let http = if *encrypted { "https" } else { "http" };
        println!("Courier listens on {http}://{at} for dialect {dialect}");
        tracing::info!(address = %at, %dialect, "serving a further address");
    }
    println!(
        "  hear:    open {http}://{at}/health in a browser and type in its console: new WebSocket(\"{ws}://{at}/ws/news\").onmessage = e => console.log(e.data)"
    );
    println!("  publish: curl {http}://{at}/publish/news -d '{{\"type\":\"hello\",\"text\":\"world\"}}'");
    tracing::info!(address = %at, shards = server.shards, version = env!("CARGO_PKG_VERSION"), "serving");
}
