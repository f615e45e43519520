//! The published vectors, and a corpus of tokens that must be refused: each is a good token with one thing wrong.

use super::token::Token;
use super::*;
use data_encoding::BASE64URL_NOPAD;
use ring::rand::SystemRandom;
use ring::{hmac, signature};
use std::sync::Arc;

mod attacks;

const SECRET: &[u8] = b"a secret that is long enough to be one";
const NOW_S: u64 = 150;
const PAYLOAD: &str = r#"{"user_id":"u1","wallet_address":"w","iat":100,"exp":200}"#;

const RSA_PEM: &[u8] = include_bytes!("vectors/rsa2048.pem");
const P256_PEM: &[u8] = include_bytes!("vectors/p256.pem");
const P384_PEM: &[u8] = include_bytes!("vectors/p384.pem");
const ED_PEM: &[u8] = include_bytes!("vectors/ed.pem");

fn part(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn bytes(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

fn gate(keys: Vec<Key>) -> Gate {
    Gate::new(Policy { keys, ..Policy::default() })
}

fn hs256() -> Key {
    Key::secret(Algorithm::Hs256, SECRET).unwrap()
}

/// A token of these parts, signed with a secret.
fn signed(header: &str, payload: &str, secret: &[u8]) -> String {
    let text = format!("{}.{}", part(header.as_bytes()), part(payload.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", part(tag.as_ref()))
}

fn token(payload: &str) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, payload, SECRET)
}

/// As an issuer would sign it, with the private key beside the public one.
fn issued(algorithm: Algorithm, text: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let ecdsa = |curve, pkcs8: &[u8]| {
        let pair = signature::EcdsaKeyPair::from_pkcs8(curve, pkcs8, &random).unwrap();
        pair.sign(&random, text).unwrap().as_ref().to_vec()
    };
    let rsa = |padding: &'static dyn signature::RsaEncoding| {
        let pair = signature::RsaKeyPair::from_pkcs8(include_bytes!("vectors/rsa2048.p8")).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &random, text, &mut signature).unwrap();
        signature
    };
    match algorithm {
        Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
        Algorithm::Es256 => {
            ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, include_bytes!("vectors/p256.p8"))
        }
        Algorithm::Es384 => {
            ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, include_bytes!("vectors/p384.p8"))
        }
        Algorithm::EdDsa => {
            let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(include_bytes!("vectors/ed.p8"));
            pair.unwrap().sign(text).as_ref().to_vec()
        }
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            Key::secret(algorithm, SECRET).unwrap().sign(text).unwrap().as_ref().to_vec()
        }
    }
}

fn key_of(algorithm: Algorithm) -> Key {
    let pem = match algorithm.family() {
        Family::Hmac => return Key::secret(algorithm, SECRET).unwrap(),
        Family::Rsa => RSA_PEM,
        Family::P256 => P256_PEM,
        Family::P384 => P384_PEM,
        Family::Ed25519 => ED_PEM,
    };
    Key::pem(algorithm, pem).unwrap()
}

fn issued_token(algorithm: Algorithm) -> String {
    let header = format!(r#"{{"alg":"{algorithm}"}}"#);
    let text = format!("{}.{}", part(header.as_bytes()), part(PAYLOAD.as_bytes()));
    let signature = issued(algorithm, text.as_bytes());
    format!("{text}.{}", part(&signature))
}

fn verifies(key: &Key, text: &str) -> bool {
    let token = Token::parse(text).unwrap();
    assert_eq!(token.algorithm, key.algorithm());
    key.verifies(token.signed, &token.signature)
}

/// RFC 7515 appendix A.1 to A.3 (A.1 is also RFC 7519 section 3.1) and RFC 8037 appendix A.4.
#[test]
fn published_vectors_verify() {
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let secret =
        bytes("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let a1 = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let key = Key::secret(Algorithm::Hs256, &secret).unwrap();
    assert!(verifies(&key, &a1));
    assert_eq!(gate(vec![key]).judge(&a1, 1), Err(Flaw::Lacks("user_id").into()), "what it lacks for us");

    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-\
             pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca\
             pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb5\
             4h4FRWyuXpoQ";
    let s2 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU\
              Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d\
              O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igc\
              N_IoypGlUPQGe77Rw";
    let key = Key::rsa(Algorithm::Rs256, &bytes(n), &bytes("AQAB")).unwrap();
    assert!(verifies(&key, &format!("eyJhbGciOiJSUzI1NiJ9.{payload}.{s2}")));

    let (x, y) =
        ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let s3 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let key = Key::point(Algorithm::Es256, &[vec![4], bytes(x), bytes(y)].concat()).unwrap();
    assert!(verifies(&key, &format!("eyJhbGciOiJFUzI1NiJ9.{payload}.{s3}")));

    let key = Key::point(Algorithm::EdDsa, &bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
    let a4 = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR\
              4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(verifies(&key, a4));
}

/// RFC 7515 appendix A.4 (ES512) is not spoken here, and A.5 is not signed at all.
#[test]
fn published_vectors_of_what_is_not_accepted_are_refused() {
    for header in [r#"{"alg":"ES512"}"#, r#"{"alg":"none"}"#] {
        let text = format!("{}.{}.", part(header.as_bytes()), part(PAYLOAD.as_bytes()));
        assert_eq!(gate(vec![hs256()]).judge(&text, NOW_S), Err(Flaw::Algorithm.into()), "{header}");
    }
}

#[test]
fn every_algorithm_verifies_its_own_signature_and_no_other() {
    for algorithm in Algorithm::ALL {
        let text = issued_token(algorithm);
        let judged = gate(vec![key_of(algorithm)]).judge(&text, NOW_S);
        assert_eq!(judged.unwrap().user(), Some("u1"), "{algorithm}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let judged = gate(vec![key_of(other)]).judge(&text, NOW_S);
            assert_eq!(judged, Err(Flaw::UnknownKey.into()), "{algorithm} by a key for {other}");
        }
        // Each byte of the signature counts.
        let (text, signature) = text.rsplit_once('.').unwrap();
        for i in [0, 7, 31] {
            let mut wrong = bytes(signature);
            wrong[i] ^= 1;
            let judged = gate(vec![key_of(algorithm)]).judge(&format!("{text}.{}", part(&wrong)), NOW_S);
            assert_eq!(judged, Err(Flaw::Signature.into()), "{algorithm}");
        }
    }
}

#[test]
fn keys_of_the_wrong_kind_or_strength_are_refused() {
    let weak = include_bytes!("vectors/rsa1024.pem");
    assert_eq!(Key::pem(Algorithm::Rs256, weak), Err(BadKey::Weak));
    assert_eq!(Key::pem(Algorithm::Es256, RSA_PEM), Err(BadKey::Kind));
    assert_eq!(Key::pem(Algorithm::Es256, include_bytes!("vectors/p521.pem")), Err(BadKey::Kind));
    assert_eq!(
        Key::pem(Algorithm::Es256, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        Err(BadKey::Form)
    );
    assert_eq!(Key::secret(Algorithm::Hs256, RSA_PEM), Err(BadKey::PublicAsSecret));
    assert_eq!(Key::secret(Algorithm::Hs256, b""), Err(BadKey::Empty));
    assert_eq!(Key::secret(Algorithm::Rs256, SECRET), Err(BadKey::Kind));
    for cut in 0..RSA_PEM.len() {
        assert!(Key::pem(Algorithm::Rs256, &RSA_PEM[..cut.min(RSA_PEM.len() - 30)]).is_err());
    }
}

#[test]
fn key_set_gives_each_key_its_algorithm_and_passes_over_the_rest() {
    let x = part(&[7; 32]);
    let n = part(&[0xff; 256]);
    let text = format!(
        r#"{{"keys":[
            {{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}","alg":"EdDSA","use":"sig"}},
            {{"kty":"RSA","kid":"b","n":"{n}","e":"AQAB"}},
            {{"kty":"RSA","kid":"c","n":"{n}","e":"AQAB","alg":"PS512"}},
            {{"kty":"EC","crv":"P-256","kid":"d","x":"{x}","y":"{x}"}},
            {{"kty":"RSA","kid":"encrypts","n":"{n}","e":"AQAB","use":"enc"}},
            {{"kty":"RSA","kid":"signs","n":"{n}","e":"AQAB","key_ops":["sign"]}},
            {{"kty":"RSA","kid":"weak","n":"{x}","e":"AQAB"}},
            {{"kty":"RSA","kid":"confused","n":"{n}","e":"AQAB","alg":"HS256"}},
            {{"kty":"RSA","kid":"none","n":"{n}","e":"AQAB","alg":"none"}},
            {{"kty":"oct","kid":"secret","k":"{x}"}},
            {{"kty":"EC","crv":"P-521","kid":"e","x":"{x}","y":"{x}"}},
            {{"kty":7}}, [], null
        ]}}"#
    );
    let mut terms =
        Terms { algorithm: Algorithm::Hs256, issuer: String::new(), audience: String::new(), secrets: false };
    let set = KeySet::parse(&text, &terms).unwrap();
    let found: Vec<_> = set.keys.iter().map(|key| (key.kid().unwrap(), key.algorithm())).collect();
    let wanted =
        [("a", Algorithm::EdDsa), ("b", Algorithm::Rs256), ("c", Algorithm::Ps512), ("d", Algorithm::Es256)];
    assert_eq!((found.as_slice(), set.passed_over), (wanted.as_slice(), 10));
    terms.secrets = true;
    assert_eq!(KeySet::parse(&text, &terms).unwrap().keys.len(), 5);
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[{"kty":"RSA"}]}"#] {
        assert!(KeySet::parse(bad, &terms).is_err(), "{bad}");
    }
}

#[test]
fn good_token_gets_what_rules_and_its_own_lists_give() {
    let payload =
        r#"{"sub":"u1","wallet":"w","iat":100,"exp":200,"channels":["news.*"],"publish":["cmd.u1"]}"#;
    let grants = gate(vec![hs256()]).judge(&token(payload), NOW_S).unwrap();
    assert_eq!((grants.user(), grants.wallet()), (Some("u1"), Some("w")));
    for (channel, read, write) in [
        ("global", true, false),
        ("user.u1", true, false),
        ("user.u1.orders", true, false),
        ("user.u2", false, false),
        ("user.U1", false, false),
        ("user.u1x", false, false),
        ("dashboard.u1", true, false),
        ("dashboard.u1.x", false, false),
        ("strategy.7", true, false),
        ("strategy.7.x", false, false),
        ("forge.job.7", true, false),
        ("news.x", true, false),
        ("cmd.u1", false, true),
        ("other", false, false),
    ] {
        assert_eq!((grants.may_read(channel), grants.may_publish(channel)), (read, write), "{channel}");
    }
}

#[test]
fn first_rule_that_says_something_decides_before_the_token_s_own_list() {
    let rule = |pattern: &str, subscribe, publish| Rule::parse(pattern).unwrap().saying(subscribe, publish);
    let rules = vec![
        rule("internal.**", Some(false), None),
        rule("{tenant}.**", Some(true), Some(true)),
        rule("**", None, Some(false)),
    ];
    let gate = Gate::new(Policy { keys: vec![hs256()], rules, ..Policy::default() });
    let grants = |tenant: &str| {
        let lists = r#""channels":["**"],"publish":["**"]"#;
        let payload =
            format!(r#"{{"user_id":"u","wallet":"w","iat":100,"exp":200,"tenant":{tenant},{lists}}}"#);
        gate.judge(&token(&payload), NOW_S).unwrap()
    };
    let acme = grants(r#""acme""#);
    assert!(acme.may_read("acme.x") && acme.may_publish("acme.x"));
    assert!(!acme.may_read("internal.x") && !acme.may_publish("other.x") && acme.may_read("other.x"));
    // A tenant that is no text, or not literal, binds nothing.
    for odd in ["7", "null", r#"["acme"]"#, r#""*""#, r#""**""#, r#""""#] {
        assert!(!grants(odd).may_publish("acme.x"), "{odd}");
    }
    let sly = grants(r#""internal""#);
    assert!(!sly.may_read("internal.x"), "the rule before decides");
}

#[test]
fn known_token_ends_with_its_time_and_the_gate() {
    let text = token(PAYLOAD);
    let mut door = Door::new(Arc::new(gate(vec![hs256()])));
    let first = door.judge(&text, NOW_S).unwrap();
    assert!(Arc::ptr_eq(&first, &door.judge(&text, 229).unwrap()));
    assert_eq!(door.judge(&text, 230), Err(Denied::Expired));
    let other = Key::secret(Algorithm::Hs256, b"another secret, after the first leaked").unwrap();
    door.replace(Arc::new(gate(vec![other])));
    assert_eq!(door.judge(&text, NOW_S), Err(Flaw::Signature.into()));
    assert_eq!(door.gate().renew(&first, NOW_S), Err(Flaw::UnknownKey.into()));
    assert_eq!(gate(vec![hs256()]).renew(&first, NOW_S).as_ref(), Ok(&first));
}

#[test]
fn door_remembers_so_many_tokens_and_no_more() {
    let mut door = Door::new(Arc::new(gate(vec![hs256()])));
    let text = |i: usize| token(&PAYLOAD.replace("u1", &format!("u{i}")));
    let first = door.judge(&text(0), NOW_S).unwrap();
    for i in 1..VERIFIED_TOKENS_MAX {
        door.judge(&text(i), NOW_S).unwrap();
    }
    assert!(Arc::ptr_eq(&first, &door.judge(&text(0), NOW_S).unwrap()) && door.forgotten() == 0);
    door.judge(&text(VERIFIED_TOKENS_MAX), NOW_S).unwrap();
    let again = door.judge(&text(0), NOW_S).unwrap();
    assert!(!Arc::ptr_eq(&first, &again) && again == first && door.forgotten() == 2);
}

#[test]
fn revoked_token_and_user_lose_their_grants_at_the_next_gate() {
    let payload = PAYLOAD.replace("\"iat\"", "\"jti\":\"t1\",\"iat\"");
    let text = token(&payload);
    let grants = gate(vec![hs256()]).judge(&text, NOW_S).unwrap();
    for (line, holds) in [
        ("token t1", false),
        ("user u1", false),
        ("user u1 before 101", false),
        ("user u1 before 100", true),
        ("token u1\nuser t1", true),
    ] {
        let revoked = Revoked::parse(line).unwrap();
        let gate = Gate::new(Policy { keys: vec![hs256()], revoked, ..Policy::default() });
        assert_eq!(gate.judge(&text, NOW_S).is_ok(), holds, "{line}");
        assert_eq!(gate.renew(&grants, NOW_S).is_ok(), holds, "{line}");
    }
}
