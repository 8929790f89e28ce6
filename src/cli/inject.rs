//! `inject`.

use std::error::Error;
use std::io::{self, Read};
use std::process::ExitCode;

use clap::Args;
use deskgate::crd::{ImagePullPolicy, Quantity};
use deskgate::inject::{self, Injection};

/// Flags of `deskgate inject`.
#[derive(Args)]
pub struct Inject {
    /// File with pods, or with what makes pods, as YAML or JSON; `-` is standard input; repeatable
    #[arg(long, short = 'f', value_name = "FILE", default_value = "-")]
    filename: Vec<String>,
    /// Image of the gateway
    #[arg(long, env = "DESKGATE_GATEWAY_IMAGE", value_name = "IMAGE")]
    gateway_image: String,
    /// When that image is pulled: Always, IfNotPresent, Never [default: Kubernetes' own rule]
    #[arg(long, env = "DESKGATE_GATEWAY_PULL_POLICY", value_name = "POLICY", value_parser = policy)]
    gateway_pull_policy: Option<ImagePullPolicy>,
    /// What is set aside for the gateway, instead of cpu=200m,memory=128Mi
    #[arg(long, value_name = "NAME=AMOUNT", value_delimiter = ',', value_parser = amount)]
    gateway_requests: Vec<(String, String)>,
    /// What the gateway may take at most, instead of memory=1Gi
    #[arg(long, value_name = "NAME=AMOUNT", value_delimiter = ',', value_parser = amount)]
    gateway_limits: Vec<(String, String)>,
    /// One more argument of `deskgate serve`, such as --fps=30; repeatable
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    gateway_arg: Vec<String>,
    /// Secret with the key `token-secret`, for pods without the annotation vdi.kasm.io/secret; without either the
    /// gateway listens on loopback, for `kubectl port-forward` alone
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// The gateway's port, for pods without the annotation vdi.kasm.io/port
    #[arg(long, value_name = "PORT", default_value_t = inject::PORT, value_parser = clap::value_parser!(u16).range(1024..))]
    port: u16,
}

pub(super) fn policy(text: &str) -> Result<ImagePullPolicy, String> {
    let all = [ImagePullPolicy::Always, ImagePullPolicy::IfNotPresent, ImagePullPolicy::Never];
    all.into_iter()
        .find(|p| p.as_str() == text)
        .ok_or_else(|| "Always, IfNotPresent or Never is expected".to_owned())
}

fn amount(text: &str) -> Result<(String, String), String> {
    let expected = || "a resource with an amount such as memory=512Mi is expected".to_owned();
    let (name, amount) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(expected)?;
    amount.parse::<Quantity>().map_err(|e| e.to_string())?;
    Ok((name.to_owned(), amount.to_owned()))
}

impl Inject {
    #[expect(clippy::print_stdout, reason = "the YAML is what was asked for")]
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let how = self.injection();
        let mut texts = Vec::new();
        let mut is_refused = false;
        for file in &self.filename {
            match inject::inject_text(&read(file)?, &how) {
                Ok(text) => texts.push(text),
                Err(errors) => {
                    is_refused = true;
                    for error in errors {
                        eprintln!("deskgate: {}: {error}", if file == "-" { "standard input" } else { file });
                    }
                }
            }
        }
        // Half of what was asked for would be applied by whoever reads it.
        if is_refused {
            return Ok(ExitCode::FAILURE);
        }
        print!("{}", texts.join("---\n"));
        Ok(ExitCode::SUCCESS)
    }

    fn injection(&self) -> Injection {
        let mut how = Injection {
            image_pull_policy: self.gateway_pull_policy,
            port: self.port,
            secret: self.secret.clone(),
            args: self.gateway_arg.clone(),
            ..Injection::new(self.gateway_image.clone())
        };
        let resources = &mut how.resources;
        for (given, place) in
            [(&self.gateway_requests, &mut resources.requests), (&self.gateway_limits, &mut resources.limits)]
        {
            if !given.is_empty() {
                *place = inject::quantities(&given.iter().cloned().collect());
            }
        }
        how
    }
}

fn read(file: &str) -> Result<String, Box<dyn Error>> {
    if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|e| format!("standard input: {e}"))?;
        return Ok(text);
    }
    Ok(std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?)
}
