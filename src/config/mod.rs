//! PURE. Settings of `deskgate serve`: as given, then validated once, before anything starts.
//!
//! Precedence: defaults, then the file of `--config`, then `SELKIES_*` names, then `DESKGATE_*`, then flags.

mod ice;
mod identity;
mod layer;
mod validate;

pub use self::ice::{IceConfig, IceUrl, TurnCredentials};
pub use self::identity::{SessionUid, SignInHint};
pub use self::layer::{Layer, LayerError};
pub use self::validate::{Basic, ConfigError, Fault, ForwardAuth, ServeConfig, Source, Tls};
pub use crate::trusted_net::TrustedNet;
