//! Clients of the API server: as the administrator, as people, as service accounts; and `kubectl`.

use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::AuthInfo;
use kube::{Api, Client, Config};

use super::Cluster;
use super::credentials::{ADMIN, token};
use super::process::command;
use super::programs::program;

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit status 0.
    pub success: bool,
    /// Exit status; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<std::process::Output> for Said {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            success: output.status.success(),
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Cluster {
    /// A client that may do everything. Each lives on the runtime of its test, so each test makes its own.
    pub fn client(&self) -> Client {
        self.client_as(ADMIN)
    }

    /// A client of `alice`, `bob`, `carol` or `admin`.
    pub fn client_as(&self, user: &str) -> Client {
        self.client_with_token(&token(user))
    }

    /// A client with the token of a service account, which must exist.
    pub async fn client_as_service_account(&self, namespace: &str, name: &str) -> Client {
        self.client_with_token(&self.service_account_token(namespace, name).await)
    }

    /// A client with a token.
    pub fn client_with_token(&self, token: &str) -> Client {
        Client::try_from(self.config(token)).unwrap()
    }

    /// A client's configuration, for those who build clients with layers of their own.
    pub fn config(&self, token: &str) -> Config {
        let mut config = Config::new(self.server().parse().unwrap());
        let ca = rustls_pem(&self.credentials().ca_pem);
        config.root_cert = Some(vec![ca]);
        // Tests of faults want to see the fault, not the client's own retries.
        config.default_retry = false;
        let auth = serde_json::json!({ "token": token });
        config.auth_info = serde_json::from_value::<AuthInfo>(auth).unwrap();
        config
    }

    /// A token of a service account, from the TokenRequest API.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let api = Api::<ServiceAccount>::namespaced(self.client(), namespace);
        let request = TokenRequest::default();
        let answer = api.create_token_request(name, &PostParams::default(), &request).await.unwrap();
        answer.status.expect("a token").token
    }

    /// The kubeconfig file of `alice`, `bob`, `carol` or `admin`.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.credentials().kubeconfig_of(user)
    }

    /// Writes a kubeconfig file for a service account.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.service_account_token(namespace, name).await;
        self.credentials().kubeconfig(&format!("{namespace}:{name}"), &token)
    }

    /// Runs `kubectl` as a user.
    pub async fn kubectl(&self, user: &str, args: &[&str]) -> Said {
        let mut kubectl = command(program("kubectl"));
        kubectl.args(args).env("KUBECONFIG", self.kubeconfig(user)).env("KUBECACHEDIR", self.file("kubectl"));
        // The thread that forks must live as long as the process: this one waits for it.
        let output = tokio::task::spawn_blocking(move || kubectl.output()).await.unwrap();
        output.unwrap().into()
    }
}

fn rustls_pem(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
