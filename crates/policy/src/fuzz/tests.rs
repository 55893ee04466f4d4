#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn authority(data in near("authority")) {
        super::authority(&data);
    }

    #[test]
    fn paths(data in near("paths")) {
        super::paths(&data);
    }

    #[test]
    fn globs(data in near("globs")) {
        super::globs(&data);
    }

    #[test]
    fn policy(data in near("policy")) {
        super::policy(&data);
    }
}
