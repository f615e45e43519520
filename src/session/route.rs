//! From method and path to what is asked for (contract 2). [`ROUTES`] is the one table of paths: requests are
//! looked up in it, and the documents at `/openapi.json` and `/asyncapi.json` are held to it.

use super::Refusal;
use crate::event::{BadChannel, CHANNEL_BYTES_MAX, Channel};
use crate::wire::http::{Head, Method, percent_decode};
use std::fmt;

/// What a request asks for. Where a path ends in a channel, its name is the decoded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'r> {
    /// Publish; the channel is in the body when it is `None`.
    Publish(Option<&'r str>),
    /// Publish to what is no channel: refused, but only to who may publish, for whom it counts as any other.
    PublishNowhere(BadName),
    /// Publish several, each of which names its channel.
    Batch,
    /// A report of the server's state.
    Report(Report),
    /// A description of the server's interface.
    Document(Document),
    /// Stored events of a channel.
    History(&'r str),
    /// Dead letters: show them, or purge them.
    Letters,
    /// Publish dead letters again.
    RetryLetters,
    /// Server-sent events; the channels are in the query when it is `None`.
    Stream(Option<&'r str>),
    /// A socket.
    Socket(Socket<'r>),
    /// `OPTIONS`: what may be done here; the methods.
    Options(&'static str),
}

/// Why a part of a path is no channel's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// It cannot be decoded.
    Encoding,
    /// Decoded, it is outside the grammar.
    Channel(BadChannel),
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadName::Encoding => f.write_str("Channel name is not valid percent-encoded UTF-8"),
            BadName::Channel(why) => why.fmt(f),
        }
    }
}

impl BadName {
    /// As an answer to a request.
    pub fn refusal(self) -> Refusal {
        bad_channel(&self.to_string(), "/channel")
    }
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

/// Which description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `/openapi.json`
    OpenApi,
    /// `/asyncapi.json`
    AsyncApi,
}

/// Which socket. A channel is `None` when the path does not name a valid one: the socket is opened only to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket<'r> {
    /// `/ws/{channel}`: dialect `courier`, or `courier.v1` by subprotocol.
    Channel(Option<&'r str>),
    /// `/ws`: the same dialects; channels come by command.
    Open,
    /// `/ws/events/{channel}`: dialect `events`.
    Events(Option<&'r str>),
    /// `/api/v1/ws/events`: dialect `freqsearch`.
    FreqSearch,
    /// `/` and `/router`: dialect `router`.
    Router,
    /// `/echo`, for conformance suites.
    Echo,
}

/// How a path of the table ends that takes a channel.
const CHANNEL: &str = "{channel}";

/// Every path there is (`/echo` only where it is switched on). Where two fit, the one without a channel goes first.
pub const ROUTES: [(&str, Route<'static>); 22] = [
    ("/publish/{channel}", Route::Publish(None)),
    ("/publish", Route::Publish(None)),
    ("/publish/batch", Route::Batch),
    ("/ws/{channel}", Route::Socket(Socket::Channel(None))),
    ("/ws", Route::Socket(Socket::Open)),
    ("/ws/events/{channel}", Route::Socket(Socket::Events(None))),
    ("/api/v1/ws/events", Route::Socket(Socket::FreqSearch)),
    ("/", Route::Socket(Socket::Router)),
    ("/router", Route::Socket(Socket::Router)),
    ("/history/{channel}", Route::History("")),
    ("/dead-letters", Route::Letters),
    ("/dead-letters/retry", Route::RetryLetters),
    ("/sse/{channel}", Route::Stream(None)),
    ("/sse", Route::Stream(None)),
    ("/health", Route::Report(Report::Health)),
    ("/health/live", Route::Report(Report::Live)),
    ("/health/ready", Route::Report(Report::Ready)),
    ("/stats", Route::Report(Report::Stats)),
    ("/channels", Route::Report(Report::Channels)),
    ("/openapi.json", Route::Document(Document::OpenApi)),
    ("/asyncapi.json", Route::Document(Document::AsyncApi)),
    ("/echo", Route::Socket(Socket::Echo)),
];

impl Route<'_> {
    /// The methods that it takes, as `Allow` names them.
    pub const fn methods(&self) -> &'static str {
        match self {
            Route::Publish(_) | Route::PublishNowhere(_) | Route::Batch | Route::RetryLetters => {
                "POST, OPTIONS"
            }
            Route::Letters => "GET, HEAD, DELETE, OPTIONS",
            Route::Report(_) | Route::Document(_) | Route::History(_) => "GET, HEAD, OPTIONS",
            Route::Stream(_) | Route::Socket(_) => "GET, OPTIONS",
            Route::Options(methods) => methods,
        }
    }

    /// Whether somebody wants to publish.
    pub const fn publishes(&self) -> bool {
        matches!(self, Route::Publish(_) | Route::PublishNowhere(_) | Route::Batch)
    }

    fn takes(&self, method: Method) -> bool {
        matches!(
            (self, method),
            (_, Method::Options)
                | (Route::Publish(_) | Route::Batch | Route::RetryLetters, Method::Post)
                | (Route::Letters, Method::Get | Method::Head | Method::Delete)
                | (Route::Report(_) | Route::Document(_) | Route::History(_), Method::Get | Method::Head)
                | (Route::Stream(_) | Route::Socket(_), Method::Get)
        )
    }
}

/// Finds the route. `scratch` holds the decoded channel name.
///
/// # Errors
/// 404 for an unknown path, 405 for a known one with another method, 400 for a bad channel name, except where somebody
/// wants to publish ([`Route::PublishNowhere`]), and on a socket, where a page can read a reason to close but no status.
pub fn route<'r>(head: &Head<'r>, echo: bool, scratch: &'r mut Vec<u8>) -> Result<Route<'r>, Refusal> {
    // The one path that is asked for all the time: a valid name holds no escape and no further `/`.
    if let Some(name) = head.path.strip_prefix("/publish/")
        && head.method == Method::Post
        && name != "batch"
        && Channel::check(name).is_ok()
    {
        return Ok(Route::Publish(Some(name)));
    }
    other(head, echo, scratch)
}

#[cold]
fn other<'r>(head: &Head<'r>, echo: bool, scratch: &'r mut Vec<u8>) -> Result<Route<'r>, Refusal> {
    if head.path == "*" {
        // About the server as a whole (RFC 9110 9.3.7); no other method has this target.
        return Ok(Route::Options("GET, HEAD, POST, OPTIONS"));
    }
    let (route, raw) = find(head.path, echo).ok_or_else(|| not_found(head.path))?;
    if !route.takes(head.method) {
        let methods = route.methods();
        return Err(Refusal::new(405, "Method Not Allowed", format!("This path takes {methods}"))
            .field("Allow", methods));
    }
    match (head.method, raw) {
        (Method::Options, _) => Ok(Route::Options(route.methods())),
        (_, None) => Ok(route),
        (_, Some(raw)) => on_channel(route, raw, scratch),
    }
}

/// The line of the table that a path is on, and the channel's name as it stands there.
fn find<'r>(path: &'r str, echo: bool) -> Option<(Route<'r>, Option<&'r str>)> {
    let exact = ROUTES.iter().find(|(known, _)| *known == path).map(|(_, route)| (*route, None));
    let found = exact.or_else(|| {
        ROUTES.iter().find_map(|(known, route)| {
            let raw = path.strip_prefix(known.strip_suffix(CHANNEL)?)?;
            (!raw.contains('/')).then_some((*route, Some(raw)))
        })
    });
    found.filter(|(route, _)| echo || *route != Route::Socket(Socket::Echo))
}

fn on_channel<'r>(route: Route<'r>, raw: &'r str, scratch: &'r mut Vec<u8>) -> Result<Route<'r>, Refusal> {
    let name = percent_decode(raw, scratch);
    let fault = match name {
        None => Some(BadName::Encoding),
        Some(name) => Channel::check(name).err().map(BadName::Channel),
    };
    let name = name.filter(|_| fault.is_none());
    match (route, fault) {
        (Route::Socket(Socket::Events(_)), _) => Ok(Route::Socket(Socket::Events(name))),
        (Route::Socket(_), _) => Ok(Route::Socket(Socket::Channel(name))),
        (Route::Publish(_), Some(why)) => Ok(Route::PublishNowhere(why)),
        (_, Some(why)) => Err(why.refusal()),
        (Route::Stream(_), None) => Ok(Route::Stream(name)),
        (Route::History(_), None) => Ok(Route::History(name.unwrap_or_default())),
        (_, None) => Ok(Route::Publish(name)),
    }
}

/// A channel name outside the grammar.
pub fn bad_channel(why: &str, pointer: &str) -> Refusal {
    Refusal::new(400, "Invalid channel name", format!("Invalid channel name: {why}")).at(pointer, why)
}

fn not_found(path: &str) -> Refusal {
    let shown: String = path.chars().take(100).collect();
    Refusal::new(404, "Not Found", format!("There is nothing at {shown}"))
}

/// The channel to which these bytes publish, if they are a request that names it plainly: a guess before they are read.
#[inline]
pub fn likely_channel(bytes: &[u8]) -> Option<&[u8]> {
    let name = bytes.strip_prefix(b"POST /publish/")?;
    let name = &name[..name.len().min(CHANNEL_BYTES_MAX + 1)];
    let end = name.iter().position(|byte| matches!(byte, b' ' | b'?'))?;
    Some(&name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    /// The answer, or the status of the refusal and its `Allow`.
    fn ask(method: &str, path: &str) -> Result<String, (u16, String)> {
        let text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = head(text.as_bytes()).unwrap().unwrap();
        let mut scratch = Vec::new();
        match route(&head, true, &mut scratch) {
            Ok(route) => Ok(format!("{route:?}")),
            Err(refusal) => {
                let allow = refusal.fields.iter().find(|(name, _)| *name == "Allow");
                Err((refusal.status, allow.map(|(_, methods)| methods.clone()).unwrap_or_default()))
            }
        }
    }

    #[test]
    fn every_line_is_found_by_its_methods_and_refuses_all_others() {
        for (path, route) in ROUTES {
            let asked = path.replace(CHANNEL, "a.b");
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "OTHER"] {
                let answer = ask(method, &asked);
                match method {
                    "OPTIONS" => assert_eq!(answer, Ok(format!("{:?}", Route::Options(route.methods())))),
                    _ if route.methods().split(", ").any(|taken| taken == method) => {
                        let found = format!("{route:?}");
                        let named = found.replace("None", "Some(\"a.b\")").replace("(\"\")", "(\"a.b\")");
                        assert_eq!(answer, Ok(if path.contains(CHANNEL) { named } else { found }));
                    }
                    _ => assert_eq!(answer, Err((405, route.methods().to_owned())), "{method} {asked}"),
                }
            }
        }
    }

    #[test]
    fn a_path_without_a_channel_goes_before_one_with_it() {
        assert_eq!(ask("POST", "/publish/batch").unwrap(), "Batch");
        assert_eq!(ask("POST", "/publish/b%61tch").unwrap(), "Publish(Some(\"batch\"))");
        assert_eq!(ask("GET", "/ws/events").unwrap(), "Socket(Channel(Some(\"events\")))");
        assert_eq!(ask("GET", "/ws/events/x").unwrap(), "Socket(Events(Some(\"x\")))");
    }

    #[test]
    fn a_bad_channel_is_refused_and_on_a_socket_a_reason_to_close() {
        for name in ["", "a%20b", "%ff", "%", "a%2fb"] {
            let nowhere = ask("POST", &format!("/publish/{name}")).unwrap();
            assert!(nowhere.starts_with("PublishNowhere"), "{name}: {nowhere}");
            assert_eq!(ask("GET", &format!("/sse/{name}")), Err((400, String::new())), "{name}");
            assert_eq!(ask("GET", &format!("/ws/{name}")).unwrap(), "Socket(Channel(None))");
            assert_eq!(ask("GET", &format!("/ws/events/{name}")).unwrap(), "Socket(Events(None))");
        }
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in ["/nope", "/publish/a/b", "/ws/a/b", "/ws/events/a/b", "/sse/a/b", "//", "/health/"] {
            assert_eq!(ask("GET", path), Err((404, String::new())), "{path}");
        }
        let text = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = head(text).unwrap().unwrap();
        assert_eq!(route(&head, false, &mut Vec::new()).unwrap_err().status, 404);
    }

    #[test]
    fn the_channel_of_a_publish_is_guessed_from_its_first_bytes() {
        let long = "x".repeat(CHANNEL_BYTES_MAX);
        for (bytes, name) in [
            ("POST /publish/a.b HTTP/1.1\r\n", Some("a.b")),
            (&format!("POST /publish/{long} "), Some(&*long)),
            (&format!("POST /publish/{long}x "), None),
            ("POST /publish/a.b?token=t HTTP/1.1\r\n", Some("a.b")),
            ("POST /publish/batch HTTP/1.1\r\n", Some("batch")), // looked for in vain, and then read
            ("POST /publish/a.b", None),
            ("POST /publish HTTP/1.1\r\n", None),
            ("GET /publish/a.b HTTP/1.1\r\n", None),
            ("", None),
        ] {
            assert_eq!(likely_channel(bytes.as_bytes()), name.map(str::as_bytes), "{bytes}");
        }
    }
}
