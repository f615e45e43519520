//! Logs on standard error: for people on a terminal, one JSON object per line otherwise (or as set). Never a
//! token, never a payload, nothing per event.

use crate::config::{LogFormat, LogLevel, Settings};
use crate::mailbox::signal::Flag;
use crate::stdx::clock::{Clock, rfc3339_ms};
use serde_json::{Map, Value};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// Changes what is logged while the server runs.
pub struct LogControl {
    level: Box<dyn Fn(LevelFilter) + Send>,
    json: Arc<Flag>,
}

impl LogControl {
    /// As these settings say, from now on.
    pub(super) fn set(&self, settings: &Settings) {
        (self.level)(level(settings));
        self.json.set(json(settings));
    }
}

fn level(settings: &Settings) -> LevelFilter {
    match settings.log_level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

fn json(settings: &Settings) -> bool {
    match settings.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    }
}

/// Begins to log. Called once.
pub fn start(settings: &Settings) -> LogControl {
    let json_wanted = Arc::new(Flag::default());
    json_wanted.set(json(settings));
    let text = Format::default().with_target(false).with_ansi(std::io::stderr().is_terminal());
    let lines = Lines { clock: Clock::start(), json: Arc::clone(&json_wanted), text };
    let (filter, control) = tracing_subscriber::reload::Layer::new(level(settings));
    let layer = tracing_subscriber::fmt::layer().event_format(lines).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first one's.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(layer));
    // It fails only when the subscriber is gone, which the process keeps for good.
    LogControl { level: Box::new(move |level| drop(control.reload(level))), json: json_wanted }
}

/// Either `{timestamp, level, service, message, …fields}`, one object per line, or text for people.
struct Lines {
    clock: Clock,
    json: Arc<Flag>,
    text: Format,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if !self.json.get() {
            return self.text.format_event(context, writer, event);
        }
        let mut stamp = [0; 24];
        rfc3339_ms(self.clock.now().unix_ms, &mut stamp);
        let mut line = Map::new();
        line.insert("timestamp".into(), String::from_utf8_lossy(&stamp).into());
        line.insert("level".into(), level_word(*event.metadata().level()).into());
        line.insert("service".into(), "courier".into());
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

struct Fields<'l>(&'l mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

/// A panic is a log line too; the shard that had it goes on without the connection that caused it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let words = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, "a fault of Courier's own: {words}");
        let _ = std::io::stderr().flush();
    }));
}
