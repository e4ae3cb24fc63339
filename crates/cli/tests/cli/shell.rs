//! Completion scripts, manual pages and the version.

use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;

#[test]
fn every_shell_gets_a_script_that_knows_the_subcommands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.ok(&format!("completions {shell}"));
        assert!(script.contains("holdout-by") && script.contains("tokenizer"), "{shell}");
        let path = sandbox.write(&format!("script.{shell}"), &script);
        // Where the shell is installed, it reads it.
        let check = Command::new(shell).arg("-n").arg(path).stderr(Stdio::piped()).output();
        if matches!(shell, "bash" | "zsh" | "fish")
            && let Ok(output) = check
        {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    insta::assert_snapshot!(sandbox.failure("completions csh"), @r"
    exit code 2
    error: invalid value 'csh' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

      tip: a similar value exists: 'zsh'

    For more information, try '--help'.
    ");
}

#[test]
fn every_subcommand_has_a_manual_page_with_its_examples() {
    let sandbox = Sandbox::new();
    sandbox.ok("man --out share/man1");
    let help = sandbox.ok("--help");
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names = commands.map_while(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.len() >= 14 && names.contains(&"prepare"), "{names:?}");
    for name in names {
        let page = sandbox.read(&format!("share/man1/mixdown-{name}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(sandbox.read("share/man1/mixdown-prepare.1").contains("array job"));
}

#[test]
fn the_version_says_what_it_reads() {
    let sandbox = Sandbox::new();
    let version = sandbox.ok("--version");
    let expected = format!("mixdown {}\ncorpus format: up to ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&expected) && version.contains("schedule version: "), "{version}");
    assert_eq!(sandbox.ok("-V").trim(), format!("mixdown {}", env!("CARGO_PKG_VERSION")));
}
