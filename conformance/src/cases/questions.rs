//! Questions of the agent.

use super::{Case, case};
use crate::peer::{Offer, Seen};
use crate::rig::Rig;
use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::{Address, Answer, AnswerOutcome, Body, Choice, Question, QuestionId};

pub(super) const CASES: &[Case] = &[
    case!(
        "Questions",
        "question",
        "a question that can be answered: by buttons, or by typing a number",
        [],
        question
    ),
    case!(
        "Questions",
        "answered",
        "a button is pressed, the card shows the choice",
        [buttons],
        answered
    ),
    case!(
        "Questions",
        "refused answer",
        "somebody who may not answer changes nothing",
        [buttons],
        refused
    ),
    case!("Questions", "late answer", "a button of a question that is over", [buttons], late),
    case!(
        "Questions",
        "answer after restart",
        "buttons work after the host was killed",
        [buttons],
        restarted
    ),
    case!(
        "Questions",
        "answer comes again",
        "an answer that the host could not take is not lost",
        [buttons],
        again
    ),
    case!("Questions", "hostile options", "options with any text and any value", [], hostile),
];

fn choice(label: &str, selected: &str, value: &str) -> Choice {
    Choice { label: label.into(), selected_label: selected.into(), value: value.into() }
}

fn ask(options: Vec<Choice>) -> Result<Question> {
    Ok(Question {
        question_id: QuestionId::parse(format!("appr-1764000000000-{}", "f".repeat(48)))?,
        title: "Deploy".into(),
        question: "Deploy **version 2** now?".into(),
        options,
    })
}

fn deploy() -> Result<Question> {
    ask(vec![
        choice("Yes", "Deployed", "yes"),
        choice("Tomorrow", "Put off", "later"),
        choice("Never", "Refused", "no"),
    ])
}

/// Asks; returns the message with the buttons.
async fn asked(rig: &mut Rig, at: &Address, question: &Question) -> Result<Seen> {
    let message = rig.outgoing(at, Body::Ask(question.clone()));
    rig.send(&message).await?;
    let labels: Vec<String> = question.options.iter().map(|o| o.label.clone()).collect();
    rig.sees("the buttons", |shown| shown.iter().find(|s| s.buttons.len() == labels.len()).cloned())
        .await
}

async fn answer(rig: &mut Rig, number: usize) -> Result<Answer> {
    rig.hears("the answer", |heard| heard.answers.get(number).cloned()).await
}

async fn question(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let question = deploy()?;
    if rig.profile.buttons == Offer::Yes {
        let seen = asked(rig, &at, &question).await?;
        ensure!(seen.buttons == ["Yes", "Tomorrow", "Never"], "the buttons are {:?}", seen.buttons);
        let good = seen.text.contains("Deploy") && seen.text.contains("version 2");
        ensure!(good, "the question is {:?}", seen.text);
        return Ok(());
    }
    let message = rig.outgoing(&at, Body::Ask(question));
    rig.send(&message).await?;
    let find = |shown: &[Seen]| shown.iter().find(|s| s.text.contains("Never")).cloned();
    let seen = rig.sees("the question", find).await?;
    for words in ["version 2", "1) Yes", "2) Tomorrow", "3) Never"] {
        ensure!(seen.text.contains(words), "{words:?} is missing in {:?}", seen.text);
    }
    Ok(())
}

async fn answered(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let question = deploy()?;
    rig.host.outcome(AnswerOutcome::Taken { label: "Put off".into() });
    let seen = asked(rig, &at, &question).await?;
    rig.peer.click(&seen.id, "Tomorrow", "ann").await?;
    let got = answer(rig, 0).await?;
    let (ann, _) = rig.peer.person("ann");
    ensure!(got.question == question.question_id, "the question is {}", got.question);
    ensure!(got.value == "later", "the value is {:?}", got.value);
    ensure!(got.sender.handle == ann, "answered by {:?}", got.sender);
    ensure!(got.channel.as_str() == rig.peer.channel().name, "on {}", got.channel);
    shows_choice(rig, &seen.id, "Put off").await
}

async fn shows_choice(rig: &mut Rig, id: &str, label: &str) -> Result<()> {
    let find =
        |shown: &[Seen]| shown.iter().find(|s| s.id == id && s.text.contains(label)).cloned();
    let seen = rig.sees("the choice on the card", find).await?;
    ensure!(seen.buttons.is_empty(), "the buttons are still there: {:?}", seen.buttons);
    ensure!(seen.text.contains("version 2"), "the question is gone: {:?}", seen.text);
    Ok(())
}

async fn refused(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.host.outcome(AnswerOutcome::Refused { why: "only the owner may answer".into() });
    let seen = asked(rig, &at, &deploy()?).await?;
    rig.peer.click(&seen.id, "Yes", "ann").await?;
    answer(rig, 0).await?;
    // The buttons stay: this answer comes from them.
    rig.host.outcome(AnswerOutcome::Taken { label: "Deployed".into() });
    rig.peer.click(&seen.id, "Yes", "ann").await?;
    answer(rig, 1).await?;
    shows_choice(rig, &seen.id, "Deployed").await
}

async fn late(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.host.outcome(AnswerOutcome::Late);
    let seen = asked(rig, &at, &deploy()?).await?;
    rig.peer.click(&seen.id, "Yes", "ann").await?;
    answer(rig, 0).await?;
    let gone =
        |shown: &[Seen]| shown.iter().find(|s| s.id == seen.id && s.buttons.is_empty()).cloned();
    let after = rig.sees("that the buttons go away", gone).await?;
    ensure!(after.text.contains("version 2"), "the question is gone: {:?}", after.text);
    Ok(())
}

async fn restarted(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.host.outcome(AnswerOutcome::Taken { label: "Refused".into() });
    let seen = asked(rig, &at, &deploy()?).await?;
    rig.crash().await?;
    rig.start().await?;
    rig.peer.click(&seen.id, "Never", "ann").await?;
    let got = answer(rig, 0).await?;
    ensure!(got.value == "no", "the value is {:?}", got.value);
    shows_choice(rig, &seen.id, "Refused").await
}

async fn again(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    rig.host.outcome(AnswerOutcome::Taken { label: "Deployed".into() });
    let seen = asked(rig, &at, &deploy()?).await?;
    rig.host.refuse(2);
    rig.peer.click(&seen.id, "Yes", "ann").await?;
    let _hurry = rig.hurry();
    let got = answer(rig, 0).await?;
    ensure!(got.value == "yes", "the value is {:?}", got.value);
    shows_choice(rig, &seen.id, "Deployed").await
}

async fn hostile(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let odd = "ü|:\"'<>&;\u{1F600}".repeat(30);
    let question = ask(vec![
        choice("<b>&\"' 😀 שלום", "one", &odd),
        choice(&"a very long label ".repeat(12), "two", ""),
        choice("two\nlines\tof label", "three", "{\"json\":[1]}"),
    ])?;
    if rig.profile.buttons != Offer::Yes {
        let message = rig.outgoing(&at, Body::Ask(question));
        rig.send(&message).await?;
        let find = |shown: &[Seen]| shown.iter().find(|s| s.text.contains("of label")).cloned();
        rig.sees("the options", find).await?;
        return Ok(());
    }
    rig.host.outcome(AnswerOutcome::Late);
    for (n, value) in [odd.as_str(), "", "{\"json\":[1]}"].into_iter().enumerate() {
        let before = rig.peer.shown().await?.len();
        let message = rig.outgoing(&at, Body::Ask(question.clone()));
        rig.send(&message).await?;
        let find =
            |shown: &[Seen]| shown.iter().skip(before).find(|s| s.buttons.len() == 3).cloned();
        let seen = rig.sees("the buttons", find).await?;
        let label = seen.buttons.get(n).context("three buttons")?;
        rig.peer.click(&seen.id, label, "ann").await?;
        let got = answer(rig, n).await?;
        ensure!(got.value == value, "button {n} gave {:?}", got.value);
    }
    Ok(())
}
