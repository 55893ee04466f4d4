#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::proptest;

proptest! {
    #[test]
    fn message(data in near("whatsapp")) {
        super::message(&data);
    }

    #[test]
    fn node(data in near("whatsapp_nodes")) {
        super::node(&data);
    }

    #[test]
    fn ids(data in near("whatsapp_ids")) {
        super::ids(&data);
    }
}
