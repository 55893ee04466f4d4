#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn said(data in near("emacs")) {
        super::said(&data);
    }
}
