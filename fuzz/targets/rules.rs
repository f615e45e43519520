//! Rules: whatever a claim says, a rule covers only channels in which the claim's segments stand literally, and only for who
//! has the claim; a naive reading of the rule, segment by segment, agrees about every channel.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::auth::{Algorithm, Gate, Key, Policy, Rule, mint};
use courier::event::Channel;

#[derive(Arbitrary, Debug)]
struct Input {
    rules: Vec<(Vec<Segment>, Option<bool>)>,
    raw_rule: String,
    user: String,
    tenant: Option<String>,
    channels: Vec<Vec<Segment>>,
}

#[derive(Arbitrary, Debug)]
enum Segment {
    A,
    B,
    Star,
    Stars,
    User,
    Tenant,
    Missing,
    Text(String),
}

fn written(segments: &[Segment], user: &str, tenant: &str, missing: &str) -> String {
    let word = |segment: &Segment| match segment {
        Segment::A => "a".to_owned(),
        Segment::B => "b".to_owned(),
        Segment::Star => "*".to_owned(),
        Segment::Stars => "**".to_owned(),
        Segment::User => user.to_owned(),
        Segment::Tenant => tenant.to_owned(),
        Segment::Missing => missing.to_owned(),
        Segment::Text(text) => text.clone(),
    };
    segments.iter().map(word).collect::<Vec<_>>().join(".")
}

/// Whether a rule covers a channel: each claim is one literal segment. One that is none allows nothing, and denies all from
/// its place on.
fn covers(rule: &[Segment], allows: bool, input: &Input, channel: &str) -> bool {
    let mut wanted: Vec<Option<String>> = Vec::new();
    let mut open = false;
    if rule.len() == 1 && matches!(&rule[0], Segment::Star) {
        return true;
    }
    for segment in rule {
        let value = match segment {
            Segment::Star => {
                wanted.push(None);
                continue;
            }
            Segment::Stars => {
                open = true;
                continue;
            }
            Segment::A => "a",
            Segment::B => "b",
            Segment::User => &input.user,
            Segment::Tenant => match &input.tenant {
                Some(tenant) => tenant,
                None => return false,
            },
            Segment::Missing => return false,
            Segment::Text(text) => text,
        };
        if !matches!(segment, Segment::Text(_)) && (Channel::check(value).is_err() || value.contains('.')) {
            if allows {
                return false;
            }
            open = true;
            break;
        }
        wanted.push(Some(value.to_owned()));
    }
    let given: Vec<&str> = channel.split('.').collect();
    let enough = if open { given.len() > wanted.len() } else { given.len() == wanted.len() };
    enough && wanted.iter().zip(&given).all(|(wanted, given)| wanted.as_ref().is_none_or(|wanted| wanted == given))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let _ = Rule::parse(&input.raw_rule);
    let mut rules = Vec::new();
    let mut kept = Vec::new();
    for (segments, says) in input.rules.iter().take(8) {
        // A free text with stars, dots or braces would mean something else than one literal segment.
        if segments.iter().any(|segment| matches!(segment, Segment::Text(text) if text.contains(['*', '.', '{', '}']))) {
            continue;
        }
        if let Ok(rule) = Rule::parse(&written(segments, "{user_id}", "{tenant}", "{missing}")) {
            rules.push(rule.saying(*says, None));
            kept.push((segments, *says));
        }
    }
    if rules.is_empty() {
        return;
    }
    let key = Key::secret(Algorithm::Hs256, b"a secret of more than thirty-two bytes").expect("a good secret");
    let gate = Gate::new(Policy { keys: vec![key.clone()], rules, ..Policy::default() });
    let mut claims = serde_json::json!({"user_id": input.user, "wallet": "w", "iat": 1, "exp": 9});
    if let Some(tenant) = &input.tenant {
        claims["tenant"] = tenant.as_str().into();
    }
    let token = mint(&key, &claims.to_string()).expect("it is a secret");
    let Ok(grants) = gate.judge(&token, 5) else { return };
    for channel in &input.channels {
        let channel = written(channel, &input.user, input.tenant.as_deref().unwrap_or("t"), "m");
        // A bound pattern above 100 bytes is none; such long claims are beside the point here.
        if Channel::check(&channel).is_err() || input.user.len() > 20 || input.tenant.as_ref().is_some_and(|t| t.len() > 20) {
            continue;
        }
        let long = |segments: &[Segment]| written(segments, &input.user, input.tenant.as_deref().unwrap_or("t"), "m").len() > 100;
        if kept.iter().any(|(segments, _)| long(segments)) {
            continue;
        }
        let first = kept
            .iter()
            .find(|(segments, says)| says.is_some_and(|allows| covers(segments, allows, &input, &channel)));
        assert_eq!(grants.may_read(&channel), first.is_some_and(|(_, says)| *says == Some(true)), "{channel}");
        assert!(!grants.may_publish(&channel));
    }
});
