#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn pieces(data in near("dialects")) {
        super::pieces(&data);
    }

    #[test]
    fn signatures(data in near("signatures")) {
        super::signatures(&data);
    }

    #[test]
    fn files(data in near("files")) {
        super::files(&data);
    }

    #[test]
    fn remote(data in near("remote")) {
        super::remote(&data);
    }

    #[test]
    fn webhook(data in near("webhook")) {
        super::webhook(&data);
    }
}
