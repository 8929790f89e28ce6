use std::collections::BTreeSet;

use super::*;
use crate::config::TrustedNet;
use crate::token::{Claims, sign};

const NOW: u64 = 1_000_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes ....";

fn auth() -> Auth {
    Auth {
        session: "desk".into(),
        secret: Some(SECRET.to_vec()),
        basic: None,
        forward: None,
        allowed_origins: vec!["https://portal.example".into()],
    }
}

fn claims() -> Claims {
    Claims { jti: "id-1".into(), aud: "desk".into(), rights: [Right::View].into(), exp: NOW + 60 }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
}

fn who(auth: &Auth, pairs: &[(&'static str, &str)]) -> Result<Principal, Denied> {
    auth.principal(&headers(pairs), [127, 0, 0, 1].into(), &HashSet::new(), NOW)
}

fn bearer(secret: &[u8], claims: &Claims) -> String {
    format!("Bearer {}", sign(secret, claims).unwrap())
}

#[test]
fn a_token_gives_its_rights_as_bearer_and_as_cookie() {
    let expected =
        Principal { subject: "id-1".into(), rights: [Right::View].into(), expires: Some(NOW + 60) };
    let token = bearer(SECRET, &claims());
    assert_eq!(who(&auth(), &[("authorization", &token)]), Ok(expected.clone()));
    for secure in [false, true] {
        let name = auth().cookie_name(secure);
        let cookie = format!("other=1; {name}={}", token.trim_start_matches("Bearer "));
        assert_eq!(who(&auth(), &[("cookie", &cookie)]), Ok(expected.clone()));
    }
}

#[test]
fn one_changed_field_is_refused() {
    let refused = |secret: &[u8], claims: Claims| {
        assert_eq!(
            who(&auth(), &[("authorization", &bearer(secret, &claims))]),
            Err(Denied::Unauthenticated),
            "{claims:?}"
        );
    };
    refused(b"another secret", claims());
    refused(SECRET, Claims { exp: NOW, ..claims() });
    refused(SECRET, Claims { aud: "other".into(), ..claims() });
    refused(SECRET, Claims { rights: BTreeSet::new(), ..claims() });
    let revoked: HashSet<String> = ["id-1".to_owned()].into();
    let h = headers(&[("authorization", &bearer(SECRET, &claims()))]);
    assert!(auth().principal(&h, [127, 0, 0, 1].into(), &revoked, NOW).is_err());
}

#[test]
fn an_operators_token_gives_its_right_and_no_picture() {
    let operator = Claims { rights: [Right::Operate].into(), ..claims() };
    let principal = who(&auth(), &[("authorization", &bearer(SECRET, &operator))]).unwrap();
    assert!(principal.may(Right::Operate) && !principal.may(Right::View));
}

#[test]
fn unsigned_and_foreign_algorithms_are_refused() {
    for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"HS512","typ":"JWT"}"#] {
        let b64 = |s: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(s);
        let token = format!("Bearer {}.{}.", b64(header), b64(&serde_json::to_string(&claims()).unwrap()));
        assert_eq!(who(&auth(), &[("authorization", &token)]), Err(Denied::Unauthenticated));
    }
    for junk in ["Bearer ", "Bearer a.b.c", "Basic !!!", "bearer x"] {
        assert_eq!(who(&auth(), &[("authorization", junk)]), Err(Denied::Unauthenticated));
    }
}

#[test]
fn two_sessions_on_one_host_have_two_cookies() {
    let other = Auth { secret: Some(b"another".to_vec()), ..auth() };
    assert_ne!(auth().cookie_name(false), other.cookie_name(false));
}

#[test]
fn origins() {
    let token = bearer(SECRET, &claims());
    let with = |host: &str, origin: &str| {
        who(&auth(), &[("authorization", &token), ("host", host), ("origin", origin)]).is_ok()
    };
    assert!(with("desk.example", "https://desk.example"));
    assert!(with("desk.example:8080", "http://desk.example:8080"));
    assert!(with("desk.example", "https://portal.example"));
    for foreign in [
        "null",
        "https://evil.example",
        "https://desk.example.evil",
        "https://evil-desk.example",
        "desk.example",
        "https://desk.example:444",
    ] {
        assert!(!with("desk.example", foreign), "{foreign}");
    }
    let mut twice = headers(&[("authorization", &token), ("host", "a"), ("origin", "http://a")]);
    twice.append("origin", "http://evil".parse().unwrap());
    assert_eq!(auth().check_source(&twice), Err(Denied::Origin));
}

#[test]
fn an_open_gateway_answers_to_loopback_names_only() {
    let open = Auth { secret: None, ..auth() };
    for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080"] {
        assert_eq!(who(&open, &[("host", host)]).unwrap().subject, "local", "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"]
    {
        assert_eq!(who(&open, &[("host", host)]), Err(Denied::Host), "{host}");
    }
    assert_eq!(
        who(&open, &[("host", "localhost:8080"), ("origin", "http://localhost:9090")]),
        Err(Denied::Origin)
    );
}

#[test]
fn basic_authentication() {
    let basic = Basic { user: "u".into(), password: "full".into(), view_password: Some("look".into()) };
    let auth = Auth { basic: Some(basic), secret: None, ..auth() };
    let with = |up: &str| who(&auth, &[("authorization", &format!("Basic {}", STANDARD.encode(up)))]);
    assert!(with("u:full").unwrap().rights.contains(&Right::Control));
    assert_eq!(with("u:look").unwrap().rights, [Right::View].into());
    for wrong in ["u:", "u:x", "x:full", "u", ""] {
        assert_eq!(with(wrong), Err(Denied::Unauthenticated));
    }
}

#[test]
fn forward_auth_is_believed_from_the_proxy_alone() {
    let forward = ForwardAuth {
        header: "x-user".into(),
        from: vec![TrustedNet::parse("10.0.0.0/8").unwrap()],
        owner: Some("alice".into()),
    };
    let auth = Auth { forward: Some(forward), secret: None, ..auth() };
    let from = |peer: [u8; 4], h: &HeaderMap| auth.principal(h, peer.into(), &HashSet::new(), NOW);
    let alice = headers(&[("x-user", "alice")]);
    assert!(from([10, 1, 1, 1], &alice).unwrap().rights.contains(&Right::Control));
    assert!(from([11, 1, 1, 1], &alice).is_err());
    assert_eq!(from([10, 1, 1, 1], &headers(&[("x-user", "bob")])).unwrap().rights, [Right::View].into());
    let mut smuggled = alice.clone();
    smuggled.append("x-user", "bob".parse().unwrap());
    assert!(from([10, 1, 1, 1], &smuggled).is_err());
}
