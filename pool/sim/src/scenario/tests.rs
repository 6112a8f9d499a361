//! The quickest stories, where the environment names a program to tell them against; and what needs none.

use std::collections::BTreeSet;

use super::{Group, Options, Verdict};

#[test]
fn every_story_has_a_name_of_its_own_in_its_group_and_says_what_it_is_about() {
    for group in [Group::Scenario, Group::Failure, Group::Security] {
        let names: BTreeSet<_> = group.list().map(|entry| entry.name).collect();
        assert_eq!(names.len(), group.list().count());
        assert!(group.list().all(|entry| !entry.about.is_empty()));
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused_and_the_known_ones_are_told() {
    let options = Options { program: "/nowhere".into() };
    let error = Group::Failure.run("rpc-up", &options).await.unwrap_err().to_string();
    assert!(error.contains("\"rpc-up\"") && error.contains("rpc-down, zmq-disconnect"), "{error}");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_a_failed_verdict_that_names_it() {
    let options = Options { program: "/nowhere/warppool".into() };
    let verdict = Group::Scenario.run("solo-block-found", &options).await.unwrap();
    assert!(!verdict.passed);
    assert!(verdict.to_string().contains("/nowhere/warppool cannot be started"), "{verdict}");
}

#[tokio::test]
async fn a_program_that_is_no_pool_is_a_failed_verdict() {
    let program = ["/bin/false", "/usr/bin/false"].into_iter().find(|path| std::path::Path::new(path).exists());
    let Some(program) = program else { return println!("NOT RUN: this system has no program `false`") };
    let verdict = Group::Security.run("deep-json", &Options { program: program.into() }).await.unwrap();
    assert!(verdict.to_string().contains("the pool ends at its start"), "{verdict}");
}

#[test]
fn a_verdict_reads_as_one_line_for_each_thing_looked_at() {
    let verdict = Verdict { name: "x", passed: false, seconds: 1.25, lines: vec!["ok: a".into(), "FAILED: b".into()] };
    assert_eq!(verdict.to_string(), "x: FAILED in 1.2 s\n  ok: a\n  FAILED: b");
    assert_eq!(serde_json::to_value(&verdict).unwrap()["lines"][1], "FAILED: b");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickest_stories_pass_against_the_program_named_in_warppool_bin() {
    let Some(program) = std::env::var_os("WARPPOOL_BIN") else {
        return println!("NOT RUN: WARPPOOL_BIN names no program to tell the stories against");
    };
    let options = Options { program: program.into() };
    for (group, name) in [(Group::Scenario, "solo-block-found"), (Group::Security, "foreign-protocols")] {
        let verdict = group.run(name, &options).await.unwrap();
        assert!(verdict.passed, "{verdict}");
    }
}
