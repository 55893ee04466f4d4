#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn code(data in near("pairing")) {
        super::code(&data);
    }

    #[test]
    fn event(data in near("events")) {
        super::event(&data);
    }
}
