#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn update(data in near("telegram")) {
        super::update(&data);
    }

    #[test]
    fn ids(data in near("telegram_ids")) {
        super::ids(&data);
    }
}
