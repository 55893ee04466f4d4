#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn split(data in near("split")) {
        super::split(&data);
    }

    #[test]
    fn markdown(data in near("markdown")) {
        super::markdown(&data);
    }
}
