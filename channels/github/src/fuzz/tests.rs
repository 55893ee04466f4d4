#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn event(data in near("github")) {
        super::event(&data);
    }

    #[test]
    fn signature(data in near("github_signature")) {
        super::signature(&data);
    }

    #[test]
    fn ids(data in near("github_ids")) {
        super::ids(&data);
    }
}
