//! Tokens: what is let in has a good signature over the very bytes that were sent, and claims that a second, naive reading
//! agrees with. Half of the inputs are signed, so that what lies behind the signature is reached.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::auth::{Algorithm, Gate, Key, Policy, mint};
use serde_json::Value;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    now_s: u32,
    claims: Vec<(Claim, Of)>,
    raw_payload: Option<&'a str>,
    token: Option<&'a str>,
    flip: Option<(u16, u8)>,
}

#[derive(Arbitrary, Debug)]
enum Claim {
    User,
    Sub,
    Wallet,
    Exp,
    Iat,
    Nbf,
    Aud,
    Channels,
    Publish,
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Of {
    Text(String),
    Number(i64),
    Fraction(f64),
    Null,
    Texts(Vec<String>),
}

fn name(claim: &Claim) -> &str {
    match claim {
        Claim::User => "user_id",
        Claim::Sub => "sub",
        Claim::Wallet => "wallet",
        Claim::Exp => "exp",
        Claim::Iat => "iat",
        Claim::Nbf => "nbf",
        Claim::Aud => "aud",
        Claim::Channels => "channels",
        Claim::Publish => "publish",
        Claim::Other(name) => name,
    }
}

/// As it is written, members twice included.
fn payload(claims: &[(Claim, Of)]) -> String {
    let value = |of: &Of| match of {
        Of::Text(text) => Value::from(text.as_str()),
        Of::Number(number) => Value::from(*number),
        Of::Fraction(number) => Value::from(*number),
        Of::Null => Value::Null,
        Of::Texts(texts) => Value::from(texts.clone()),
    };
    let member = |(claim, of): &(Claim, Of)| format!("{}:{}", Value::from(name(claim)), value(of));
    format!("{{{}}}", claims.iter().map(member).collect::<Vec<_>>().join(","))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let key = Key::secret(Algorithm::Hs256, b"a secret of more than thirty-two bytes").expect("a good secret");
    let gate = Gate::new(Policy { keys: vec![key.clone()], ..Policy::default() });
    let now_s = u64::from(input.now_s);
    if let Some(token) = input.token {
        assert!(gate.judge(token, now_s).is_err(), "nobody but the owner of the secret makes a token");
        return;
    }
    let payload = input.raw_payload.map_or_else(|| payload(&input.claims), str::to_owned);
    let token = mint(&key, &payload).expect("it is a secret");
    if let Some((at, to)) = input.flip {
        let mut bytes = token.clone().into_bytes();
        let at = usize::from(at) % bytes.len();
        bytes[at] = to & 0x7f;
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(changed == token || gate.judge(&changed, now_s).is_err(), "a byte was changed");
    }
    let Ok(grants) = gate.judge(&token, now_s) else { return };
    // A document keeps neither great depth nor great numbers, which a claim that nobody reads may have.
    let Ok(claims) = serde_json::from_str::<Value>(&payload) else { return };
    let members = claims.as_object().expect("and an object");
    let user = members.get("user_id").or(members.get("sub")).and_then(Value::as_str);
    assert_eq!(grants.user(), user);
    let exp = members["exp"].as_f64().expect("exp is a number");
    assert!(now_s as f64 <= exp + 30.0 && members["iat"].as_f64().is_some_and(|iat| iat < now_s as f64 + 31.0));
    assert!(!grants.may_read("internal.x") || members.contains_key("channels"));
    assert!(!grants.may_publish("global") || members.contains_key("publish"));
    assert_eq!(gate.renew(&grants, now_s).as_deref(), Ok(&*grants));
});
