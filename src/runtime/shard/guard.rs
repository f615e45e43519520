//! Who may come in (contract 12): judges what a request brings, before it is served. There is a guard only where
//! `auth.mode` is `required`; otherwise a request costs one look at `None`. What becomes of connections that are in is
//! the business of `rights`.

use super::super::driver::Driver;
use super::Shard;
use super::opening::Away;
use super::options::Auth;
use super::plan::Plan;
use crate::auth::{Certified, Denied, Door, Flaw, Grants};
use crate::event::{Extent, Filter, Pattern, Reach};
use crate::hub::Counters;
use crate::session::Reason;
use crate::session::command::Target;
use crate::session::credentials::{self, Asker, Credential, Refused};
use crate::session::route::{Report, Route};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::{Head, Method};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The judgement of one shard.
pub(super) struct Guard {
    pub door: Door,
    pub auth: Auth,
    /// Who sent the request that is served now.
    pub asker: Asker,
    /// When which connection has something to be told, or ends: milliseconds since 1970, and its key.
    pub moments: BTreeSet<(u64, u64)>,
}

impl Guard {
    pub fn new(auth: Auth) -> Box<Guard> {
        let (door, moments) = (Door::new(auth.gate.clone()), BTreeSet::new());
        Box::new(Guard { door, auth, asker: None, moments })
    }
}

impl<D: Driver> Shard<D> {
    /// Whether everybody may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.guard.is_none()
    }

    /// Who sends a request; `None` where nobody is asked.
    fn judge(&mut self, driver: &D, key: Key, head: &Head<'_>, now: Now) -> Result<Asker, Refused> {
        let judged = self.judge_quietly(driver, key, head, now);
        if let Err(refused) = &judged {
            self.tally_refused(*refused);
        }
        judged
    }

    fn judge_quietly(&mut self, driver: &D, key: Key, head: &Head<'_>, now: Now) -> Result<Asker, Refused> {
        let Some(guard) = &mut self.guard else { return Ok(None) };
        let connection = self.connections.get(key);
        let encrypted = connection.is_some_and(|connection| driver.is_encrypted(&connection.socket));
        let certified = connection.and_then(|connection| driver.certified(&connection.socket));
        found(guard, head, encrypted, certified.as_ref(), &self.options.session.origins, now)
    }

    /// Whether a page of this origin, with this token, may open a socket at all.
    pub(super) fn judge_opening(
        &mut self,
        driver: &D,
        key: Key,
        head: &Head<'_>,
        now: Now,
    ) -> Result<Asker, Away> {
        if self.options.session.origins.is_foreign(head) {
            return Err(Away::Refused(self.counted(Refused::Origin)));
        }
        self.judge(driver, key, head, now).map_err(Away::Refused)
    }

    /// The plan, if who opens it may hear some of it; what they may not hear is left out when it opens.
    pub(super) fn within_rights(&mut self, plan: Plan) -> Result<Plan, Away> {
        let asker = plan.asker.as_deref();
        let nothing = !plan.targets.is_empty()
            && plan.targets.iter().all(|target| bounded(asker, target, None).is_err());
        if nothing { Err(Away::Refused(self.counted(Refused::Channel))) } else { Ok(plan) }
    }

    /// Whether a request may be served at all. Sockets are judged when they open, and tell in their own way.
    pub(super) fn permit(
        &mut self,
        driver: &D,
        key: Key,
        route: &Route<'_>,
        head: &Head<'_>,
        now: Now,
    ) -> Result<(), Refused> {
        if self.is_open() {
            return self.permit_page(route, head);
        }
        let asker = match route {
            Route::Options(_) | Route::Socket(_) | Route::Document(_) => None,
            Route::Report(Report::Live | Report::Ready) => None,
            // Open to probes, which learn no channel's name from it.
            Route::Report(Report::Health) => self.judge_quietly(driver, key, head, now).ok().flatten(),
            Route::Letters | Route::RetryLetters => {
                let asker = self.judge(driver, key, head, now)?;
                self.may_do_all(&asker, head.method)?;
                asker
            }
            Route::History(channel) => {
                let asker = self.judge(driver, key, head, now)?;
                self.may_read(&asker, channel)?;
                asker
            }
            Route::Report(_)
            | Route::Stream(_)
            | Route::Publish(_)
            | Route::PublishNowhere(_)
            | Route::Batch => self.judge(driver, key, head, now)?,
        };
        if route.publishes()
            && let Some(grants) = &asker
        {
            let checked = credentials::check_service(grants, head.service_name);
            checked.inspect_err(|refused| self.tally_refused(*refused))?;
        }
        if let Some(guard) = &mut self.guard {
            guard.asker = asker;
        }
        Ok(())
    }

    /// Where nobody is asked who they are, what a page of a stranger sends through a browser on this machine changes
    /// nothing: a browser sends it without asking, and keeps back the answer only. What is read is kept back so.
    fn permit_page(&mut self, route: &Route<'_>, head: &Head<'_>) -> Result<(), Refused> {
        let origins = &self.options.session.origins;
        if head.origin.is_none() || !origins.guards_writes() || !origins.is_foreign(head) {
            return Ok(());
        }
        match route {
            Route::RetryLetters => Err(self.counted(Refused::Origin)),
            _ if route.publishes() => Err(self.counted(Refused::Origin)),
            Route::Letters if head.method == Method::Delete => Err(self.counted(Refused::Origin)),
            _ => Ok(()),
        }
    }

    /// Who sent the request that is served now.
    pub(super) fn asker(&self) -> Asker {
        self.guard.as_ref().and_then(|guard| guard.asker.clone())
    }

    /// What is kept of every channel is for those who may read every channel, and changed by those who may publish to
    /// every one too.
    fn may_do_all(&mut self, asker: &Asker, method: Method) -> Result<(), Refused> {
        let Some(grants) = asker else { return Ok(()) };
        let reads = matches!(method, Method::Get | Method::Head);
        if !is_all(grants.reach()) {
            return Err(self.counted(Refused::Channel));
        }
        if reads || is_all(grants.publish_reach()) { Ok(()) } else { Err(self.counted(Refused::Publish)) }
    }

    /// What is done now is done for the holder of this socket.
    pub(super) fn act_for(&mut self, key: Key) {
        if !self.is_open() {
            let asker = self.grants_at(key);
            if let Some(guard) = &mut self.guard {
                guard.asker = asker;
            }
        }
    }

    /// The channels that whoever sent the request that is served now may know of.
    pub(super) fn names_within(&self) -> Option<Reach> {
        let guard = self.guard.as_ref()?;
        Some(guard.asker.as_ref().map_or_else(Reach::nothing, |grants| grants.reach().clone()))
    }

    pub(super) fn may_read(&mut self, asker: &Asker, channel: &str) -> Result<(), Refused> {
        match asker {
            Some(grants) if !grants.may_read(channel) => Err(self.counted(Refused::Channel)),
            _ => Ok(()),
        }
    }

    /// Whether whoever sent the request that is served now may publish to a channel.
    pub(super) fn may_publish(&mut self, channel: &str) -> Result<(), Refused> {
        if self.lets_publish(channel) { Ok(()) } else { Err(self.counted(Refused::Publish)) }
    }

    /// The same, when nothing is refused because of it.
    pub(super) fn lets_publish(&self, channel: &str) -> bool {
        let Some(guard) = &self.guard else { return true };
        guard.asker.as_ref().is_some_and(|grants| grants.may_publish(channel))
    }

    /// Counts a refusal, and answers it.
    pub(super) fn counted(&mut self, refused: Refused) -> Refused {
        self.tally_refused(refused);
        refused
    }

    fn tally_refused(&mut self, refused: Refused) {
        count(&mut self.hub.counters, refused);
    }

    /// Whether sockets that are refused are told by status, in place of a close.
    pub(super) fn rejects_by_status(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.auth.reject_by_status)
    }
}

fn is_all(reach: &Reach) -> bool {
    Pattern::parse("**").is_ok_and(|all| reach.extent(&all) == Extent::Whole)
}

/// A certificate counts where the request brings nothing else. As with a cookie a browser shows it for any page, so it
/// counts only for those whose cookies do.
fn found(
    guard: &mut Guard,
    head: &Head<'_>,
    encrypted: bool,
    certified: Option<&Arc<Certified>>,
    origins: &credentials::Origins,
    now: Now,
) -> Result<Asker, Refused> {
    let now_s = now.unix_ms / 1000;
    let judged = match credentials::find(head, &guard.auth.cookie, origins, encrypted)? {
        None => match certified.filter(|_| origins.trusts_cookies(head, encrypted)) {
            Some(certified) => guard.door.certified(certified, now_s),
            None => Err(Denied::Missing),
        },
        Some(Credential::Token(token)) => guard.door.judge(&token, now_s),
        Some(Credential::ApiKey(key)) => guard.door.gate().service(&key),
    };
    if let (Err(Denied::Invalid(Flaw::UnknownKey)), Some(unknown_key)) = (&judged, &guard.auth.unknown_key) {
        // Full: it was said already.
        let _ = unknown_key.try_send(());
    }
    if let Err(Denied::Invalid(flaw)) = &judged {
        tracing::debug!(%flaw, path = head.path, "a token or key was refused");
    }
    Ok(Some(judged?))
}

fn count(counters: &mut Counters, refused: Refused) {
    match refused {
        Refused::Denied(Denied::Missing) => counters.auth_missing += 1,
        Refused::Denied(Denied::Expired) => counters.auth_expired += 1,
        Refused::Denied(Denied::Invalid(Flaw::Revoked)) => counters.auth_revoked += 1,
        Refused::Denied(Denied::Invalid(_)) | Refused::Ambiguous => counters.auth_invalid += 1,
        Refused::Origin => counters.origins_refused += 1,
        Refused::Channel | Refused::Publish | Refused::OtherService => counters.auth_forbidden += 1,
    }
}

/// The reason of a close.
pub(super) fn reason(refused: Refused) -> Reason {
    match refused {
        Refused::Denied(Denied::Missing) => Reason::TokenRequired,
        Refused::Denied(Denied::Expired) => Reason::TokenExpired,
        Refused::Denied(Denied::Invalid(_)) | Refused::Ambiguous => Reason::InvalidToken,
        Refused::Origin => Reason::Origin,
        Refused::Channel | Refused::Publish | Refused::OtherService => Reason::Unauthorized,
    }
}

/// The filter through which somebody may hear a target: a pattern that their rights cover in part lets through those
/// channels only.
///
/// # Errors
/// [`Refused::Channel`] when nothing of it may be heard.
pub(super) fn bounded(
    asker: Option<&Grants>,
    target: &Target,
    filter: Option<Filter>,
) -> Result<Option<Filter>, Refused> {
    let Some(grants) = asker else { return Ok(filter) };
    match target {
        Target::Channel(channel) if grants.may_read(channel.as_str()) => Ok(filter),
        Target::Channel(_) => Err(Refused::Channel),
        Target::Pattern(pattern) => match grants.reach().extent(pattern) {
            Extent::Whole => Ok(filter),
            Extent::Part => Ok(Filter::within(filter, Some(grants.reach().clone()))),
            Extent::Nothing => Err(Refused::Channel),
        },
    }
}
