//! PURE. The session's own fields.

use super::name_of;
use super::words::{cpu, is_name, is_word, memory, short, size, storage_class, timeout, wrong};
use crate::crd::{EndAction, Quantity, Reclaim, Timeout, VDISession};

/// Most slices of a GPU.
pub(super) const MOST_GPU: u32 = 64;
/// Characters of a session's name: with hash and prefix it is one label of a host name.
const NAME: usize = 50;

/// What a session asks for, or a template gives where a session is silent.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) gpu: Option<u32>,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) enabled: Option<bool>,
    pub(super) size: Option<Quantity>,
    pub(super) storage_class: Option<String>,
    pub(super) reclaim: Option<Reclaim>,
    pub(super) timeout: Option<Timeout>,
    pub(super) timeout_action: Option<EndAction>,
    pub(super) idle_timeout: Option<Timeout>,
    pub(super) idle_action: Option<EndAction>,
}

pub(super) fn check(session: &VDISession) -> Result<Wishes, String> {
    let name = name_of(session);
    if !is_name(&name, NAME, false) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let expected = "at most 50 of a-z, 0-9 and '-' are expected, a letter first, no '-' at the end";
        return Err(wrong("metadata.name", short(&name), expected));
    }
    let spec = &session.spec;
    if !is_word(&spec.user, 254) {
        let expected = "a user's name of 1 to 254 characters without blanks is expected";
        return Err(wrong("spec.user", short(&spec.user), expected));
    }
    if !is_name(&spec.template, 63, false) {
        return Err(wrong("spec.template", short(&spec.template), "the name of a VDITemplate is expected"));
    }
    let resources = spec.resources.clone().unwrap_or_default();
    let persistence = spec.persistence.clone().unwrap_or_default();
    let silent = persistence.size.is_none()
        && persistence.storage_class_name.is_none()
        && persistence.reclaim.is_none();
    if persistence.enabled == Some(false) && !silent {
        return Err(
            "spec.persistence.enabled is false: size, storageClassName and reclaim say nothing then; \
             leave them out"
                .to_owned(),
        );
    }
    Ok(Wishes {
        gpu: gpu("spec.resources.gpu", resources.gpu)?,
        cpu: resources.cpu.map(|v| cpu("spec.resources.cpu", &v)).transpose()?,
        memory: resources.memory.map(|v| memory("spec.resources.memory", &v)).transpose()?,
        enabled: persistence.enabled,
        size: persistence.size.map(|v| size("spec.persistence.size", &v)).transpose()?,
        storage_class: persistence
            .storage_class_name
            .map(|v| storage_class("spec.persistence.storageClassName", &v))
            .transpose()?,
        reclaim: persistence.reclaim,
        timeout: spec.timeout.as_ref().map(|v| timeout("spec.timeout", v)).transpose()?,
        timeout_action: spec.timeout_action,
        idle_timeout: spec.idle_timeout.as_ref().map(|v| timeout("spec.idleTimeout", v)).transpose()?,
        idle_action: spec.idle_action,
    })
}

pub(super) fn gpu(field: &str, slices: Option<u32>) -> Result<Option<u32>, String> {
    match slices {
        Some(n) if n > MOST_GPU => {
            Err(wrong(field, n, format!("at most {MOST_GPU} slices can be asked for")))
        }
        other => Ok(other),
    }
}
