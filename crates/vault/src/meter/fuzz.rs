//! What holds for any answer of a model.

use super::prices::Prices;
use super::tap::Tap;

/// An answer means the same however it is cut, and what it costs is a number.
pub fn answer(data: &[u8]) {
    let [cut, body @ ..] = data else { return };
    let mut whole = Tap::default();
    whole.push(body);
    let (mut parts, size) = (Tap::default(), usize::from(*cut).max(1));
    body.chunks(size).for_each(|part| parts.push(part));
    assert_eq!((whole.usage, whole.model()), (parts.usage, parts.model()));
    assert!(whole.model().len() <= 128);
    assert!(Prices::ours().cost(whole.model(), &whole.usage) < 1 << 60);
}
