//! What a request brings to say who it is (contract 12): a token in `Authorization: Bearer`, in the offered subprotocol
//! `bearer.<token>`, in a cookie or in `?token=`, or a service's API key in `X-API-Key` or as a bearer's token. Looked
//! for only where authentication is on. (The certificate of a service comes with its connection.) Judging what is found is the business of `auth`.

use super::Refusal;
pub use super::origin::Origins;
use crate::auth::{Denied, Grants};
use crate::wire::http::{Head, query};
use std::borrow::Cow;
use std::sync::Arc;

/// How the subprotocol begins in which a browser's page brings a token (it can set no field on a socket).
pub const SUBPROTOCOL_PREFIX: &str = "bearer.";

/// The realm of `WWW-Authenticate` (RFC 6750 3).
const REALM: &str = "Bearer realm=\"courier\"";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential<'h> {
    /// A JSON Web Token.
    Token(Cow<'h, str>),
    /// The API key of a service.
    ApiKey(Cow<'h, str>),
}

/// Why a request gets no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// By its token, or for want of one.
    Denied(Denied),
    /// It brings different credentials in different places; which one is meant is not guessed.
    Ambiguous,
    /// It comes from a page whose origin is not allowed.
    Origin,
    /// It may not hear this channel.
    Channel,
    /// It may not publish there.
    Publish,
    /// The API key or certificate is not that of the service which `X-Service-Name` names.
    OtherService,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Refused {
        Refused::Denied(denied)
    }
}

/// Looks into every place; `cookie` is the name of the cookie, empty for none, `encrypted` whether the connection is.
///
/// # Errors
/// [`Refused::Ambiguous`] when two places hold different things, or one place does: a neighbour below the same domain can
/// put a cookie of the same name before a browser's own.
pub fn find<'h>(
    head: &Head<'h>,
    cookie: &str,
    origins: &Origins,
    encrypted: bool,
) -> Result<Option<Credential<'h>>, Refused> {
    let offers = head.upgrade.and_then(|upgrade| upgrade.protocols).into_iter().flat_map(bearer_offers);
    let offered = offers.filter_map(|offer| offer.get(SUBPROTOCOL_PREFIX.len()..));
    let in_cookies = cookies_of(head, cookie).filter(|_| origins.trusts_cookies(head, encrypted));
    let in_query = query(head.query).filter(|(name, _)| name == "token").map(|(_, value)| value);
    let api_keys = head.api_keys().map(|key| Credential::ApiKey(key.into()));
    let bearers = head.authorization.and_then(bearer).into_iter().chain(offered).chain(in_cookies);
    let tokens = bearers.map(Cow::Borrowed).chain(in_query).filter(|text| !text.is_empty());
    let mut found = None;
    for credential in tokens.map(credential).chain(api_keys) {
        match &found {
            Some(known) if *known != credential => return Err(Refused::Ambiguous),
            _ => found = Some(credential),
        }
    }
    Ok(found)
}

/// The offered subprotocol that brings a token, if there is one.
pub fn bearer_offer(offers: &str) -> Option<&str> {
    bearer_offers(offers).next()
}

fn bearer_offers(offers: &str) -> impl Iterator<Item = &str> {
    let offers = offers.split(',').map(str::trim);
    offers.filter(|offer| offer.len() > SUBPROTOCOL_PREFIX.len() && offer.starts_with(SUBPROTOCOL_PREFIX))
}

/// API keys begin so; tokens begin with a JSON object in Base64.
const API_KEY_PREFIX: &str = "courier_";

fn credential(text: Cow<'_, str>) -> Credential<'_> {
    if text.starts_with(API_KEY_PREFIX) { Credential::ApiKey(text) } else { Credential::Token(text) }
}

/// The token behind the scheme, which is spelt in any case (RFC 9110 11.1); other schemes are somebody else's.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// The cookies of that name (RFC 6265 4.2), without the quotes that they may stand in. What else the page has for cookies
/// may be in any encoding.
fn cookies_of<'h>(head: &Head<'h>, wanted: &str) -> impl Iterator<Item = &'h str> {
    let lines = head.field_lines().filter(|(name, _)| name.eq_ignore_ascii_case("Cookie"));
    let pairs = lines.flat_map(|(_, line)| line.split(|byte| *byte == b';'));
    let texts = pairs.filter_map(|pair| str::from_utf8(pair).ok()?.trim().split_once('='));
    texts
        .filter(move |(name, _)| !wanted.is_empty() && *name == wanted)
        .map(|(_, value)| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// Whether somebody may act as the service that a request names.
///
/// # Errors
/// [`Refused::OtherService`].
pub fn check_service(grants: &Grants, named: Option<&str>) -> Result<(), Refused> {
    match (grants.service(), named) {
        (Some(service), Some(named)) if service != named => Err(Refused::OtherService),
        _ => Ok(()),
    }
}

/// The rights of whoever asks: `None` while authentication is off.
pub type Asker = Option<Arc<Grants>>;

impl Refused {
    /// As an answer to a request (RFC 6750 3.1).
    pub fn refusal(self) -> Refusal {
        let unauthorized = |error: &'static str, message: &str, challenge: String| {
            Refusal::new(401, error, message).field("WWW-Authenticate", challenge)
        };
        let invalid = |error: &'static str, message: &str| {
            let challenge = format!("{REALM}, error=\"invalid_token\", error_description=\"{error}\"");
            unauthorized(error, message, challenge)
        };
        let forbidden = |error: &'static str, message: &str| {
            let challenge = format!("{REALM}, error=\"insufficient_scope\"");
            Refusal::new(403, error, message).field("WWW-Authenticate", challenge)
        };
        match self {
            Refused::Denied(Denied::Missing) => {
                let message = "Send a token: Authorization: Bearer <token>";
                unauthorized("Authentication token required", message, REALM.to_owned())
            }
            Refused::Denied(Denied::Expired) => {
                invalid("Token expired", "The token or certificate has expired; get a new one")
            }
            Refused::Denied(Denied::Invalid(_)) => {
                invalid("Invalid token", "The token or key is not one that is trusted here")
            }
            Refused::Ambiguous => {
                invalid("Invalid token", "The request brings different tokens in different places; send one")
            }
            Refused::Origin => {
                let message =
                    "Pages of this origin may do nothing here; cors.allowed_origins lists those that may";
                Refusal::new(403, "Origin not allowed", message)
            }
            Refused::Channel => {
                forbidden("Unauthorized access to channel", "The token does not allow reading this channel")
            }
            Refused::Publish => {
                forbidden("Publishing not allowed", "The token does not allow publishing to this channel")
            }
            Refused::OtherService => forbidden(
                "Service name mismatch",
                "X-Service-Name is not the service of this API key or certificate",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    fn found(target: &str, lines: &str) -> Result<Option<String>, Refused> {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let head = head(text.as_bytes()).unwrap().unwrap();
        find(&head, "courier_token", &Origins::default(), false).map(|found| {
            found.map(|found| match found {
                Credential::Token(text) => format!("token {text}"),
                Credential::ApiKey(text) => format!("key {text}"),
            })
        })
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\n";
        for (target, lines) in [
            ("/", "Authorization: Bearer a.b.c\r\n"),
            ("/", "authorization: bearer  a.b.c \r\n"),
            ("/?x=1&token=a.b.c", ""),
            ("/?token=a%2Eb.c", ""),
            ("/", "Cookie: x=y; courier_token=a.b.c; z\r\n"),
            ("/", "Cookie: x=y\r\ncookie: courier_token=\"a.b.c\"\r\n"),
            ("/?token=", "Cookie: courier_token=a.b.c\r\n"),
            ("/", &format!("{upgrade}Sec-WebSocket-Protocol: courier.v1, bearer.a.b.c\r\n")),
            ("/?token=a.b.c", "Authorization: Bearer a.b.c\r\n"),
            ("/?token=&token=a.b.c", "Cookie: courier_token=; courier_token=a.b.c; courier_token=a.b.c\r\n"),
        ] {
            assert_eq!(found(target, lines), Ok(Some("token a.b.c".to_owned())), "{target} {lines}");
        }
        for key in ["X-API-Key: courier_k\r\n", "Authorization: Bearer courier_k\r\n"] {
            assert_eq!(found("/", key), Ok(Some("key courier_k".to_owned())));
        }
        assert_eq!(found("/", "X-API-Key: k\r\n"), Ok(Some("key k".to_owned())));
    }

    #[test]
    fn nothing_is_found_where_nothing_is_meant() {
        for lines in [
            "",
            "Authorization: Basic a.b.c\r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer \r\n",
            "Cookie: courier_token\r\n",
            "Cookie: xcourier_token=a\r\n",
            "Sec-WebSocket-Protocol: bearer.a\r\n",
            "Origin: https://evil.example\r\nCookie: courier_token=a.b.c\r\n",
            "Sec-Fetch-Site: cross-site\r\nCookie: courier_token=a.b.c\r\n",
        ] {
            assert_eq!(found("/?tokens=a", lines), Ok(None), "{lines}");
        }
    }

    #[test]
    fn different_tokens_in_two_places_are_refused() {
        for (target, lines) in [
            ("/?token=a", "Authorization: Bearer b\r\n"),
            ("/?token=a", "Cookie: courier_token=b\r\n"),
            ("/", "Authorization: Bearer a\r\nX-API-Key: courier_k\r\n"),
            ("/?token=a&token=b", ""),
            ("/", "Cookie: courier_token=a; courier_token=b\r\n"),
            ("/", "Cookie: courier_token=a\r\nCookie: courier_token=b\r\n"),
            ("/", "X-API-Key: courier_a\r\nX-API-Key: courier_b\r\n"),
            (
                "/",
                "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Protocol: bearer.a, bearer.b\r\n",
            ),
        ] {
            assert_eq!(found(target, lines), Err(Refused::Ambiguous), "{target} {lines}");
        }
        let refusal = Refused::Ambiguous.refusal();
        assert_eq!((refusal.status, refusal.error), (401, "Invalid token"));
    }
}
