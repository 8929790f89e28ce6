//! `manifests`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use deskgate::manifests::{self, Values};
use deskgate::operator::settings::{Settings, SettingsFile};

use super::operator::Operator;

/// Flags of `deskgate manifests`.
#[derive(Args)]
pub struct Manifests {
    /// Image of the operator
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// Image of the gateway's sidecar
    #[arg(long, value_name = "IMAGE")]
    gateway_image: String,
    /// Domain that sessions get their hosts in
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// Namespace with sessions; repeatable
    #[arg(long = "namespace", value_name = "NAME", required = true)]
    namespaces: Vec<String>,
    /// The operator's own namespace
    #[arg(long, value_name = "NAME", default_value = "kasm")]
    own_namespace: String,
    /// Settings file (TOML) with quotas, to be put into the operator's ConfigMap
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One more argument of the operator, such as --ingress-class=traefik; repeatable
    #[arg(long = "operator-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// The operator's command line, as the pod will have it.
#[derive(Parser)]
#[command(name = "deskgate operator")]
struct Line {
    #[command(flatten)]
    operator: Operator,
}

/// What the operator will make of its arguments. A mistake in them is better told here than by a pod that crashes.
fn understood(values: &Values) -> Result<Settings, Box<dyn Error>> {
    let line = Line::try_parse_from(values.command_line()).map_err(|e| e.to_string())?;
    line.operator.settings()
}

impl Manifests {
    fn values(self) -> Result<Values, Box<dyn Error>> {
        let mut values = Values {
            image: self.image,
            gateway_image: self.gateway_image,
            domain: self.domain.to_ascii_lowercase(),
            namespaces: self.namespaces,
            own_namespace: self.own_namespace,
            arguments: self.arguments,
            ..Values::default()
        };
        if let Some(path) = self.config {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            SettingsFile::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            values.settings_file = text;
        }
        values.route = understood(&values)?.route;
        Ok(values)
    }

    #[expect(clippy::print_stdout, reason = "the YAML is what was asked for")]
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        print!("{}", manifests::text(&self.values()?)?);
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        manifests: Manifests,
    }

    fn values(more: &[&str]) -> Result<Values, Box<dyn Error>> {
        let given = ["manifests", "--image=a", "--gateway-image=b", "--domain=D.test", "--namespace=desks"];
        Typed::try_parse_from(given.iter().chain(more)).unwrap().manifests.values()
    }

    #[test]
    fn the_operator_understands_what_it_is_told() {
        let values =
            values(&["--operator-arg=--entry-point=secure", "--operator-arg=--middleware=auth/in"]).unwrap();
        let settings = understood(&values).unwrap();
        assert_eq!((settings.domain.as_str(), settings.namespaces), ("d.test", vec!["desks".to_owned()]));
        assert_eq!((settings.own_namespace.as_str(), settings.gateway_image.as_str()), ("kasm", "b"));
        assert_eq!(values.route.entry_points, ["secure"]);
        assert_eq!(values.route.middlewares, ["auth/in"]);
    }

    #[test]
    fn a_mistake_is_told_before_anything_is_printed() {
        let told = |more: &[&str]| values(more).unwrap_err().to_string();
        assert!(told(&["--operator-arg=--entrypoint=secure"]).contains("--entry-point"));
        assert!(told(&["--namespace=Not_A_Name"]).contains("a namespace's name is expected"));
        assert!(told(&["--config=/nowhere.toml"]).contains("/nowhere.toml"));
    }
}
