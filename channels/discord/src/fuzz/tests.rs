#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn event(data in near("discord")) {
        super::event(&data);
    }

    #[test]
    fn ids(data in near("discord_ids")) {
        super::ids(&data);
    }
}
