//! Who may talk to the cluster: a throw-away CA, static tokens, kubeconfig files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;

/// Member of `system:masters`.
pub const ADMIN: &str = "admin";
/// Ordinary people, members of [`DESK_USERS`]. They may do what a test allows them.
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];
/// The group of [`USERS`].
pub const DESK_USERS: &str = "desk-users";

/// Everything that is written down before the API server starts.
pub struct Credentials {
    folder: PathBuf,
    server: String,
    /// The CA's certificate.
    pub ca_pem: String,
}

impl Credentials {
    /// Makes keys, certificates and tokens in a folder for an API server at this URL.
    pub fn write(folder: &Path, server: &str) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "deskgate test rig");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let mut names = CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap();
        let addresses = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 96, 0, 1)];
        names.subject_alt_names.extend(addresses.map(|a| SanType::IpAddress(IpAddr::V4(a))));
        let certificate = names.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
        let accounts = KeyPair::generate().unwrap();
        let people = USERS.map(|user| format!("{},{user},{user},\"{DESK_USERS}\"\n", token(user)));
        let tokens = format!("{},{ADMIN},{ADMIN},\"system:masters\"\n{}", token(ADMIN), people.concat());
        for (file, content) in [
            ("ca.crt", ca_pem.as_str()),
            ("server.crt", &certificate.pem()),
            ("server.key", &key.serialize_pem()),
            ("service-accounts.key", &accounts.serialize_pem()),
            ("service-accounts.pub", &accounts.public_key_pem()),
            ("tokens.csv", &tokens),
        ] {
            std::fs::write(folder.join(file), content).unwrap();
        }
        let made = Self { folder: folder.to_owned(), server: server.to_owned(), ca_pem };
        for user in USERS.into_iter().chain([ADMIN]) {
            made.kubeconfig(user, &token(user));
        }
        made
    }

    /// Writes a kubeconfig file for whoever has this token.
    pub fn kubeconfig(&self, user: &str, token: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "rig",
            "clusters": [{"name": "rig", "cluster": {
                "server": self.server, "certificate-authority": self.folder.join("ca.crt"),
            }}],
            "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": user}}],
            "users": [{"name": user, "user": {"token": token}}],
        });
        let path = self.kubeconfig_of(user);
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Where [`Credentials::kubeconfig`] writes.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{}.kubeconfig", user.replace([':', '/'], "-")))
    }
}

/// A person's static token.
pub fn token(user: &str) -> String {
    format!("token-of-{user}")
}
