use super::{ALPHABET, Guesses, LENGTH, is_code, read};
use nanoclaw_contract::ids::{self, ChannelType, PlatformId};

#[test]
fn a_code_stands_alone() {
    for text in [
        "AB3DE-FG4JK",
        "ab3defg4jk",
        " AB3DEFG4JK\n",
        "@bot AB3DE-FG4JK",
        "Subject: it is I\n\nAB3DE-FG4JK",
    ] {
        assert_eq!(read(text).as_deref(), Some("AB3DEFG4JK"), "{text:?}");
    }
    for text in [
        "",
        "everything",
        "PASSWORDXY",
        "AB3DE FG4JK",
        "my code AB3DEFG4JK",
        "Subject: it is I\nAB3DE-FG4JK",
        "Subject: it is I\n\nmy code\n\nAB3DE-FG4JK",
        "AB3DEFG4JK!",
        "AB3DEFG4J",
        "AB3DEFG4JKK",
        "@bot AB3DEFG4JK please",
        "AB3DEFG4Jé",
        "1B3DEFG4JO",
    ] {
        assert_eq!(read(text), None, "{text:?}");
    }
}

#[test]
fn codes_use_the_whole_alphabet_and_do_not_repeat() {
    let codes: std::collections::BTreeSet<_> =
        (0..2000).map(|_| ids::secret(ALPHABET, LENGTH)).collect();
    assert_eq!(codes.len(), 2000);
    let letters: std::collections::BTreeSet<_> = codes.iter().flat_map(|c| c.bytes()).collect();
    assert_eq!(letters.len(), ALPHABET.len());
    assert!(codes.iter().filter(|c| is_code(c)).count() > 1000);
}

#[test]
fn five_wrong_codes_of_a_chat_are_answered_and_others_are_not_counted_with_them() {
    let guesses = Guesses::default();
    let chat = |id: &str| (ChannelType::parse("x").unwrap(), PlatformId::parse(id).unwrap());
    let answered = |id: &str| guesses.answers(&chat(id).0, &chat(id).1);
    let five: Vec<_> = (0..7).map(|_| answered("a")).collect();
    assert_eq!(five, [true, true, true, true, true, false, false]);
    assert!(answered("b"));
}
