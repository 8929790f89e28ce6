//! PURE. From `KeyboardEvent.code` to the name that XKB gives the key in that place.

/// XKB's name of the key that the browser calls `code`, padded with zeros.
pub fn key_name(code: &str) -> Option<[u8; 4]> {
    let name = letter(code).or_else(|| row(code)).or_else(|| function(code)).or_else(|| keypad(code));
    let name = name.or_else(|| NAMED.iter().find(|(c, _)| *c == code).map(|(_, n)| (*n).to_owned()))?;
    let mut padded = [0; 4];
    let bytes = name.as_bytes();
    padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(padded)
}

/// Letters stand where QWERTY has them: `code` names places, not characters.
const LETTER_ROWS: [(&str, &str); 3] = [("AD", "QWERTYUIOP"), ("AC", "ASDFGHJKL"), ("AB", "ZXCVBNM")];

fn letter(code: &str) -> Option<String> {
    let letter = code.strip_prefix("Key").filter(|l| l.len() == 1)?;
    LETTER_ROWS.iter().find_map(|(row, keys)| Some(format!("{row}{:02}", keys.find(letter)? + 1)))
}

fn row(code: &str) -> Option<String> {
    let digit: u8 = code.strip_prefix("Digit").filter(|d| d.len() == 1)?.parse().ok()?;
    Some(format!("AE{:02}", if digit == 0 { 10 } else { digit }))
}

fn function(code: &str) -> Option<String> {
    let number: u8 = code.strip_prefix('F')?.parse().ok()?;
    (1..=24).contains(&number).then(|| format!("FK{number:02}"))
}

fn keypad(code: &str) -> Option<String> {
    let digit = code.strip_prefix("Numpad").filter(|d| d.len() == 1 && d.as_bytes()[0].is_ascii_digit())?;
    Some(format!("KP{digit}"))
}

const NAMED: [(&str, &str); 50] = [
    ("Backquote", "TLDE"),
    ("Minus", "AE11"),
    ("Equal", "AE12"),
    ("IntlYen", "AE13"),
    ("Backspace", "BKSP"),
    ("Tab", "TAB"),
    ("BracketLeft", "AD11"),
    ("BracketRight", "AD12"),
    ("Backslash", "BKSL"),
    ("CapsLock", "CAPS"),
    ("Semicolon", "AC10"),
    ("Quote", "AC11"),
    ("Enter", "RTRN"),
    ("ShiftLeft", "LFSH"),
    ("ShiftRight", "RTSH"),
    ("IntlBackslash", "LSGT"),
    ("IntlRo", "AB11"),
    ("Comma", "AB08"),
    ("Period", "AB09"),
    ("Slash", "AB10"),
    ("ControlLeft", "LCTL"),
    ("ControlRight", "RCTL"),
    ("AltLeft", "LALT"),
    ("AltRight", "RALT"),
    ("MetaLeft", "LWIN"),
    ("MetaRight", "RWIN"),
    ("ContextMenu", "COMP"),
    ("Space", "SPCE"),
    ("Escape", "ESC"),
    ("PrintScreen", "PRSC"),
    ("ScrollLock", "SCLK"),
    ("Pause", "PAUS"),
    ("Insert", "INS"),
    ("Delete", "DELE"),
    ("Home", "HOME"),
    ("End", "END"),
    ("PageUp", "PGUP"),
    ("PageDown", "PGDN"),
    ("ArrowUp", "UP"),
    ("ArrowDown", "DOWN"),
    ("ArrowLeft", "LEFT"),
    ("ArrowRight", "RGHT"),
    ("NumLock", "NMLK"),
    ("NumpadDivide", "KPDV"),
    ("NumpadMultiply", "KPMU"),
    ("NumpadSubtract", "KPSU"),
    ("NumpadAdd", "KPAD"),
    ("NumpadEnter", "KPEN"),
    ("NumpadDecimal", "KPDL"),
    ("NumpadEqual", "KPEQ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_their_xkb_names() {
        let named =
            |code| key_name(code).map(|n| String::from_utf8_lossy(&n).trim_end_matches('\0').to_owned());
        for (code, name) in [
            ("KeyQ", "AD01"),
            ("KeyP", "AD10"),
            ("KeyM", "AB07"),
            ("Digit1", "AE01"),
            ("Digit0", "AE10"),
            ("F12", "FK12"),
            ("Numpad7", "KP7"),
            ("AltRight", "RALT"),
            ("ArrowUp", "UP"),
        ] {
            assert_eq!(named(code).as_deref(), Some(name), "{code}");
        }
    }

    #[test]
    fn other_words_have_none() {
        for code in
            ["", "Key", "KeyAB", "Keyé", "Digit", "Digit12", "F0", "F25", "Fn", "Numpad", "Numpadé", "Lang1"]
        {
            assert_eq!(key_name(code), None, "{code}");
        }
    }
}
