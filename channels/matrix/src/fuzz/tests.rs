#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn event(data in near("matrix")) {
        super::event(&data);
    }

    #[test]
    fn ids(data in near("matrix_ids")) {
        super::ids(&data);
    }
}
