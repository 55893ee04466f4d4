#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn event(data in near("slack")) {
        super::event(&data);
    }

    #[test]
    fn signature(data in near("slack_signature")) {
        super::signature(&data);
    }

    #[test]
    fn ids(data in near("slack_ids")) {
        super::ids(&data);
    }
}
