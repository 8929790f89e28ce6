//! PURE. Where in a pod the gateway goes: what its annotations, containers and volumes say.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, VolumeMount};

use super::{DESKTOP, DISPLAY, Injection, PORT_ANNOTATION, Refusal, SECRET, X11_DIR, XAUTHORITY, examine};

/// Where the gateway goes, and how it reaches what it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The container that is the desktop.
    pub desktop: String,
    /// The X display, such as `:0`.
    pub display: String,
    /// Authority file of the X server.
    pub xauthority: Option<String>,
    /// The one port.
    pub port: u16,
    /// True if an annotation says so.
    pub port_is_said: bool,
    /// The Secret with what signs tokens.
    pub secret: Option<String>,
    /// A mount of the folder with the X server's socket that is there already.
    pub socket: Option<VolumeMount>,
}

impl Placement {
    /// In a pod that is just being made, with nothing in it but the desktop.
    pub fn fresh(desktop: &str, how: &Injection) -> Self {
        Self {
            desktop: desktop.to_owned(),
            display: format!(":{}", how.display.unwrap_or(0)),
            xauthority: how.xauthority.clone(),
            port: how.port,
            port_is_said: false,
            secret: how.secret.clone(),
            socket: None,
        }
    }

    /// Reads a pod.
    ///
    /// # Errors
    /// [`Refusal`] for annotations that cannot be read, and where there is no one desktop with one display.
    pub fn of(pod: &Pod, how: &Injection) -> Result<Self, Refusal> {
        let spec = pod.spec.as_ref().filter(|s| !s.containers.is_empty()).ok_or(Refusal::NoContainer)?;
        let said = |name| annotation(pod, name);
        let desktop = desktop(spec, said(DESKTOP))?;
        let port = said(PORT_ANNOTATION).map(port).transpose()?;
        Ok(Self {
            desktop: desktop.name.clone(),
            display: match (said(DISPLAY), how.display) {
                (Some(text), _) => display(text)?,
                (None, Some(number)) => format!(":{number}"),
                (None, None) => display_of(desktop)?,
            },
            xauthority: said(XAUTHORITY).map(authority).transpose()?.or_else(|| how.xauthority.clone()),
            port: port.unwrap_or(how.port),
            port_is_said: port.is_some(),
            secret: said(SECRET).map(secret).transpose()?.or_else(|| how.secret.clone()),
            socket: socket(spec, desktop)?,
        })
    }
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The container that the annotation names, else the first with a `DISPLAY` or the X server's folder, else the first.
fn desktop<'a>(spec: &'a PodSpec, named: Option<&str>) -> Result<&'a Container, Refusal> {
    let containers = &spec.containers;
    if let Some(name) = named {
        return containers.iter().find(|c| c.name == name).ok_or_else(|| {
            let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
            Refusal::NoSuchContainer(name.to_owned(), names.join(", "))
        });
    }
    let shows = |c: &&Container| display_variable(c).is_some() || mount(c).is_some();
    containers.iter().find(shows).or_else(|| containers.first()).ok_or(Refusal::NoContainer)
}

/// The value of `DISPLAY`, if it stands in the pod itself.
fn display_variable(container: &Container) -> Option<&str> {
    container.env.iter().flatten().find(|e| e.name == "DISPLAY")?.value.as_deref().filter(|v| !v.is_empty())
}

fn display_of(desktop: &Container) -> Result<String, Refusal> {
    let Some(value) = display_variable(desktop) else { return Ok(":0".to_owned()) };
    local(value)
        .ok_or_else(|| Refusal::DisplayElsewhere { container: desktop.name.clone(), value: value.to_owned() })
}

/// `:1`, `:1.0`, `unix:1` are the pod's own.
fn local(text: &str) -> Option<String> {
    let rest = text.strip_prefix("unix").unwrap_or(text).strip_prefix(':')?;
    let number: u32 = rest.split_once('.').map_or(rest, |(number, _)| number).parse().ok()?;
    Some(format!(":{number}"))
}

fn display(text: &str) -> Result<String, Refusal> {
    let number = text.parse::<u32>().ok().map(|n| format!(":{n}"));
    let wrong = || Refusal::Annotation {
        name: DISPLAY,
        value: text.to_owned(),
        expected: "a display of the pod such as :1 is expected",
    };
    number.or_else(|| local(text)).ok_or_else(wrong)
}

fn port(text: &str) -> Result<u16, Refusal> {
    // The gateway is not root: ports below are not its to bind.
    text.parse().ok().filter(|p| *p >= 1024).ok_or_else(|| Refusal::Annotation {
        name: PORT_ANNOTATION,
        value: text.to_owned(),
        expected: "a port from 1024 to 65535 is expected",
    })
}

fn authority(path: &str) -> Result<String, Refusal> {
    let inside = path.strip_prefix(X11_DIR).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1);
    if inside && !path.split('/').any(|part| part == "..") {
        return Ok(path.to_owned());
    }
    Err(Refusal::Annotation {
        name: XAUTHORITY,
        value: path.to_owned(),
        expected: "a file in /tmp/.X11-unix/ is expected, the one folder that the two containers share",
    })
}

fn secret(name: &str) -> Result<String, Refusal> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() <= 253 && name.bytes().all(inner) && name.starts_with(ends) && name.ends_with(ends) {
        return Ok(name.to_owned());
    }
    Err(Refusal::Annotation {
        name: SECRET,
        value: name.to_owned(),
        expected: "the name of a Secret in the pod's namespace is expected",
    })
}

/// What a container has at the X servers' folder.
pub(super) fn mount(container: &Container) -> Option<&VolumeMount> {
    let here = |m: &&VolumeMount| m.mount_path.trim_end_matches('/') == X11_DIR;
    container.volume_mounts.iter().flatten().find(here)
}

/// The mount of the X server's folder that the gateway shares: the desktop's, else the one that all others agree on
/// (an X server may be a container of its own).
fn socket(spec: &PodSpec, desktop: &Container) -> Result<Option<VolumeMount>, Refusal> {
    if let Some(own) = mount(desktop) {
        return shareable(spec, desktop, own).map(Some);
    }
    let others = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| examine::stays(c) && !examine::is_gateway(c))
        .chain(&spec.containers);
    let mounts: Vec<(&Container, &VolumeMount)> = others.filter_map(|c| Some((c, mount(c)?))).collect();
    let Some((container, first)) = mounts.first() else { return Ok(None) };
    if mounts.iter().any(|(_, m)| (&m.name, &m.sub_path) != (&first.name, &first.sub_path)) {
        let each: Vec<String> = mounts.iter().map(|(c, m)| format!("{} has {}", c.name, m.name)).collect();
        return Err(Refusal::SeveralSockets(each.join(", ")));
    }
    shareable(spec, container, first).map(Some)
}

fn shareable(spec: &PodSpec, container: &Container, mount: &VolumeMount) -> Result<VolumeMount, Refusal> {
    let wrong =
        |what| Refusal::Socket { container: container.name.clone(), volume: mount.name.clone(), what };
    let volume = spec.volumes.iter().flatten().find(|v| v.name == mount.name);
    match volume {
        None => Err(wrong("not among the pod's volumes")),
        Some(volume) if volume.empty_dir.is_none() => Err(wrong("no emptyDir")),
        // What it expands to depends on the environment of that container.
        Some(_) if mount.sub_path_expr.is_some() => Err(wrong("mounted with subPathExpr")),
        Some(_) => Ok(mount.clone()),
    }
}
