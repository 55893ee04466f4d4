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
    fn messages_arrive_as_they_were_sent(data in near("vault_messages")) {
        super::messages(&data);
    }

    #[test]
    fn requests_are_what_the_bytes_say(data in near("vault_requests")) {
        super::requests(&data);
    }

    #[test]
    fn the_name_in_a_hello_is_the_one_that_stands_there(data in near("vault_hello")) {
        super::hello(&data);
    }

    #[test]
    fn what_is_said_on_the_control_socket_is_read_as_written(data in near("vault_control")) {
        super::control(&data);
    }

    #[test]
    fn people_see_what_a_request_does_in_plain_lines(data in near("vault_events")) {
        super::events(&data);
    }

    #[test]
    fn an_answer_of_a_model_is_read_the_same_however_it_is_cut(data in near("vault_answer")) {
        super::answer(&data);
    }
}
