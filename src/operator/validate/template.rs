//! PURE. The template's fields. Messages begin with the field, without `spec.`.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Wishes, gpu};
use super::words::{cpu, is_name, is_word, memory, quantity, short, size, storage_class, timeout, wrong};
use crate::crd::{
    Exposure, GatewaySpec, GpuEncoder, GpuSpec, IntOrText, Overridable, Overrides, Quantity, Timeout,
    VDITemplateSpec,
};
use crate::inject;

/// The resource that a slice is, where the template does not say.
const GPU_RESOURCE: &str = "nvidia.com/gpu";
/// Folders that a home must not hide. What lies in `/tmp` or `/var` may.
const SYSTEM: [&str; 12] =
    ["/", "/tmp", "/dev", "/proc", "/sys", "/etc", "/usr", "/bin", "/lib", "/var", "/run", "/sbin"];
/// Folders in which a home would lie in memory, or be the kernel's.
const INSIDE: [&str; 4] = [inject::X11_DIR, "/dev", "/proc", "/sys"];

/// A template that was checked, as far as sessions are merged with it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) defaults: Wishes,
    pub(super) limits: Limits,
    pub(super) allowed: Option<Vec<Overridable>>,
    pub(super) gpu_resource: String,
    pub(super) gpu_encoder: GpuEncoder,
    pub(super) exposure: Exposure,
    pub(super) port: u16,
}

/// The most that a session may ask for.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) gpu: Option<u32>,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) size: Option<Quantity>,
    pub(super) timeout: Option<Timeout>,
}

pub(super) fn check(spec: &VDITemplateSpec) -> Result<Checked, String> {
    image(spec)?;
    desktop(spec)?;
    environment(spec)?;
    let silent = GatewaySpec::default();
    let gateway = spec.gateway.as_ref().unwrap_or(&silent);
    let port = sidecar(gateway)?;
    if spec.ports.contains(&port) {
        let expected = "the image listens on the gateway's port itself; the two share the pod's network, so set \
                        gateway.port to another one";
        return Err(wrong("ports", &spec.ports, format!("{expected} than {port}")));
    }
    let silent = GpuSpec::default();
    let gpu = spec.gpu.as_ref().unwrap_or(&silent);
    devices(gpu)?;
    let defaults = defaults(spec)?;
    let limits = limits(spec.overrides.as_ref(), &defaults)?;
    Ok(Checked {
        defaults,
        limits,
        allowed: spec.overrides.as_ref().and_then(|o| o.allowed.clone()),
        gpu_resource: gpu.resource_name.clone().unwrap_or_else(|| GPU_RESOURCE.to_owned()),
        gpu_encoder: gpu.encoder.unwrap_or_default(),
        exposure: spec.exposure.unwrap_or_default(),
        port,
    })
}

fn image(spec: &VDITemplateSpec) -> Result<(), String> {
    if !is_word(&spec.image, 512) {
        return Err(wrong("image", short(&spec.image), "the image of the desktop is expected"));
    }
    match spec.image_pull_secrets.iter().find(|name| !is_name(name, 253, true)) {
        Some(name) => Err(wrong("imagePullSecrets", short(name), "names of Secrets are expected")),
        None => Ok(()),
    }
}

fn desktop(spec: &VDITemplateSpec) -> Result<(), String> {
    if let Some(display) = spec.display.filter(|d| *d > 99) {
        return Err(wrong("display", display, "at most 99 is expected"));
    }
    if let Some(path) = &spec.xauthority {
        let inside = path.strip_prefix(inject::X11_DIR).is_some_and(|rest| rest.starts_with('/'));
        if !inside || !is_clean(path) {
            let expected = format!(
                "a file in {}/ is expected, the folder that the desktop and the gateway share",
                inject::X11_DIR
            );
            return Err(wrong("xauthority", short(path), expected));
        }
    }
    if let Some(server) = spec.pulse_server.as_ref().filter(|s| !is_word(s, 256)) {
        return Err(wrong("pulseServer", short(server), "an address such as 127.0.0.1:4713 is expected"));
    }
    if let Some(path) = &spec.home_path {
        let hides = SYSTEM.contains(&path.as_str());
        let inside = INSIDE.iter().any(|dir| path == dir || path.starts_with(&format!("{dir}/")));
        if hides || inside || !is_clean(path) || path.contains(':') {
            let expected =
                "an absolute path such as /home/user is expected that hides none of the system's folders";
            return Err(wrong("homePath", short(path), expected));
        }
    }
    Ok(())
}

/// An absolute path, written in the one way that compares: no `..`, no `//`, no `/` at the end, no blanks.
fn is_clean(path: &str) -> bool {
    is_word(path, 256)
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|part| !part.is_empty() && part != "." && part != ".."))
}

fn environment(spec: &VDITemplateSpec) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for variable in &spec.env {
        let name = variable.name.as_str();
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let shape = (1..=128).contains(&name.len())
            && name.bytes().all(inner)
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !shape {
            return Err(wrong(
                "env",
                short(name),
                "a variable's name of letters, digits, '-', '.', '_' is expected",
            ));
        }
        if name.starts_with("DESKGATE_") {
            return Err(wrong("env", name, "names that begin with DESKGATE_ are the gateway's; see gateway"));
        }
        if !seen.insert(name) {
            return Err(wrong("env", name, "it stands there twice"));
        }
        let display = format!(":{}", spec.display.unwrap_or(0));
        if name == "DISPLAY" && variable.value.as_deref() != Some(&display) {
            let expected =
                format!("spec.display says {display}; leave the variable out, or make the two agree");
            return Err(wrong("env", "DISPLAY", expected));
        }
    }
    Ok(())
}

fn sidecar(gateway: &GatewaySpec) -> Result<u16, String> {
    if let Some(image) = gateway.image.as_ref().filter(|i| !is_word(i, 512)) {
        return Err(wrong("gateway.image", short(image), "the image of the gateway is expected"));
    }
    if let Some(name) = &gateway.encoder {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.len() > 64 || !name.bytes().all(inner) || !name.starts_with(ends) || !name.ends_with(ends) {
            return Err(wrong("gateway.encoder", short(name), "a name of deskgate encoders is expected"));
        }
    }
    let ranged = |field: &str, value: Option<u32>, least: u32, most: u32| match value {
        Some(n) if !(least..=most).contains(&n) => {
            Err(wrong(field, n, format!("{least} to {most} is expected")))
        }
        _ => Ok(()),
    };
    ranged("gateway.frameLimit", gateway.frame_limit, 5, 240)?;
    ranged("gateway.bitrateKbps", gateway.bitrate_kbps, 100, 200_000)?;
    ranged("gateway.port", gateway.port.map(u32::from), 1024, 65_535)?;
    if let Some(resources) = &gateway.resources {
        let requests = quantities("gateway.resources.requests", &resources.requests)?;
        let limits = quantities("gateway.resources.limits", &resources.limits)?;
        let past =
            requests.iter().find_map(|(name, is)| Some((name, is, limits.get(name).filter(|l| is > l)?)));
        if let Some((name, is, limit)) = past {
            let field = format!("gateway.resources.requests.{name}");
            return Err(wrong(field, is.to_string(), format!("at most its limit, {limit}, is expected")));
        }
    }
    Ok(gateway.port.unwrap_or(inject::PORT))
}

fn quantities<'a>(
    field: &str,
    map: &'a BTreeMap<String, String>,
) -> Result<BTreeMap<&'a str, Quantity>, String> {
    map.iter().map(|(name, text)| Ok((name.as_str(), quantity(&format!("{field}.{name}"), text)?))).collect()
}

fn devices(gpu: &GpuSpec) -> Result<(), String> {
    if let Some(name) = &gpu.resource_name {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let ends = |c: char| c.is_ascii_alphanumeric();
        let shape = name.split_once('/').is_some_and(|(domain, rest)| {
            is_name(domain, 253, true)
                && (1..=63).contains(&rest.len())
                && rest.bytes().all(inner)
                && rest.starts_with(ends)
                && rest.ends_with(ends)
        });
        if !shape {
            return Err(wrong(
                "gpu.resourceName",
                short(name),
                "a resource such as nvidia.com/gpu is expected",
            ));
        }
    }
    if let Some(name) = gpu.runtime_class_name.as_ref().filter(|n| !is_name(n, 253, true)) {
        return Err(wrong("gpu.runtimeClassName", short(name), "the name of a RuntimeClass is expected"));
    }
    if let Some(list) = &gpu.driver_capabilities {
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if list.len() > 128 || !list.split(',').all(word) {
            let expected = "capabilities such as utility,video are expected";
            return Err(wrong("gpu.driverCapabilities", short(list), expected));
        }
    }
    Ok(())
}

fn defaults(spec: &VDITemplateSpec) -> Result<Wishes, String> {
    let resources = spec.resources.clone().unwrap_or_default();
    let persistence = spec.persistence.clone().unwrap_or_default();
    let time = |field: &str, value: &Option<String>| {
        value.as_ref().map(|text| timeout(field, &IntOrText::Text(text.clone()))).transpose()
    };
    Ok(Wishes {
        gpu: gpu("resources.gpu", resources.gpu)?,
        cpu: resources.cpu.map(|v| cpu("resources.cpu", &v)).transpose()?,
        memory: resources.memory.map(|v| memory("resources.memory", &v)).transpose()?,
        enabled: persistence.enabled,
        size: persistence.size.map(|v| size("persistence.size", &v)).transpose()?,
        storage_class: persistence
            .storage_class_name
            .map(|v| storage_class("persistence.storageClassName", &v))
            .transpose()?,
        reclaim: persistence.reclaim,
        timeout: time("timeout", &spec.timeout)?,
        timeout_action: spec.timeout_action,
        idle_timeout: time("idleTimeout", &spec.idle_timeout)?,
        idle_action: spec.idle_action,
    })
}

/// Limits of a template. Its own defaults have to be within them.
fn limits(overrides: Option<&Overrides>, defaults: &Wishes) -> Result<Limits, String> {
    let Some(overrides) = overrides else { return Ok(Limits::default()) };
    let read = |field: &str, text: &Option<String>| {
        let limit = text.as_ref().map(|t| quantity(field, t)).transpose()?;
        match limit {
            Some(zero) if zero.is_zero() => Err(wrong(field, zero.to_string(), "more than 0 is expected")),
            other => Ok(other),
        }
    };
    let limits = Limits {
        gpu: gpu("overrides.maxGpu", overrides.max_gpu)?,
        cpu: read("overrides.maxCpu", &overrides.max_cpu)?,
        memory: read("overrides.maxMemory", &overrides.max_memory)?,
        size: read("overrides.maxSize", &overrides.max_size)?,
        timeout: overrides
            .max_timeout
            .as_ref()
            .map(|t| timeout("overrides.maxTimeout", &IntOrText::Text(t.clone())))
            .transpose()?,
    };
    super::within(defaults, &limits).map_err(|m| m.trim_start_matches("spec.").to_owned())?;
    Ok(limits)
}
