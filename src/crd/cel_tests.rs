//! The rules of the definitions, run here as the API server runs them there: `tests/cluster/` has the same rows.

use kube::core::cel::{ValidationErrors, validate_cel, validate_cel_update};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::mutations::{Layer, Of, good_session, good_template, mutated, mutations};
use super::{VDISession, VDITemplate};

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn words(result: Result<(), ValidationErrors>) -> String {
    result.err().map(|errors| errors.to_string()).unwrap_or_default()
}

#[test]
fn what_is_good_passes() {
    let session = read::<VDISession>(&good_session("good", "ubuntu"));
    assert_eq!(words(validate_cel(&session)), "");
    assert_eq!(words(validate_cel_update(&session, &session)), "");
    assert_eq!(words(validate_cel(&read::<VDITemplate>(&good_template("ubuntu")))), "");
}

#[test]
fn every_row_of_a_rule_is_refused_by_the_rule_itself() {
    let (session, template) = (good_session("good", "ubuntu"), good_template("ubuntu"));
    let rows = mutations();
    let rows: Vec<_> = rows.iter().filter(|row| row.layer == Layer::Cel).collect();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in rows {
        let words = match row.of {
            Of::Session => words(validate_cel(&read::<VDISession>(&mutated(&session, &row.patch)))),
            Of::Template => words(validate_cel(&read::<VDITemplate>(&mutated(&template, &row.patch)))),
            Of::Update => {
                let new = read::<VDISession>(&mutated(&session, &row.patch));
                words(validate_cel_update(&new, &read(&session)))
            }
        };
        assert!(words.contains(row.says), "{}: {words:?}", row.patch);
    }
}
