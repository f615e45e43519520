//! What attackers and broken issuers send.

use super::*;

fn refused(gate: &Gate, text: &str) -> Denied {
    gate.judge(text, NOW_S).map(|grants| panic!("{text} was let in as {grants:?}")).unwrap_err()
}

#[test]
fn unsigned_and_confused_tokens_are_refused() {
    let rsa = gate(vec![key_of(Algorithm::Rs256)]);
    for none in ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "HS1", "RS1", "dir", "A128KW"] {
        let header = format!(r#"{{"alg":"{none}"}}"#);
        assert_eq!(refused(&gate(vec![hs256()]), &signed(&header, PAYLOAD, SECRET)), Flaw::Algorithm.into());
        let unsigned = format!("{}.{}.", part(header.as_bytes()), part(PAYLOAD.as_bytes()));
        assert_eq!(refused(&rsa, &unsigned), Flaw::Algorithm.into());
    }
    // The public key as secret, in every form an attacker could have it.
    let der = data_encoding::BASE64.decode(
        &RSA_PEM.split(|b| *b == b'\n').filter(|l| !l.starts_with(b"-")).collect::<Vec<_>>().concat(),
    );
    for secret in [RSA_PEM, RSA_PEM.trim_ascii_end(), &der.unwrap()] {
        let text = signed(r#"{"alg":"HS256"}"#, PAYLOAD, secret);
        assert_eq!(refused(&rsa, &text), Flaw::UnknownKey.into());
        // A server that also takes secrets does not take this one.
        assert_eq!(refused(&gate(vec![key_of(Algorithm::Rs256), hs256()]), &text), Flaw::Signature.into());
    }
    // The parts of two good tokens.
    let (good, other) = (token(PAYLOAD), token(&PAYLOAD.replace("u1", "u2")));
    let mixed = format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    assert_eq!(refused(&gate(vec![hs256()]), &mixed), Flaw::Signature.into());
    let empty = format!("{}.", good.rsplit_once('.').unwrap().0);
    assert_eq!(refused(&gate(vec![hs256()]), &empty), Flaw::Signature.into());
    // Zeros are a valid signature where nobody looks (CVE-2022-21449).
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let text = issued_token(algorithm);
        let zeros = part(&vec![0; if algorithm == Algorithm::Es384 { 96 } else { 64 }]);
        let text = format!("{}.{zeros}", text.rsplit_once('.').unwrap().0);
        assert_eq!(refused(&gate(vec![key_of(algorithm)]), &text), Flaw::Signature.into(), "{algorithm}");
    }
}

#[test]
fn header_cannot_bring_or_point_to_a_key() {
    let mine = Key::secret(Algorithm::Hs256, b"a secret that the attacker has chosen").unwrap();
    let gate = gate(vec![hs256().named("k1")]);
    let k = part(b"a secret that the attacker has chosen");
    for extra in [
        format!(r#""jwk":{{"kty":"oct","k":"{k}"}}"#),
        r#""jku":"https://evil.example/jwks.json""#.to_owned(),
        r#""x5u":"https://evil.example/cert.pem""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
    ] {
        for kid in ["", r#""kid":"k1","#] {
            let header = format!(r#"{{"alg":"HS256",{kid}{extra}}}"#);
            let text = format!("{}.{}", part(header.as_bytes()), part(PAYLOAD.as_bytes()));
            let tag = part(mine.sign(text.as_bytes()).unwrap().as_ref());
            assert_eq!(refused(&gate, &format!("{text}.{tag}")), Flaw::Signature.into());
        }
    }
    for kid in [
        "k2",
        "K1",
        "",
        "../../../dev/null",
        "/dev/null",
        "https://evil.example",
        "k1' OR '1'='1",
        "k1\\u0000",
    ] {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        assert_eq!(refused(&gate, &signed(&header, PAYLOAD, SECRET)), Flaw::UnknownKey.into(), "{kid}");
    }
    for (member, flaw) in [
        (r#""crit":["exp"]"#, Flaw::Extension),
        (r#""crit":[]"#, Flaw::Extension),
        (r#""b64":false"#, Flaw::Extension),
        (r#""kid":7"#, Flaw::Header),
        (r#""kid":null"#, Flaw::Header),
        (r#""typ":7"#, Flaw::Header),
        (r#""typ":"logout+jwt""#, Flaw::Header),
        (r#""typ":"dpop+jwt""#, Flaw::Header),
        (r#""alg":"HS256""#, Flaw::Header),
        (r#""\u0061lg":"none""#, Flaw::Header),
    ] {
        let header = format!(r#"{{"alg":"HS256",{member}}}"#);
        assert_eq!(refused(&gate, &signed(&header, PAYLOAD, SECRET)), flaw.into(), "{member}");
    }
    for (header, flaw) in [
        ("", Flaw::Header),
        ("[]", Flaw::Header),
        ("{}", Flaw::Algorithm),
        (r#"{"alg":256}"#, Flaw::Header),
        (r#"{"alg":"HS256"} x"#, Flaw::Header),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Flaw::Header),
        (r#"{"Alg":"HS256"}"#, Flaw::Algorithm),
    ] {
        assert_eq!(refused(&gate, &signed(header, PAYLOAD, SECRET)), flaw.into(), "{header}");
    }
}

#[test]
fn claims_are_read_strictly() {
    let gate = gate(vec![hs256()]);
    let claim = |name| Denied::Invalid(Flaw::Claim(name));
    let many = format!(r#""channels":[{}]"#, vec![r#""a""#; 129].join(","));
    for (from, to, told) in [
        (r#""user_id":"u1","#, "", Flaw::Lacks("user_id").into()),
        (r#""wallet_address":"w","#, "", Flaw::Lacks("wallet_address").into()),
        (r#","exp":200"#, "", Flaw::Lacks("exp").into()),
        (r#""iat":100,"#, "", Flaw::Lacks("iat").into()),
        (r#""u1""#, "7", claim("user_id")),
        (r#""u1""#, "null", claim("user_id")),
        (r#""u1""#, r#"["u1"]"#, claim("user_id")),
        (r#""u1""#, r#""""#, claim("user_id")),
        (r#""u1""#, r#""a\nb""#, claim("user_id")),
        (r#""user_id""#, r#""sub":7,"user_id""#, claim("sub")),
        ("200", r#""200""#, claim("exp")),
        ("200", "-1", claim("exp")),
        ("200", "1e400", claim("exp")),
        ("200", "1e17", claim("exp")),
        ("200", "true", claim("exp")),
        ("200", "null", claim("exp")),
        (r#""iat":100"#, r#""iat":[100]"#, claim("iat")),
        (r#""iat":100"#, r#""iat":181"#, Flaw::NotYet.into()),
        (r#""iat""#, r#""nbf":181,"iat""#, Flaw::NotYet.into()),
        (r#""iat""#, r#""nbf":"0","iat""#, claim("nbf")),
        (r#""iat""#, r#""iss":7,"iat""#, claim("iss")),
        (r#""iat""#, r#""aud":7,"iat""#, claim("aud")),
        (r#""iat""#, r#""aud":[7],"iat""#, claim("aud")),
        (r#""iat""#, r#""jti":7,"iat""#, claim("jti")),
        (r#""iat""#, r#""channels":"a","iat""#, claim("channels")),
        (r#""iat""#, r#""channels":["a*"],"iat""#, claim("channels")),
        (r#""iat""#, r#""publish":[["a"]],"iat""#, claim("publish")),
        (r#""iat":100"#, &format!(r#""iat":100,{many}"#), claim("channels")),
        (r#""iat""#, r#""exp":9000000000,"iat""#, Flaw::Payload.into()),
        (r#""iat""#, r#""user_id":"u2","iat""#, Flaw::Payload.into()),
        (r#""iat""#, r#""us\u0065r_id":"u2","iat""#, Flaw::Payload.into()),
        ("200}", "200", Flaw::Payload.into()),
        ("200}", "200}{}", Flaw::Payload.into()),
        ("200", "120", Denied::Expired),
        ("200", "120.9", Denied::Expired),
    ] {
        let payload = PAYLOAD.replacen(from, to, 1);
        assert_ne!(payload, PAYLOAD);
        assert_eq!(refused(&gate, &token(&payload)), told, "{payload}");
    }
    for good in [
        r#"{"user_id":"u1","sub":"other","wallet":"w","iat":180,"exp":121,"nbf":180}"#,
        &PAYLOAD.replace("200", "2e2"),
    ] {
        assert_eq!(gate.judge(&token(good), NOW_S).unwrap().user(), Some("u1"), "{good}");
    }
    let without = Gate::new(Policy { keys: vec![hs256()], wallet_required: false, ..Policy::default() });
    without.judge(&token(&PAYLOAD.replace(r#""wallet_address":"w","#, "")), NOW_S).unwrap();
}

#[test]
fn issuer_and_audience_are_those_of_the_key() {
    let own = |name: &str| {
        Key::secret(Algorithm::Hs256, format!("the secret of the issuer {name}, 32").as_bytes()).unwrap()
    };
    let gate = gate(vec![own("a").bound_to("https://a", "courier"), own("b").bound_to("https://b", "")]);
    let judged = |name: &str, rest: &str| {
        let payload = PAYLOAD.replace(r#""iat""#, &format!(r#"{rest}"iat""#));
        let secret = format!("the secret of the issuer {name}, 32");
        gate.judge(&signed(r#"{"alg":"HS256"}"#, &payload, secret.as_bytes()), NOW_S)
            .map(|grants| grants.issuer().map(str::to_owned))
    };
    let a = r#""iss":"https://a","aud":["x","courier"],"#;
    assert_eq!(judged("a", a), Ok(Some("https://a".to_owned())));
    assert_eq!(judged("b", r#""iss":"https://b","#), Ok(Some("https://b".to_owned())));
    assert_eq!(judged("b", a), Err(Flaw::Issuer.into()), "one issuer cannot speak for another");
    assert_eq!(judged("a", r#""aud":"courier","#), Err(Flaw::Issuer.into()));
    assert_eq!(judged("a", r#""iss":"https://a/","aud":"courier","#), Err(Flaw::Issuer.into()));
    for aud in ["", r#""aud":"other","#, r#""aud":[],"#, r#""aud":"courier2","#] {
        assert_eq!(judged("a", &format!(r#""iss":"https://a",{aud}"#)), Err(Flaw::Audience.into()), "{aud}");
    }
}

#[test]
fn odd_forms_are_refused() {
    let gate = gate(vec![hs256()]);
    let good = token(PAYLOAD);
    gate.judge(&good, NOW_S).unwrap();
    assert_eq!(gate.judge("", NOW_S), Err(Denied::Missing));
    let (text, signature) = good.rsplit_once('.').unwrap();
    for odd in [
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "a.b".to_owned(),
        text.to_owned(),
        format!("{good}="),
        format!("{good}."),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}.{signature}"),
        format!("{good}.x.y"),
        good.replace('.', "%2e"),
        format!("{text}.{signature}{signature}é"),
        format!("Bearer {good}"),
    ] {
        let denied = refused(&gate, &odd);
        assert!(
            matches!(denied, Denied::Invalid(Flaw::Form | Flaw::Header | Flaw::Signature)),
            "{odd}: {denied:?}"
        );
    }
    // 32 bytes are 43 characters of which the last has unused bits: other spellings of the same signature.
    let last = signature.chars().last().unwrap();
    for other in
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars().filter(|c| *c != last)
    {
        refused(&gate, &format!("{text}.{}{other}", &signature[..42]));
    }
    assert_eq!(refused(&gate, &"a".repeat(TOKEN_BYTES_MAX + 1)), Flaw::TooLong.into());
    let members: String = (0..60).map(|i| format!(r#""m{i}":{i},"#)).collect();
    gate.judge(&token(&PAYLOAD.replacen('{', &format!("{{{members}"), 1)), NOW_S).unwrap();
    let more = format!(r#"{{"n1":1,{members}"#);
    assert_eq!(refused(&gate, &token(&PAYLOAD.replacen('{', &more, 1))), Flaw::Payload.into());
    let deep = format!(r#"{{"deep":{}1{},"#, "[".repeat(2_000), "]".repeat(2_000));
    let judged = gate.judge(&token(&PAYLOAD.replacen('{', &deep, 1)), NOW_S);
    assert!(judged.is_ok() || judged == Err(Flaw::Payload.into()), "no depth overflows the stack");
}

#[test]
fn keys_without_names_are_tried_only_so_often() {
    let key = |i: u8| Key::secret(Algorithm::Hs256, &[i + 1; 32]).unwrap();
    let gate = gate((0..5).map(key).collect());
    let by = |i: u8| gate.judge(&signed(r#"{"alg":"HS256"}"#, PAYLOAD, &[i + 1; 32]), NOW_S);
    assert!(by(0).is_ok() && by(3).is_ok());
    assert_eq!(by(4), Err(Flaw::Signature.into()));
}
