use super::{encode, parse, person};
use proptest::prelude::*;
use whatsapp_rust::Jid;

proptest! {
    #[test]
    fn both_directions_agree(user in "[0-9]{1,18}", old in "[0-9]{1,12}-[0-9]{1,10}", device in 0u16..99) {
        for jid in [Jid::pn(&user), Jid::lid(&user), Jid::group(&user), Jid::group(&old)] {
            let name = encode(&jid).unwrap();
            prop_assert_eq!(parse(name.as_str()).unwrap(), jid.clone());
            prop_assert_eq!(encode(&parse(name.as_str()).unwrap()), Some(name));
        }
        // Every device of a person is the same chat.
        prop_assert_eq!(encode(&Jid::pn_device(&user, device)), encode(&Jid::pn(&user)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Ok(jid) = parse(&text) {
            let name = encode(&jid).unwrap();
            prop_assert_eq!(name.as_str(), text);
        }
    }
}

#[test]
fn what_nobody_can_answer_is_no_chat() {
    for jid in [Jid::status_broadcast(), Jid::newsletter("120363"), Jid::pn("")] {
        assert_eq!(encode(&jid), None, "{jid}");
    }
    for name in
        ["", "49151", "49151@c.us", "a@g.us", "1-@g.us", "1@s.whatsapp.net ", "1:2@s.whatsapp.net"]
    {
        assert!(parse(name).is_err(), "{name}");
    }
}

#[test]
fn a_phone_number_is_read_as_people_write_it() {
    assert_eq!(person("+49 (151) 123-45").unwrap(), Jid::pn("4915112345"));
    assert_eq!(person("4915112345@s.whatsapp.net").unwrap(), Jid::pn("4915112345"));
    assert!(person("Ada").is_err());
}
