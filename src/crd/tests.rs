use super::*;

#[test]
fn quantities_compare_across_suffixes() {
    let q = |t: &str| t.parse::<Quantity>().unwrap();
    assert_eq!(q("1500m"), q("1.5"));
    assert!(q("1Gi") > q("1G") && q("1023Mi") < q("1Gi") && q("0Gi").is_zero());
    assert_eq!(q("2").milli(), 2000);
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
