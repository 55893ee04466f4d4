#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn lines(data in near("cli")) {
        super::lines(&data);
    }
}
