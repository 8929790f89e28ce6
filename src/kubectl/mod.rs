//! What `deskgate session` and `kubectl vdi` do, under the caller's own rights: nothing here knows more than RBAC lets
//! him see.
//!
//! [`cluster`] and [`wait`] talk to the API server; the rest is PURE: which patch, which table, which words.

pub mod change;
pub mod cluster;
pub mod draft;
pub mod error;
pub mod force;
pub mod home;
pub mod link;
pub mod progress;
pub mod table;
pub mod text;
pub mod wait;
