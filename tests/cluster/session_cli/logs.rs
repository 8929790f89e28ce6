//! `logs`. The API server fetches them from the node; the node here is played by a few lines of HTTPS.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::stage::{Stage, ready};

/// Answers each request with its own path and query, then with what comes through the channel.
async fn kubelet(listener: TcpListener, mut more: mpsc::Receiver<&'static str>) {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(acceptor.accept(tcp).await.unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        let path = head.split_whitespace().nth(1).unwrap().to_owned();
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        stream.write_all(chunk(&format!("{path}\n")).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if path.contains("follow=true") {
            while let Some(text) = more.recv().await {
                stream.write_all(chunk(text).as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

async fn node(stage: &Stage, port: u16) -> String {
    let name = format!("node-of-{}", stage.namespace);
    let api: Api<Node> = Api::all(stage.cluster.client());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    name
}

#[tokio::test]
async fn logs_are_those_of_the_sessions_pod_as_they_are_written() {
    let stage = Stage::new("logs").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = node(&stage, listener.local_addr().unwrap().port()).await;
    let (more, received) = mpsc::channel(4);
    tokio::spawn(kubelet(listener, received));
    stage.session("desk", json!({})).await;
    let none = stage.run(&["logs", "desk"]).await;
    assert!(none.code == 1 && none.stderr.contains("session desk has no pod"), "{none:?}");
    stage.pod("vdi-desk", Some(&node)).await;
    stage.status("desk", ready("desk")).await;

    let path = format!("/containerLogs/{}/vdi-desk", stage.namespace);
    let said = stage.run(&["logs", "desk", "--tail", "5"]).await;
    assert_eq!(said.stdout, format!("{path}/desktop?tailLines=5\n"), "{said:?}");
    let said = stage.run(&["logs", "desk", "-c", "gateway", "--previous"]).await;
    assert_eq!(said.stdout, format!("{path}/gateway?previous=true\n"), "{said:?}");

    let mut follows = stage.start(&["logs", "desk", "-f"]).await;
    let mut out = follows.stdout();
    let mut line = String::new();
    out.read_line(&mut line).await.unwrap();
    assert_eq!(line, format!("{path}/desktop?follow=true\n"));
    more.send("a line that came later\n").await.unwrap();
    line.clear();
    out.read_line(&mut line).await.unwrap();
    assert_eq!(line, "a line that came later\n");
    drop(more);
    let mut rest = String::new();
    out.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}
