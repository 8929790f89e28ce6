use serde_json::Value;

use super::*;

#[test]
fn quantities_compare_across_suffixes() {
    let q = |t: &str| t.parse::<Quantity>().unwrap();
    assert_eq!(q("1500m"), q("1.5"));
    assert!(q("1Gi") > q("1G") && q("1023Mi") < q("1Gi") && q("0Gi").is_zero());
    assert_eq!(q("2").milli(), 2000);
    assert_eq!((Quantity::units(2), Quantity::mebibytes(4096)), (q("2"), q("4Gi")));
    assert_eq!(
        (q("1.5Gi").as_mebibytes(), Quantity::mebibytes(1536).to_string()),
        (1536, "1536Mi".to_owned())
    );
    assert_eq!(q("8Ei").milli(), 8_i128 * (1 << 60) * 1000);
    for wrong in ["", "m", "1e3", "-1", "1.2345", "4 Gi", "Gi", ".", "9999999999999999"] {
        assert!(wrong.parse::<Quantity>().is_err(), "{wrong}");
    }
}

#[test]
fn times_are_read_and_written() {
    let seconds = |t: &str| t.parse::<Timeout>().unwrap().span().map(|s| s.as_secs());
    assert_eq!(seconds("8h"), Some(8 * 3600));
    assert_eq!(seconds("1h30m"), Some(5400));
    assert_eq!(seconds("90"), Some(90));
    assert_eq!((seconds("0"), seconds("0m")), (None, None));
    for wrong in ["", "h", "8", "8x", "-1h", "1.5h", "9999999d", "h8"] {
        assert_eq!(wrong.parse::<Timeout>().is_err(), wrong != "8", "{wrong}");
    }
    assert_eq!("26h90s".parse::<Timeout>().unwrap().to_string(), "1d2h1m30s");
}

#[test]
fn the_committed_definitions_are_current() {
    for (name, text) in definition_texts().unwrap() {
        let intro = "# Written by `UPDATE_GOLDEN=1 cargo test --lib crd`; a test fails when it is stale.\n";
        crate::golden::check(&format!("../../crds/{name}.yaml"), &format!("{intro}{text}"));
    }
}

/// Every property with its path, down to the leaves.
fn properties(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, inner);
        properties(inner, &path, visit);
        properties(&inner["items"], &path, visit);
    }
}

#[test]
fn every_field_is_described_and_none_has_a_default_or_may_be_null() {
    let mut fields = 0;
    for definition in definitions() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        properties(&schema["openAPIV3Schema"], "", &mut |path, field| {
            fields += 1;
            let described = field["description"].as_str().is_some_and(|d| !d.is_empty() && !d.contains("[`"));
            assert!(described, "{path}: {field}");
            assert!(field["default"].is_null() && field["nullable"].is_null(), "{path}: {field}");
        });
    }
    assert!(fields > 100, "{fields}");
}
