use super::*;

const STORE: Action = Action::Store { space: 1, number: 7, keyed: false };
const KEYED: Action = Action::Store { space: 1, number: 7, keyed: true };
const FORGET: Action = Action::Forget { space: 1, number: 7 };
const CREATE: Action = Action::Create { space: 1 };
const DROP: Action = Action::Drop { space: 1 };

/// An oracle after some entries, for episode 7 of space 1.
struct Scene(Oracle);

impl Scene {
    /// Change 0 has created the space.
    fn new() -> Self {
        let mut scene = Self(Oracle::default());
        scene.sent(0, CREATE).answered(0, Answer::Done);
        scene
    }

    fn sent(&mut self, change: Change, action: Action) -> &mut Self {
        self.0.enter(&Entry::Sent(change, action));
        self
    }

    fn answered(&mut self, change: Change, answer: Answer) -> &mut Self {
        self.0.enter(&Entry::Answered(change, answer));
        self
    }

    fn saw(&mut self, found: Option<(u64, u64)>) -> &mut Self {
        self.0.enter(&Entry::SawEpisode { space: 1, number: 7, found });
        self
    }

    fn allowed(&self) -> Vec<State> {
        self.0.allowed(1, &self.0.spaces[1].episodes[&7])
    }

    #[track_caller]
    fn is_right(&self) {
        assert_eq!(self.0.wrong_answers.count, 0, "{:?}", self.0.wrong_answers);
    }

    #[track_caller]
    fn is_wrong(&self) {
        assert_eq!(self.0.wrong_answers.count, 1, "{:?}", self.0.wrong_answers);
    }
}

#[test]
fn what_is_under_way_may_have_happened_or_not() {
    let mut scene = Scene::new();
    assert_eq!(scene.sent(1, STORE).allowed(), [None, Some(1)]);
    assert_eq!(scene.sent(2, STORE).allowed(), [None, Some(1), Some(2)]);
    assert_eq!(scene.answered(1, Answer::Created(5)).allowed(), [Some(1), Some(2)]);
    assert_eq!(scene.sent(3, FORGET).allowed(), [None, Some(1), Some(2)]);
    assert_eq!(scene.answered(2, Answer::Replaced(6)).allowed(), [None, Some(2)]);
    assert_eq!(scene.answered(3, Answer::Forgotten(8)).allowed(), [None]);
    scene.is_right();
}

#[test]
fn a_refused_change_has_changed_nothing_and_an_unsure_one_perhaps() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, FORGET);
    assert_eq!(scene.answered(2, Answer::Refused("BUSY".into())).allowed(), [Some(1)]);
    scene.sent(3, STORE).answered(3, Answer::Unsure("READONLY".into()));
    assert_eq!(scene.allowed(), [Some(1), Some(3)]);
    assert_eq!(scene.saw(Some((3, 9))).allowed(), [Some(3)]);
    scene.is_right();
}

#[test]
fn what_was_under_way_at_a_crash_is_settled_by_a_look_or_a_later_answer() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, STORE).sent(3, FORGET);
    assert_eq!(scene.allowed(), [None, Some(1), Some(2)]);
    let mut seen = Scene::new();
    seen.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, STORE).sent(3, FORGET);
    assert_eq!(seen.saw(None).allowed(), [None]);
    assert_eq!(scene.sent(4, STORE).answered(4, Answer::Created(7)).allowed(), [Some(4)]);
    scene.is_right();
}

#[test]
fn outcomes_must_fit_what_was_there() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Replaced(5)).is_wrong();
    let mut scene = Scene::new();
    scene.sent(1, FORGET).answered(1, Answer::Forgotten(5)).is_wrong();
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, STORE);
    scene.answered(2, Answer::Created(6)).is_wrong();
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Existing(5)).is_wrong();
    let mut scene = Scene::new();
    scene.answered(9, Answer::Done).is_wrong();
}

#[test]
fn sequences_of_an_episode_grow_and_a_shard_gives_each_once() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, STORE);
    scene.answered(2, Answer::Replaced(5)).is_wrong();
    assert_eq!(scene.0.sequence_given_too_often(2), None);
    assert_eq!(scene.0.sequence_given_too_often(1), Some(5));
}

#[test]
fn a_known_key_changes_nothing_and_answers_as_the_first_time() {
    let mut scene = Scene::new();
    scene.sent(1, KEYED).answered(1, Answer::Created(5));
    scene.sent(2, FORGET).answered(2, Answer::Forgotten(6)).sent(3, Action::Repeat { of: 1 });
    assert_eq!(scene.allowed(), [None], "the repetition cannot bring it back");
    scene.answered(3, Answer::Existing(5)).is_right();
    assert_eq!(scene.allowed(), [None]);
    scene.sent(4, Action::Repeat { of: 1 }).answered(4, Answer::Existing(6)).is_wrong();
    let mut scene = Scene::new();
    scene.sent(1, KEYED).answered(1, Answer::Created(5)).sent(2, Action::Repeat { of: 1 });
    scene.answered(2, Answer::Replaced(7)).is_wrong();
}

#[test]
fn a_repetition_tells_whether_the_first_had_arrived() {
    let mut scene = Scene::new();
    scene.sent(1, KEYED).sent(2, Action::Repeat { of: 1 });
    assert_eq!(scene.allowed(), [None, Some(1)]);
    let mut arrived = Scene::new();
    arrived.sent(1, KEYED).saw(Some((1, 5))).sent(2, Action::Repeat { of: 1 });
    arrived.answered(2, Answer::Created(6)).is_wrong();
    scene.saw(None).sent(3, Action::Repeat { of: 1 }).answered(3, Answer::Created(9));
    assert_eq!(scene.allowed(), [Some(1)]);
    assert_eq!(scene.0.sequence(1), Some(9));
    scene.sent(4, Action::Repeat { of: 1 }).answered(4, Answer::Existing(9)).is_right();
}

#[test]
fn a_drop_takes_what_was_answered_before_it_was_sent() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, DROP);
    assert_eq!(scene.allowed(), [None, Some(1)]);
    assert_eq!(scene.0.allowed_space(1), [None, Some(0)]);
    scene.answered(2, Answer::Done);
    assert_eq!(scene.allowed(), [None]);
    assert_eq!(scene.0.allowed_space(1), [None]);
    scene.sent(3, CREATE).answered(3, Answer::Done);
    assert_eq!(scene.0.allowed_space(1), [Some(3)]);
    assert_eq!(scene.allowed(), [None], "another space of the same name");
    // On another shard, whose sequences are its own.
    scene.sent(4, STORE).answered(4, Answer::Created(3)).is_right();
    assert_eq!(scene.allowed(), [Some(4)]);
}

#[test]
fn a_store_beside_a_drop_may_have_been_first_or_last() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).sent(2, DROP).answered(1, Answer::Created(5));
    assert_eq!(scene.allowed(), [None, Some(1)]);
    scene.answered(2, Answer::Done);
    assert_eq!(scene.allowed(), [None, Some(1)]);
    let mut scene = Scene::new();
    scene.sent(1, STORE).sent(2, DROP).answered(2, Answer::Done).sent(3, CREATE);
    scene.answered(3, Answer::Done).answered(1, Answer::Created(5));
    assert_eq!(scene.allowed(), [None, Some(1)]);
    scene.is_right();
    // Sent before the drop was answered and carried out before it, in place of change 1.
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, DROP).sent(3, STORE);
    scene.answered(2, Answer::Done).answered(3, Answer::Replaced(6)).is_right();
    assert_eq!(scene.allowed(), [None, Some(3)]);
}

#[test]
fn a_space_that_is_found_missing_takes_its_episodes_with_it() {
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, DROP);
    scene.0.enter(&Entry::SawSpace { space: 1, found: None });
    assert_eq!(scene.allowed(), [None]);
    assert!(!scene.0.spaces[1].is_there());
    let mut scene = Scene::new();
    scene.sent(1, STORE).answered(1, Answer::Created(5)).sent(2, DROP);
    scene.0.enter(&Entry::SawSpace { space: 1, found: Some(0) });
    assert_eq!(scene.allowed(), [Some(1)]);
}
