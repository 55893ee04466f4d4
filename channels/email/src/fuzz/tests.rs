#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn mail(data in near("email")) {
        super::mail(&data);
    }

    #[test]
    fn resend(data in near("resend")) {
        super::resend(&data);
    }

    #[test]
    fn resend_signature(data in near("resend_signature")) {
        super::resend_signature(&data);
    }

    #[test]
    fn ids(data in near("email_ids")) {
        super::ids(&data);
    }
}
