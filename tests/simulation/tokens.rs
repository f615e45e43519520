//! Draws rules and tokens, and makes of them what a server is given: a gate and texts that it can judge.

use crate::dice::Dice;
use crate::features::Features;
use crate::model::Model;
use crate::places::COOKIE;
use crate::rights::{Line, Moment, Policy, Token};
use crate::world::World;
use courier::auth::{
    self, Algorithm, ApiKey, ApiKeys, Gate, Key, Revoked, Rule, Services, mint, new_api_key,
};
use courier::runtime::shard::Auth;
use serde_json::json;
use std::sync::{Arc, LazyLock};

/// The keys of services that may do everything, and publish only.
pub const ADMIN: usize = 0;
const BACKEND: usize = 1;

const USERS: usize = 3;
const LINES_MAX: u64 = 4;
/// Longer than a run, in seconds.
const LONG_S: u64 = 3600;

static SECRET: LazyLock<Key> = LazyLock::new(|| {
    Key::secret(Algorithm::Hs256, b"a secret of the simulation, 32 bytes or more").expect("long enough")
});

static KEYS: LazyLock<[(String, ApiKey); 2]> = LazyLock::new(|| {
    [("admin", &["**"][..]), ("backend", &[])].map(|(id, channels)| {
        let (text, sha256) = new_api_key(id, &[id.len() as u8; 32]);
        let channels = channels.iter().map(|&pattern| pattern.to_owned()).collect();
        let key = ApiKey {
            service: id.to_owned(),
            id: id.to_owned(),
            sha256,
            publish: vec!["**".to_owned()],
            channels,
            created: String::new(),
            certificate: String::new(),
        };
        (text, key)
    })
});

/// What is there from the start: rules, and the keys of services.
pub fn begin(model: &mut Model, features: Features, dice: &mut Dice) {
    model.rights.is_on = features.auth;
    if !features.auth {
        return;
    }
    model.rights.leeway_s = *dice.pick(&[0, 2, 30]);
    let lines = dice.range(1, LINES_MAX);
    let lines = (0..lines).map(|_| line(dice, model)).collect();
    model.rights.policies.push(Policy { lines, ..Policy::default() });
    let keys = KEYS.iter().map(|(text, key)| Token {
        is_key: true,
        channels: key.channels.clone(),
        publish: key.publish.clone(),
        text: text.clone(),
        ..Token::default()
    });
    model.rights.tokens.extend(keys);
}

/// The newest rules, as a shard is told.
pub fn auth(model: &Model, reject_by_status: bool) -> Option<Auth> {
    let policy = model.rights.policies.last()?;
    let rule = |line: &Line| Rule::parse(&line.pattern).expect("drawn as one").saying(line.read, line.write);
    let tokens = policy.revoked_tokens.iter().map(|token| format!("token t{token}\n"));
    let users = policy.revoked_users.iter().map(|(user, until)| format!("user u{user} before {until}\n"));
    let keys = ApiKeys { keys: KEYS.iter().map(|(_, key)| key.clone()).collect() };
    let gate = Gate::new(auth::Policy {
        keys: vec![SECRET.clone()],
        rules: policy.lines.iter().map(rule).collect(),
        services: Services::new(&keys).expect("two keys"),
        revoked: Revoked::parse(&tokens.chain(users).collect::<String>()).expect("written as lines"),
        leeway_s: model.rights.leeway_s,
        ..auth::Policy::default()
    });
    Some(Auth { gate: Arc::new(gate), reject_by_status, unknown_key: None, cookie: COOKIE.into() })
}

/// A pattern that covers some of the channels.
fn pattern(dice: &mut Dice, model: &Model) -> String {
    let name = &dice.pick(&model.channels).name;
    let (family, number) = name.rsplit_once('.').expect("two segments at least");
    let patterns = [
        name.clone(),
        name.clone(),
        format!("{family}.*"),
        format!("{family}.**"),
        format!("*.{number}"),
        "forge.**".to_owned(),
        "*.*".to_owned(),
        "**".to_owned(),
        "*".to_owned(),
    ];
    dice.pick(&patterns).clone()
}

fn line(dice: &mut Dice, model: &Model) -> Line {
    let bound = ["{team}.*", "{team}.{box}", "plain.{box}", "*.{box}", "{team}.**", "forge.*.{box}"];
    let pattern = if dice.chance(40) { (*dice.pick(&bound)).to_owned() } else { pattern(dice, model) };
    let mut says = || *dice.pick(&[None, Some(true), Some(true), Some(false)]);
    Line { pattern, read: says(), write: says() }
}

fn patterns(dice: &mut Dice, model: &Model) -> Vec<String> {
    (0..dice.below(4)).map(|_| pattern(dice, model)).collect()
}

/// Somebody gets a token: of this user, or of any.
pub fn token(world: &mut World, user: Option<usize>) -> usize {
    let now = world.moment();
    let (dice, model) = (&mut world.dice, &mut world.model);
    let now_s = now.unix_ms() / 1000;
    let name = dice.pick(&model.channels).name.clone();
    let (family, number) = name.rsplit_once('.').expect("two segments at least");
    let claims = [("team", [family, "*", "plain"]), ("box", [number, "**", "0000.x"])];
    let claims =
        claims.map(|(claim, values)| dice.chance(70).then(|| (claim, (*dice.pick(&values)).to_owned())));
    let lasts_s = *dice.pick(&[LONG_S, LONG_S, LONG_S, 1, 1, 1, 2, 10, 30]);
    let token = Token {
        user: user.unwrap_or_else(|| dice.below(USERS)),
        is_key: false,
        claims: claims.into_iter().flatten().collect(),
        channels: patterns(dice, model),
        publish: patterns(dice, model),
        issued_at_s: now_s,
        expires_at_s: if dice.chance(5) { now_s - 1 } else { now_s + lasts_s },
        text: String::new(),
    };
    issue(world, token)
}

/// Somebody gets another token, for less than this one.
pub fn lesser(world: &mut World, than: usize) -> usize {
    let now_s = world.moment().unix_ms() / 1000;
    let mut token = world.model.rights.tokens[than].clone();
    let dice = &mut world.dice;
    token.claims.retain(|_| dice.chance(50));
    token.channels.retain(|_| dice.chance(30));
    (token.issued_at_s, token.expires_at_s) = (now_s, now_s + *dice.pick(&[LONG_S, LONG_S, 1, 10]));
    issue(world, token)
}

fn issue(world: &mut World, mut token: Token) -> usize {
    let model = &mut world.model;
    let number = model.rights.tokens.len();
    let mut payload = json!({ "user_id": format!("u{}", token.user), "wallet": "w", "jti": format!("t{number}"),
        "iat": token.issued_at_s, "exp": token.expires_at_s });
    for (claim, value) in &token.claims {
        payload[*claim] = json!(value);
    }
    for (claim, list) in [("channels", &token.channels), ("publish", &token.publish)] {
        if !list.is_empty() {
            payload[claim] = json!(list);
        }
    }
    token.text = mint(&SECRET, &payload.to_string()).expect("the secret is there");
    model.rights.tokens.push(token);
    world.note(|| format!("token {number}: {payload}"));
    number
}

/// What a client shows from now on; few show nothing.
pub fn some_token(world: &mut World) -> Option<usize> {
    match world.dice.below(100) {
        _ if !world.plan.features.auth => None,
        0..3 => None,
        3..25 => Some(ADMIN),
        25..50 => Some(BACKEND),
        _ => Some(token(world, None)),
    }
}

/// The operator changes a line, or takes something back.
pub fn change(world: &mut World) {
    let now: Moment = world.moment();
    let (dice, model) = (&mut world.dice, &mut world.model);
    let mut policy = model.rights.policies.last().expect("there is one from the start").clone();
    let tokens = model.rights.tokens.len();
    match dice.below(10) {
        0..2 if tokens > 2 => policy.revoked_tokens.push(dice.range(2, tokens as u64 - 1) as usize),
        2 => drop(policy.revoked_users.insert(dice.below(USERS), now.unix_ms() / 1000)),
        3 => (policy.revoked_tokens, policy.revoked_users) = Default::default(),
        4..6 if policy.lines.len() < LINES_MAX as usize => policy.lines.insert(0, line(dice, model)),
        _ => {
            let at = dice.below(policy.lines.len());
            policy.lines[at] = line(dice, model);
        }
    }
    let text = format!("the rules are now {policy:?}");
    model.rights.policies.push(policy);
    world.note(|| text);
    world.announce();
}
