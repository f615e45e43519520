//! Who may read and write what, and when: the rules that the operator has given, the tokens that were made, and which of
//! both were in force for each connection at which moment. Judged the plainest way; nothing here is shared with `src`.
//! Where a moment cannot be told from the outside (a renewal is under way, a shard has not taken new rules yet) both the old
//! and the new may hold.

use crate::sieve::covers;
use crate::world::UNIX_MS;
use std::collections::BTreeMap;

/// A line of the rules; `{name}` stands for what a token claims.
#[derive(Clone, Debug)]
pub struct Line {
    pub pattern: String,
    pub read: Option<bool>,
    pub write: Option<bool>,
}

/// What the operator says.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub lines: Vec<Line>,
    pub revoked_tokens: Vec<usize>,
    /// Tokens of these that were issued before a second.
    pub revoked_users: BTreeMap<usize, u64>,
}

/// What somebody shows.
#[derive(Clone, Debug, Default)]
pub struct Token {
    pub user: usize,
    /// The key of a service: rules are not about it, and it does not end.
    pub is_key: bool,
    pub claims: Vec<(&'static str, String)>,
    pub channels: Vec<String>,
    pub publish: Vec<String>,
    pub issued_at_s: u64,
    pub expires_at_s: u64,
    pub text: String,
}

/// A point of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub step: u64,
    pub us: u64,
}

impl Moment {
    pub fn unix_ms(self) -> u64 {
        UNIX_MS + self.us / 1000
    }
}

/// A token that a connection holds for a while.
#[derive(Clone, Copy, Debug)]
struct Spell {
    token: usize,
    from_step: u64,
    until_step: u64,
    /// When it ends by itself, in milliseconds since 1970, at the earliest and at the latest.
    ends_ms: (u64, u64),
}

/// Rules that are in force for a connection for a while.
#[derive(Clone, Copy, Debug)]
struct Period {
    policy: usize,
    from_step: u64,
    until: Moment,
}

#[derive(Default)]
struct Holder {
    spells: Vec<Spell>,
    periods: Vec<Period>,
}

/// Somebody who holds this token under these rules; whether it has not ended is certain, possible or neither.
struct Holding<'r> {
    token: &'r Token,
    policy: &'r Policy,
    spell: &'r Spell,
}

#[derive(Default)]
pub struct Rights {
    pub is_on: bool,
    pub leeway_s: u64,
    pub policies: Vec<Policy>,
    pub tokens: Vec<Token>,
    holders: Vec<Holder>,
}

pub const EVER: Moment = Moment { step: u64::MAX, us: u64::MAX };

impl Policy {
    fn revokes(&self, number: usize, token: &Token) -> bool {
        let until = self.revoked_users.get(&token.user).copied().unwrap_or(0);
        !token.is_key && (self.revoked_tokens.contains(&number) || token.issued_at_s < until)
    }

    fn allows(&self, token: &Token, channel: &str, writes: bool) -> bool {
        let list = if writes { &token.publish } else { &token.channels };
        let own = list.iter().any(|pattern| covers(pattern, channel));
        let said = self.lines.iter().find_map(|line| {
            let says = if writes { line.write } else { line.read }?;
            let (pattern, is_whole) = bound(&line.pattern, token)?;
            (covers(&pattern, channel) && (is_whole || !says)).then_some(says)
        });
        if token.is_key { own } else { said.unwrap_or(own) }
    }
}

/// A rule's pattern with what the token claims in it. A claim that is no segment allows nothing (`false`), and denies all from its
/// place on; one that is missing makes the rule be about nothing.
fn bound(pattern: &str, token: &Token) -> Option<(String, bool)> {
    let mut segments: Vec<&str> = Vec::new();
    for segment in pattern.split('.') {
        let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            segments.push(segment);
            continue;
        };
        let (_, value) = token.claims.iter().find(|(known, _)| *known == name)?;
        if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c)) {
            segments.push("**");
            return Some((segments.join("."), false));
        }
        segments.push(value);
    }
    Some((segments.join("."), true))
}

impl Holding<'_> {
    /// Whether the token may have held at some time from then on.
    fn may_hold(&self, from: Moment) -> bool {
        from.unix_ms() < self.spell.ends_ms.1 && !self.policy.revokes(self.spell.token, self.token)
    }

    /// Whether it held until then, for certain.
    fn holds(&self, until: Moment) -> bool {
        until.us != u64::MAX
            && until.unix_ms() < self.spell.ends_ms.0
            && !self.policy.revokes(self.spell.token, self.token)
    }
}

impl Rights {
    /// Another connection comes; these rules are in force where it comes.
    pub fn arrive(&mut self, policy: usize, step: u64) {
        let periods = vec![Period { policy, from_step: step, until: EVER }];
        self.holders.push(Holder { spells: Vec::new(), periods });
    }

    /// The shard of a connection has taken new rules; the old ones may count for it until then.
    pub fn change(&mut self, client: usize, policy: usize, step: u64, until: Moment) {
        let periods = &mut self.holders[client].periods;
        periods.iter_mut().filter(|period| period.until == EVER).for_each(|period| period.until = until);
        periods.push(Period { policy, from_step: step, until: EVER });
    }

    /// A connection was let in with a token at some moment between these.
    pub fn hold(&mut self, client: usize, token: usize, from: Moment, to: Moment) {
        let spell = Spell {
            token,
            from_step: from.step,
            until_step: u64::MAX,
            ends_ms: (self.ends_ms_of(token, from), self.ends_ms_of(token, to)),
        };
        self.holders[client].spells.push(spell);
    }

    fn ends_ms_of(&self, token: usize, at: Moment) -> u64 {
        let token = &self.tokens[token];
        match token.expires_at_s * 1000 {
            _ if token.is_key => u64::MAX,
            end if at.unix_ms() < end => end,
            end => end + self.leeway_s * 1000,
        }
    }

    /// A connection asks to go on with a token.
    pub fn ask(&mut self, client: usize, token: usize, at: Moment) {
        self.hold(client, token, at, EVER);
    }

    /// A renewal was granted: of what was held before nothing counts any more.
    pub fn renewed(&mut self, client: usize, token: usize, at: Moment) {
        let end_ms = self.ends_ms_of(token, at);
        let spells = &mut self.holders[client].spells;
        let nth = spells.iter().position(|spell| spell.token == token).expect("it was asked for");
        spells[nth].ends_ms.1 = end_ms;
        spells[..nth].iter_mut().for_each(|spell| spell.until_step = spell.until_step.min(at.step));
    }

    /// A renewal was refused.
    pub fn not_renewed(&mut self, client: usize, token: usize) {
        let spells = &mut self.holders[client].spells;
        spells.retain(|spell| spell.token != token);
    }

    /// A connection says what it holds with each request: a token is judged anew each time.
    fn shown(
        &self,
        client: usize,
        token: usize,
        from: Moment,
        to: Moment,
    ) -> impl Iterator<Item = (bool, bool, &Policy)> {
        let shown = &self.tokens[token];
        let ends_ms = if shown.is_key { u64::MAX } else { (shown.expires_at_s + self.leeway_s) * 1000 };
        let periods = self.periods(client, from, to);
        periods.map(move |policy| {
            let good = !policy.revokes(token, shown);
            (good && from.unix_ms() < ends_ms, good && to.unix_ms() < ends_ms, policy)
        })
    }

    fn periods(&self, client: usize, from: Moment, to: Moment) -> impl Iterator<Item = &Policy> {
        let within = move |period: &&Period| {
            period.from_step <= to.step && (period.until.step >= from.step || period.until.us >= from.us)
        };
        self.holders[client].periods.iter().filter(within).map(|period| &self.policies[period.policy])
    }

    /// Whether a request with this token may have been let through, or turned away, between these moments.
    pub fn may_pass(&self, client: usize, token: Option<usize>, from: Moment, to: Moment) -> bool {
        !self.is_on || token.is_some_and(|token| self.shown(client, token, from, to).any(|(may, ..)| may))
    }

    pub fn may_fail(&self, client: usize, token: Option<usize>, from: Moment, to: Moment) -> bool {
        let fails = |token| self.shown(client, token, from, to).any(|(_, surely, _)| !surely);
        self.is_on && token.is_none_or(fails)
    }

    /// Whether a request with this token to publish may have been granted (`wanted`), or refused.
    pub fn may_publish(
        &self,
        client: usize,
        token: Option<usize>,
        channel: &str,
        wanted: bool,
        (from, to): (Moment, Moment),
    ) -> bool {
        let Some(token) = token.filter(|_| self.is_on) else { return wanted && !self.is_on };
        let shown = &self.tokens[token];
        self.shown(client, token, from, to)
            .any(|(may, _, policy)| may && policy.allows(shown, channel, true) == wanted)
    }

    /// Whether a request with this token may have been refused because it may not read a channel.
    pub fn may_not_read(
        &self,
        client: usize,
        token: Option<usize>,
        channel: &str,
        from: Moment,
        to: Moment,
    ) -> bool {
        let Some(token) = token.filter(|_| self.is_on) else { return false };
        let shown = &self.tokens[token];
        self.shown(client, token, from, to).any(|(.., policy)| !policy.allows(shown, channel, false))
    }

    fn holdings(&self, client: usize, from: Moment, to: Moment) -> impl Iterator<Item = Holding<'_>> {
        let within = move |spell: &&Spell| spell.from_step <= to.step && spell.until_step >= from.step;
        self.holders[client].spells.iter().filter(within).flat_map(move |spell| {
            let token = &self.tokens[spell.token];
            self.periods(client, from, to).map(move |policy| Holding { token, policy, spell })
        })
    }

    /// Whether a connection's rights may have covered a channel at some moment between these.
    pub fn may_have(&self, client: usize, channel: &str, writes: bool, from: Moment, to: Moment) -> bool {
        !self.is_on
            || self
                .holdings(client, from, to)
                .any(|held| held.may_hold(from) && held.policy.allows(held.token, channel, writes))
    }

    /// Whether they may not have at some moment between these.
    pub fn may_lack(&self, client: usize, channel: &str, writes: bool, from: Moment, to: Moment) -> bool {
        let mut holdings = self.holdings(client, from, to).peekable();
        let lacks = |held: Holding<'_>| !held.holds(to) || !held.policy.allows(held.token, channel, writes);
        self.is_on && (holdings.peek().is_none() || holdings.any(lacks))
    }

    /// Whether at some moment between these they may have covered none of these channels.
    pub fn may_lack_all<'c>(
        &self,
        client: usize,
        channels: impl Iterator<Item = &'c str> + Clone,
        from: Moment,
        to: Moment,
    ) -> bool {
        let none = |held: &Holding<'_>| channels.clone().all(|c| !held.policy.allows(held.token, c, false));
        self.is_on && self.holdings(client, from, to).any(|held| none(&held))
    }

    /// Whether what a connection holds may have ended by itself before then.
    pub fn may_have_ended(&self, client: usize, at: Moment) -> bool {
        let spells = self.holders[client].spells.iter();
        self.is_on && spells.filter(|s| s.until_step == u64::MAX).any(|s| s.ends_ms.0 <= at.unix_ms())
    }

    /// The first change of what a connection may do behind a step; 0: there was none.
    pub fn changed_after(&self, client: usize, step: u64) -> u64 {
        let holder = &self.holders[client];
        let steps =
            holder.spells.iter().map(|s| s.from_step).chain(holder.periods.iter().map(|p| p.from_step));
        steps.filter(|from| *from >= step).min().unwrap_or(0)
    }

    /// The latest end of what a connection holds, in milliseconds since 1970.
    pub fn ends_ms(&self, client: usize) -> Option<u64> {
        self.holders[client].spells.iter().map(|spell| spell.ends_ms.1).max()
    }

    /// Whether what a connection holds, when nothing is under way, has neither ended nor been revoked.
    pub fn holds(&self, client: usize, at: Moment) -> bool {
        !self.is_on || self.holdings(client, at, at).any(|held| held.may_hold(at))
    }

    /// Whether what a connection holds may have been revoked before then.
    pub fn may_be_revoked(&self, client: usize, from: Moment, at: Moment) -> bool {
        self.is_on
            && self.holdings(client, from, at).any(|held| held.policy.revokes(held.spell.token, held.token))
    }
}
