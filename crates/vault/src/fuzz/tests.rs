#[path = "../../../../fuzz/near.rs"]
mod near;

use near::near;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_search_is_the_same_however_the_text_is_cut(data in near("vault_scanner")) {
        super::scanner(&data);
    }

    #[test]
    fn frames_of_any_kind_end_and_let_nothing_through(data in near("vault_frames")) {
        super::frames(&data);
    }

    #[test]
    fn an_answer_of_a_model_is_read_the_same_however_it_is_cut(data in near("vault_answer")) {
        super::answer(&data);
    }
}
