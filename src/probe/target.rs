//! PURE. Where the gateway is: the URL as a person gave it.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use url::{Host, Url};

/// Why a URL cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("{0}: the address of a gateway is expected, such as http://127.0.0.1:8080/")]
    NoUrl(String),
    /// Not HTTP.
    #[error("{0}: only http and https are spoken")]
    Scheme(String),
    /// Arguments are seen by everybody on the machine.
    #[error(
        "the URL carries a secret, which everybody on this machine can see: put the link into a file and name it \
         with --token-file"
    )]
    Secret,
}

/// A gateway's address. Its page lies at the end of the path, whatever a proxy put in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    host: Host<String>,
    port: u16,
}

impl Target {
    /// Takes what a person would type into an address bar.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let none = || TargetError::NoUrl(text.split('#').next().unwrap_or_default().to_owned());
        let mut url = Url::parse(&full).map_err(|_| none())?;
        if url.fragment().is_some_and(|f| f.contains("token=")) || url.password().is_some() {
            return Err(TargetError::Secret);
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme(url.scheme().to_owned()));
        }
        url.set_fragment(None);
        url.set_query(None);
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let host = url.host().ok_or_else(none)?.to_owned();
        let port = url.port_or_known_default().ok_or_else(none)?;
        Ok(Self { url, host, port })
    }

    /// True for HTTPS.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The name or address that is asked for, without brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        }
    }

    /// The address, where the URL holds one and no name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `Host` header.
    pub fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }

    /// `Origin` header, as a page of this gateway sends it.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.authority())
    }

    /// Path of a route (`ws`, `api/status`), relative to the page.
    pub fn path(&self, route: &str) -> String {
        format!("{}{route}", self.url.path())
    }

    /// For people.
    pub fn text(&self) -> &str {
        self.url.as_str()
    }

    /// The same gateway seen at an address of its host.
    pub fn at(&self, ip: IpAddr) -> SocketAddr {
        SocketAddr::new(ip, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_as_people_type_them() {
        let target = Target::parse("localhost:8080").unwrap();
        assert_eq!(target.text(), "http://localhost:8080/");
        assert_eq!((target.host().as_str(), target.port(), target.ip()), ("localhost", 8080, None));
        let target = Target::parse("https://desk.example/team/a?x=1#top").unwrap();
        assert_eq!(target.path("api/status"), "/team/a/api/status");
        assert_eq!(target.origin(), "https://desk.example");
        assert_eq!((target.port(), target.is_secure()), (443, true));
        let target = Target::parse("http://[::1]:8080/").unwrap();
        assert_eq!(target.authority(), "[::1]:8080");
        assert_eq!((target.host().as_str(), target.ip()), ("::1", Some("::1".parse().unwrap())));
    }

    #[test]
    fn secrets_in_urls_are_refused_and_not_repeated() {
        for url in ["http://h/#token=s3cret", "http://u:s3cret@h/"] {
            assert_eq!(Target::parse(url), Err(TargetError::Secret), "{url}");
        }
        assert!(!Target::parse("http://#token=s3cret").unwrap_err().to_string().contains("s3cret"));
        assert_eq!(Target::parse("ftp://h/"), Err(TargetError::Scheme("ftp".into())));
        assert!(matches!(Target::parse("http://"), Err(TargetError::NoUrl(_))));
    }
}
