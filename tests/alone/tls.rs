//! TLS on the one port of a real gateway, before a client that trusts one certificate alone.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::{IntoClientRequest, client};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::gateway::{DEADLINE, Gateway, LIGHT, http, refused, secure};
use crate::xvfb::within;

/// A volume as the kubelet mounts a secret: files are links through `..data`, which is swapped as a whole.
struct Volume(tempfile::TempDir);

impl Volume {
    fn new(certificate: &str, key: &str) -> Self {
        let volume = Self(tempfile::tempdir().unwrap());
        volume.swap("..one", certificate, key);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), volume.0.path().join(name)).unwrap();
        }
        volume
    }

    fn swap(&self, version: &str, certificate: &str, key: &str) {
        let at = |name: &str| self.0.path().join(name);
        secure::write(&at(version), (certificate, key));
        symlink(version, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    }

    fn serve(&self) -> Gateway {
        let at = |name: &str| self.0.path().join(name).display().to_string();
        Gateway::start(&[&LIGHT[..], &["--tls-cert", &at("tls.crt"), "--tls-key", &at("tls.key")]].concat())
    }
}

fn is_ok(answer: std::io::Result<String>) -> bool {
    answer.is_ok_and(|text| text.starts_with("HTTP/1.1 200") && text.ends_with("ok\n"))
}

#[test]
fn a_renewed_pair_is_taken_up_and_a_broken_one_is_not() {
    let ((first, first_key), (second, second_key), (third, third_key)) =
        (secure::pair(), secure::pair(), secure::pair());
    let volume = Volume::new(&first, &first_key);
    let gateway = volume.serve();
    let shown = |certificate: &str| is_ok(secure::get(gateway.address, certificate, "/healthz"));
    assert!(shown(&first) && !shown(&second));
    assert_eq!(http::get(gateway.address, "/healthz").unwrap().status, 200, "plain HTTP stays");

    volume.swap("..two", &second, &second_key);
    within(DEADLINE, "the renewed pair", || shown(&second).then_some(()));

    // The new certificate with the old key.
    volume.swap("..three", &third, &second_key);
    within(DEADLINE, "a complaint", || gateway.log().contains("is not for the key").then_some(()));
    assert!(shown(&second) && !shown(&third));

    volume.swap("..four", &third, &third_key);
    within(DEADLINE, "the mended pair", || shown(&third).then_some(()));
    assert_eq!(gateway.log().matches("tls-reload").count(), 1, "said once:\n{}", gateway.log());
}

fn greeting(stream: impl Read + Write) -> serde_json::Value {
    let mut request = "ws://localhost/ws".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("deskgate.v1"));
    let (mut socket, _) = client(request, stream).map_err(|e| e.to_string()).unwrap();
    socket.send(Message::text(http::hello().to_string())).unwrap();
    http::read_until(&mut socket, |m| m["type"] == "hello").unwrap()
}

#[test]
fn inside_tls_are_http_websocket_and_turn_but_no_tls() {
    let (certificate, key) = secure::pair();
    let gateway = Volume::new(&certificate, &key).serve();
    let connect = |protocols: &[&[u8]]| secure::connect(gateway.address, &certificate, protocols);
    let refusal = connect(&[b"h2"]).expect_err("HTTP/2 is not spoken").to_string();
    assert!(refusal.contains("NoApplicationProtocol"), "{refusal}");

    // The greeting says that TLS ends here, or that it does not.
    let tls = greeting(connect(&[b"http/1.1"]).unwrap());
    let plain = greeting(http::connect(gateway.address).unwrap());
    assert_eq!((&tls["turn"]["tls"], &plain["turn"]["tls"]), (&true.into(), &false.into()));

    // A Binding request (RFC 8489 §5), in two pieces: it is answered by the gateway's loop.
    let mut stream = connect(&[b"stun.turn"]).unwrap();
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for piece in [&request[..5], &request[5..]] {
        stream.write_all(piece).unwrap();
        stream.flush().unwrap();
    }
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((&answer[..2], &answer[8..]), (&[1, 1][..], &[7; 12][..]));

    // A second ClientHello.
    let mut stream = connect(&[]).unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err() || rest.is_empty());
    assert!(rest.is_empty());
}

#[test]
fn a_certificate_of_its_own_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().display().to_string();
    let shown = || {
        let args = ["--tls", "self-signed", "--state-dir", &state];
        let gateway = Gateway::start(&[&LIGHT[..], &args].concat());
        let pem = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let pem = pem.filter(|p| p.extension().is_some_and(|e| e == "pem")).collect::<Vec<_>>();
        let pem = std::fs::read_to_string(&pem[0]).unwrap();
        assert!(is_ok(secure::get(gateway.address, &pem, "/healthz")));
        pem
    };
    assert_eq!(shown(), shown());
}

#[test]
fn what_is_wrong_with_a_pair_is_said_at_the_start() {
    let ((certificate, key), (_, other)) = (secure::pair(), secure::pair());
    let dir = tempfile::tempdir().unwrap();
    secure::write(dir.path(), (&certificate, &other));
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (crt, wrong, missing) = (at("tls.crt"), at("tls.key"), at("none"));
    let serve = ["serve", "--source", "test", "--listen", "127.0.0.1:0"];
    let cases: [(&[&str], &str); 5] = [
        (&["--tls-cert", &crt], "--tls-key"),
        (&["--tls-key", &wrong], "--tls-cert"),
        (&["--tls-cert", &crt, "--tls-key", &missing], "No such file"),
        (&["--tls-cert", &crt, "--tls-key", &wrong], "is not for the key"),
        (&["--tls", "self-signed", "--tls-cert", &crt, "--tls-key", &wrong], "leave one of them out"),
    ];
    for (args, said) in cases {
        let (status, text) = refused(&[&serve[..], args].concat());
        assert!(!status.success() && text.contains(said), "{args:?}: {text}");
        assert!(!text.contains(key.lines().nth(1).unwrap()), "a key in the log");
    }
}
