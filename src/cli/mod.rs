//! Words typed by a person; one file per subcommand.

pub mod check_config;
pub mod client;
pub mod config_doc;
pub mod dead;
pub mod doctor;
pub mod key;
pub mod log;
pub mod reload;
pub mod schema;
pub mod serve;
pub mod token;

use crate::config::{self, Loaded, Mistakes};
use clap::{Parser, Subcommand};
use std::io::{stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

/// A real-time event hub: publish JSON over HTTP, receive it over WebSocket, on every core.
#[derive(Parser)]
#[command(name = "courier", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Words,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default)
    Serve(serve::Words),
    /// Tell every mistake in the settings, or that there is none
    CheckConfig {
        /// The settings file; config/courier.yaml if it is there
        file: Option<PathBuf>,
        /// The same
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
    },
    /// Print all settings with their defaults and what they mean
    ConfigDoc,
    /// Tell a running server to read its settings again
    Reload {
        /// Its process id; without it, the only server that runs
        pid: Option<u32>,
    },
    /// Show, retry or purge the dead letters of a running server
    Dead {
        #[command(subcommand)]
        words: dead::Words,
        #[command(flatten)]
        server: client::Words,
    },
    /// Look at the log of durable channels
    Log {
        #[command(subcommand)]
        words: log::Words,
        /// The settings file, for storage.dir; config/courier.yaml if it is there
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Print a token for a user, signed with the secret of the settings: for tests
    Token {
        #[command(flatten)]
        words: token::Words,
        /// The settings file; config/courier.yaml if it is there
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Make, list and revoke the API keys of services
    Key {
        #[command(subcommand)]
        words: key::Words,
        /// The file of keys; auth.api_keys_file of the settings if not given
        #[arg(long, value_name = "FILE", global = true)]
        file: Option<PathBuf>,
        /// The settings file; config/courier.yaml if it is there
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Look at schemas, and at events through them
    Schema {
        #[command(subcommand)]
        words: schema::Words,
        /// The settings file, for schemas.dir; config/courier.yaml if it is there
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Tell what this machine lacks, and the command that mends it
    Doctor {
        /// The settings file; config/courier.yaml if it is there
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Runs what was asked for on the command line.
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    match line.command.unwrap_or(Command::Serve(line.serve)) {
        Command::Serve(words) => serve::run(&words),
        Command::CheckConfig { file, config } => {
            check_config::run(file.or(config).as_deref(), &mut stdout(), &mut stderr())
        }
        Command::Reload { pid } => reload::run(pid),
        Command::Dead { words, server } => dead::run(&words, &server, &mut stdout()),
        Command::Schema { words, config } => {
            schema::run(&words, config.as_deref(), &mut stdout(), &mut stderr())
        }
        Command::ConfigDoc => config_doc::run(&mut stdout()),
        Command::Log { words, config } => match words.dir() {
            Some(dir) => log::run(&words, dir),
            None => with(config::read(config.as_deref(), Vec::new()), |loaded| {
                log::run(&words, loaded.settings.storage.dir.as_ref())
            }),
        },
        Command::Token { words, config } => {
            with(config::read(config.as_deref(), Vec::new()), |loaded| token::run(&words, loaded))
        }
        Command::Key { words, file: Some(file), .. } => key::run(&words, &file),
        Command::Key { words, file: None, config } => {
            with(config::read_alone(config.as_deref()), |loaded| match &*loaded.settings.auth.api_keys_file {
                "" => {
                    eprintln!("courier: no file of keys: give auth.api_keys_file, or --file FILE");
                    ExitCode::FAILURE
                }
                file => key::run(&words, file.as_ref()),
            })
        }
        Command::Doctor { config } => with(config::read(config.as_deref(), Vec::new()), |loaded| {
            let settings = &loaded.settings;
            doctor::run(
                &crate::server::needs(settings),
                settings.tls_files().as_ref(),
                doctor::access(loaded),
            )
        }),
    }
}

/// Does something with the settings, or tells what is wrong with them.
fn with(read: Result<Loaded, Mistakes>, act: impl FnOnce(&Loaded) -> ExitCode) -> ExitCode {
    match read {
        Ok(loaded) => act(&loaded),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::FAILURE
        }
    }
}
