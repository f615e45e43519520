//! From method and path to what is asked for (contract 2). Paths that later versions bring are unknown here.

use super::Refusal;
use crate::event::Channel;
use crate::wire::http::{Head, Method, percent_decode};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'r> {
    /// Publish; the channel is in the body when it is `None`.
    Publish(Option<&'r str>),
    /// A report of the server's state.
    Report(Report),
    /// A socket.
    Socket(Socket<'r>),
    /// `OPTIONS`: what may be done here; the methods.
    Options(&'static str),
}

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `/health`
    Health,
    /// `/health/live`
    Live,
    /// `/health/ready`
    Ready,
    /// `/stats`
    Stats,
    /// `/channels`
    Channels,
}

/// Which socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket<'r> {
    /// `/ws/{channel}`, decoded, or `None` when it does not name a channel.
    Channel(Option<&'r str>),
    /// `/ws`: channels come by command.
    Open,
    /// `/echo`, for conformance suites.
    Echo,
}

/// Finds the route. `scratch` holds the decoded channel name.
///
/// # Errors
/// 404 for an unknown path, 405 for a known one with another method, 400 for a bad channel name.
pub fn route<'r>(head: &Head<'r>, echo: bool, scratch: &'r mut Vec<u8>) -> Result<Route<'r>, Refusal> {
    let path = head.path;
    let (route, methods) = if let Some(raw) = path.strip_prefix("/publish/").filter(|raw| is_segment(raw)) {
        if head.method == Method::Options {
            return Ok(Route::Options("POST, OPTIONS"));
        }
        if head.method == Method::Post {
            return Ok(Route::Publish(Some(publish_channel(raw, scratch)?)));
        }
        (Route::Publish(None), "POST, OPTIONS")
    } else if let Some(raw) = path.strip_prefix("/ws/").filter(|raw| !raw.contains('/')) {
        let name = percent_decode(raw, scratch).filter(|name| Channel::check(name).is_ok());
        (Route::Socket(Socket::Channel(name)), "GET, OPTIONS")
    } else {
        if path == "*" {
            // About the server as a whole (RFC 9110 9.3.7); no other method has this target.
            return Ok(Route::Options("GET, HEAD, POST, OPTIONS"));
        }
        fixed(path, echo).ok_or_else(|| not_found(path))?
    };
    match (head.method, &route) {
        (Method::Options, _) => Ok(Route::Options(methods)),
        (Method::Post, Route::Publish(_)) | (Method::Get, Route::Report(_) | Route::Socket(_)) => Ok(route),
        (Method::Head, Route::Report(_)) => Ok(route),
        _ => Err(Refusal::new(405, "Method Not Allowed", format!("This path takes {methods}"))
            .field("Allow", methods)),
    }
}

fn fixed(path: &str, echo: bool) -> Option<(Route<'static>, &'static str)> {
    const GET: &str = "GET, HEAD, OPTIONS";
    Some(match path {
        "/publish" => (Route::Publish(None), "POST, OPTIONS"),
        "/health" => (Route::Report(Report::Health), GET),
        "/health/live" => (Route::Report(Report::Live), GET),
        "/health/ready" => (Route::Report(Report::Ready), GET),
        "/stats" => (Route::Report(Report::Stats), GET),
        "/channels" => (Route::Report(Report::Channels), GET),
        "/ws" => (Route::Socket(Socket::Open), "GET, OPTIONS"),
        "/echo" if echo => (Route::Socket(Socket::Echo), "GET, OPTIONS"),
        _ => return None,
    })
}

/// `/publish/batch` is no channel but a path of its own, which this version does not have yet.
fn is_segment(raw: &str) -> bool {
    !raw.contains('/') && raw != "batch"
}

fn publish_channel<'r>(raw: &'r str, scratch: &'r mut Vec<u8>) -> Result<&'r str, Refusal> {
    let Some(name) = percent_decode(raw, scratch) else {
        return Err(bad_channel("Channel name is not valid percent-encoded UTF-8", "/channel"));
    };
    Channel::check(name).map_err(|why| bad_channel(&why.to_string(), "/channel"))?;
    Ok(name)
}

/// A channel name outside the grammar.
pub fn bad_channel(why: &str, pointer: &str) -> Refusal {
    Refusal::new(400, "Invalid channel name", format!("Invalid channel name: {why}")).at(pointer, why)
}

fn not_found(path: &str) -> Refusal {
    let shown: String = path.chars().take(100).collect();
    Refusal::new(404, "Not Found", format!("There is nothing at {shown}"))
}
