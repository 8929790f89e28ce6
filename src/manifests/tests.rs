use super::*;
use crate::golden;
use crate::operator::settings::SettingsFile;

#[test]
fn the_committed_files_are_current() {
    let files = files().unwrap();
    for (path, text) in &files {
        golden::check(&format!("../../{path}"), text);
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("manifests")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match path.is_dir() {
                true => folders.push(path),
                false => assert!(files.iter().any(|(file, _)| *file == name), "nobody writes {name}"),
            }
        }
    }
}

#[test]
fn the_table_of_rights_in_the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operator.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- rights: made by src/manifests/rbac.rs -->\n", "<!-- end of rights -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    golden::check("../../docs/operator.md", &format!("{before}{begin}{}{end}{after}", rbac::table()));
}

#[test]
fn no_two_routers_share_a_host_and_the_catch_all_yields() {
    let objects = all(&Values::default());
    let routes: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "IngressRoute").collect();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0]["spec"]["routes"][0]["priority"], 1);
}

fn find<'a>(objects: &'a [Value], kind: &str, namespace: &str) -> &'a Value {
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["namespace"] == namespace);
    found.unwrap_or_else(|| panic!("no {kind} in {namespace}"))
}

#[test]
fn values_are_filled_in_everywhere() {
    let values = Values {
        image: "registry.test/operator:7".to_owned(),
        gateway_image: "registry.test/gateway:7".to_owned(),
        domain: "desks.test".to_owned(),
        namespaces: vec!["lab".to_owned(), "office".to_owned()],
        own_namespace: "desk-system".to_owned(),
        route: RouteSettings {
            entry_points: vec!["secure".to_owned()],
            middlewares: vec!["auth/sign-in".to_owned()],
            ingress_class: Some("inside".to_owned()),
            tls: false,
            ..RouteSettings::default()
        },
        ..Values::default()
    };
    let text = text(&values).unwrap();
    for default in ["example.com", "kasm\n", ":kasm:", "registry.example", "websecure", "namespace: desks"] {
        assert!(!text.contains(default), "{default}");
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    find(&objects, "Role", "lab");
    find(&objects, "NetworkPolicy", "office");
    let container = &find(&objects, "Deployment", "desk-system")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.test/operator:7");
    let route = find(&objects, "IngressRoute", "desk-system");
    assert_eq!(route["metadata"]["annotations"]["kubernetes.io/ingress.class"], "inside");
    let expected = json!({
        "entryPoints": ["secure"],
        "routes": [{
            "kind": "Rule", "match": r"HostRegexp(`^[a-z0-9-]+\.desks\.test$`)", "priority": 1,
            "middlewares": [{ "name": "sign-in", "namespace": "auth" }],
            "services": [{ "name": NAME, "port": "entry" }],
        }],
    });
    assert_eq!(route["spec"], expected);
}

#[test]
fn a_changed_settings_file_starts_the_operator_anew() {
    let annotations = |file: &str| {
        let objects = all(&Values { settings_file: file.to_owned(), ..Values::default() });
        find(&objects, "Deployment", "kasm")["spec"]["template"]["metadata"]["annotations"].clone()
    };
    assert_ne!(annotations("[quotas]\n"), annotations("[quotas]\nsessions-per-user = 1\n"));
}

#[test]
fn the_settings_file_that_says_nothing_says_nothing_and_its_comments_are_settings() {
    assert_eq!(SettingsFile::from_toml(NO_SETTINGS).unwrap(), SettingsFile::default());
    let lines = NO_SETTINGS.lines().skip(1).map(|line| line.trim_start_matches(['#', ' ']).to_owned() + "\n");
    let quotas = SettingsFile::from_toml(&lines.collect::<String>()).unwrap().quotas;
    assert_eq!((quotas.sessions_per_user, quotas.templates["ubuntu-gpu"].gpu), (Some(3), Some(8)));
}
