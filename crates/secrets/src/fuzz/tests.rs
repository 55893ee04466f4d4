#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn env(data in near("env")) {
        super::env(&data);
    }
}
