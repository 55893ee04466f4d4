//! What chats show of answers that are still being said.

use super::*;

#[test]
fn a_preview_is_known_from_before_it_is_sent_until_it_ends() {
    let (c, s, out) = (home(), id("s"), id("msg-1"));
    assert!(c.begin_preview(&s, &out, &address(Some("t"))).unwrap());
    let mut open = Previewed { out, to: address(Some("t")), message: None };
    assert_eq!(c.previews(&s).unwrap(), [open.clone()]);
    open.message = Some(id("shown-1"));
    c.preview_shown(&s, &open.out, &id("shown-1")).unwrap();
    assert_eq!(c.previews(&s).unwrap(), [open.clone()]);
    assert_eq!(c.sessions_with_previews().unwrap(), std::slice::from_ref(&s));
    c.end_preview(&s, &open.out).unwrap();
    assert!(c.previews(&s).unwrap().is_empty());
}

#[test]
fn a_session_has_so_many_and_takes_them_along() {
    let (c, s) = (home(), id("s"));
    let begun = |n| c.begin_preview(&s, &id(&format!("msg-{n}")), &address(None)).unwrap();
    assert_eq!((0..30).filter(|n| begun(*n)).count(), 16);
    sql(&c, "DELETE FROM sessions");
    assert!(c.sessions_with_previews().unwrap().is_empty());
}
