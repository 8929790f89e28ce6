//! PURE. The Secret: what signs a session's links.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Plan;
use crate::inject::SECRET_KEY;

/// Whose the Secret is.
pub fn metadata(plan: &Plan) -> ObjectMeta {
    plan.child_metadata()
}

/// A Secret with this randomness. Made once and never applied again: links that were handed out hold as long as the
/// session.
pub fn secret(metadata: ObjectMeta, random: [u8; 32]) -> Secret {
    // As text: the gateway takes the file's text, not what it encodes.
    let text = ByteString(STANDARD.encode(random).into_bytes());
    Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        data: Some([(SECRET_KEY.to_owned(), text)].into()),
        ..Secret::default()
    }
}
