//! PURE. Why the API server refused: taken from its own words.

use kube::core::Status;

use super::reason::Reason;

/// What a refusal means for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The cause, for the condition.
    pub reason: Reason,
    /// The API server's words.
    pub message: String,
}

/// Reads a refusal. Only what is none of the known causes of 403 is the operator's own lack of rights.
pub fn refused(status: &Status) -> Refused {
    let text = status.message.as_str();
    let has = |part: &str| text.contains(part);
    let reason = match status.code {
        403 if has("exceeded quota") || has("failed quota") => Reason::ResourceQuotaExceeded,
        403 if has("violates PodSecurity") => Reason::PodSecurityViolation,
        _ if has("admission webhook")
            || has("ValidatingAdmissionPolicy")
            || has("failed calling webhook") =>
        {
            Reason::AdmissionDenied
        }
        403 if has("is forbidden: User") || has("cannot set blockOwnerDeletion") => Reason::Forbidden,
        // Built-in admission plug-ins (LimitRanger, PodNodeSelector and the like) answer 403 in words of their own.
        403 if has("is forbidden:") => Reason::AdmissionDenied,
        403 | 401 => Reason::Forbidden,
        422 | 400 => Reason::TemplateInvalid,
        _ => Reason::ApiError,
    };
    Refused { reason, message: bounded(text) }
}

/// A message that fits into a condition, and into a person's patience.
pub fn bounded(text: &str) -> String {
    const MOST: usize = 1024;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: u16, message: &str) -> Reason {
        refused(&Status { code, message: message.to_owned(), ..Status::default() }).reason
    }

    #[test]
    fn each_403_has_its_own_cause() {
        let quota = r#"pods "vdi-a" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1"#;
        assert_eq!(reason(403, quota), Reason::ResourceQuotaExceeded);
        let security = r#"pods "vdi-a" is forbidden: violates PodSecurity "restricted:latest": hostPort"#;
        assert_eq!(reason(403, security), Reason::PodSecurityViolation);
        let policy =
            r#"pods "vdi-a" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no"#;
        assert_eq!(reason(403, policy), Reason::AdmissionDenied);
        let webhook = r#"admission webhook "policy.example" denied the request: no"#;
        assert_eq!(reason(403, webhook), Reason::AdmissionDenied);
        assert_eq!(reason(400, webhook), Reason::AdmissionDenied);
        let rbac = r#"pods is forbidden: User "system:serviceaccount:kasm:x" cannot create resource "pods""#;
        assert_eq!(reason(403, rbac), Reason::Forbidden);
        let limits = r#"pods "vdi-a" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#;
        assert_eq!(reason(403, limits), Reason::AdmissionDenied);
        assert_eq!(reason(422, "Pod is invalid: spec.tolerations"), Reason::TemplateInvalid);
        assert_eq!(reason(500, "etcdserver: request timed out"), Reason::ApiError);
    }
}
