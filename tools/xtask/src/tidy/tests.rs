//! Bad samples, one for each rule, and good ones that look similar.

use super::lexer::{Kind, tokens};
use super::{File, Finding, layers, style, unsafety};
use std::path::Path;

fn findings(path: &str, source: &str, rule: fn(&File<'_>, &mut Vec<Finding>)) -> Vec<String> {
    let mut findings = Vec::new();
    rule(&File::new(Path::new(path), source), &mut findings);
    findings.iter().map(ToString::to_string).collect()
}

fn errors(path: &str, source: &str, rule: fn(&File<'_>, &mut Vec<Finding>)) -> usize {
    findings(path, source, rule).iter().filter(|line| line.contains("error:")).count()
}

#[test]
fn lexer_tells_code_from_text() {
    let source = "let a = \"unsafe // \\\" {\"; // unsafe\nlet r = r#\"\"unsafe\"#; let c = '\\''; let b = b'x'; fn f<'a>(x: &'a str) {} /* a /* b */ c */ z";
    let words: Vec<&str> =
        tokens(source).iter().filter(|token| token.kind == Kind::Word).map(|token| token.text).collect();
    assert_eq!(words, ["let", "a", "let", "r", "let", "c", "let", "b", "b", "fn", "f", "x", "str", "z"]);
}

#[test]
fn layer_edges() {
    assert_eq!(layers::forbidden("service", "mem"), None);
    assert_eq!(layers::forbidden("hal", "riscv"), None);
    assert_eq!(layers::forbidden("apps", "abi"), None);
    for (from, to) in
        [("sched", "hal"), ("mem", "riscv"), ("apps", "hal"), ("io", "service"), ("rt", "trace"), ("unheard", "abi")]
    {
        assert!(layers::forbidden(from, to).is_some(), "{from} -> {to}");
    }
}

#[test]
fn manifests() {
    let check = |text: &str| {
        let mut findings = Vec::new();
        layers::check_manifest(text, Path::new("Cargo.toml"), &mut findings);
        findings.len()
    };
    assert_eq!(check("[lints]\nworkspace = true\n[dependencies]\na = \"1\"\n"), 0);
    assert_eq!(check("[dependencies]\na = \"1\"\n"), 1);
    assert_eq!(check("[lints]\nworkspace = true\n[dependencies]\na = { git = \"x\" }\n"), 1);
}

#[test]
fn unsafe_must_be_justified() {
    let bad = [
        "fn f() { let x = 1; unsafe { g() } }",
        "unsafe impl Send for X {}",
        "// SAFETY: a stale comment.\nlet a = 1;\nlet b = unsafe { g() };",
        "/// Does it.\npub unsafe fn f() {}",
        "/// A trait.\npub unsafe trait T {}",
    ];
    for sample in bad {
        assert_eq!(errors("machine/x/src/a.rs", sample, unsafety::check), 1, "{sample}");
    }
    let good = [
        "fn f() {\n    // SAFETY: x is valid.\n    let x = y(1,\n        unsafe { g() });\n}",
        "// SAFETY: no shared state.\nunsafe impl Send for X {}",
        "/// # Safety\n/// Call once.\n#[inline]\npub unsafe fn f() {}",
        "type F = unsafe extern \"C\" fn(usize);",
        "#[unsafe(naked)] fn f() {}",
        "unsafe extern \"C\" { fn x(); }",
        "// SAFETY: both are alive.\nlet x = unsafe { a() }.with(|y| unsafe { *y });",
        "// SAFETY: forwards.\nunsafe impl GlobalAlloc for A { unsafe fn alloc(&self) {} }",
        "let s = \"unsafe { }\";",
    ];
    for sample in good {
        assert_eq!(findings("machine/x/src/a.rs", sample, unsafety::check), [""; 0], "{sample}");
    }
}

#[test]
fn crate_roots() {
    let check = |source: &str, may: bool| {
        let mut findings = Vec::new();
        unsafety::check_root(&File::new(Path::new("x/src/lib.rs"), source), may, &mut findings);
        findings.len()
    };
    assert_eq!(check("#![forbid(unsafe_code)]", false), 0);
    assert_eq!(check("", false), 1);
    assert_eq!(check("#![expect(unsafe_code)]", true), 1);
    assert_eq!(check("#![expect(unsafe_code, reason = \"traps\")]", true), 0);
}

#[test]
fn heads_and_names() {
    assert_eq!(errors("a/src/queue.rs", "//! Queues.\n", style::check_head), 0);
    assert_eq!(errors("a/src/queue.rs", "fn f() {}\n", style::check_head), 1);
    assert_eq!(errors("a/src/utils.rs", "//! Things.\n", style::check_head), 1);
}

#[test]
fn budgets() {
    let function = |lines: usize| format!("fn f(x: [u8; 2]) {{\n{}}}\n", "    g();\n".repeat(lines));
    assert_eq!(findings("a/src/b.rs", &function(30), style::check_budgets), [""; 0]);
    assert!(findings("a/src/b.rs", &function(50), style::check_budgets)[0].contains("warning"));
    assert_eq!(errors("a/src/b.rs", &function(90), style::check_budgets), 1);
    assert_eq!(errors("a/src/b.rs", &"//\n".repeat(801), style::check_budgets), 1);
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(300), "//\n".repeat(700));
    assert_eq!(errors("a/src/b.rs", &tested, style::check_budgets), 0);
    assert_eq!(errors("a/src/tests.rs", &function(90), style::check_budgets), 0);
}

#[test]
fn words() {
    let bad = [
        ("kernel/a/src/b.rs", "fn f() { x.unwrap(); }"),
        ("base/a/src/b.rs", "fn f() { x.expect(\"oops\"); }"),
        ("kernel/a/src/b.rs", "fn f() { todo!() }"),
        ("kernel/a/src/b.rs", "#[cfg(target_arch = \"riscv64\")] fn f() {}"),
        ("machine/a/src/lib.rs", "#![feature(naked)]"),
        ("base/sched/src/b.rs", "use core::sync::atomic::AtomicU8;"),
        ("user/apps/src/b.rs", concat!("// TO", "DO: later")),
    ];
    for (path, sample) in bad {
        assert_eq!(errors(path, sample, style::check_words), 1, "{sample}");
    }
    let good = [
        ("kernel/a/src/b.rs", "#[cfg(test)] mod tests { fn f() { x.unwrap(); } }"),
        ("kernel/a/src/b.rs", "fn f() { x.unwrap_or(1); x.expect(\"the list is never empty\"); }"),
        ("machine/a/src/b.rs", "#[cfg(target_os = \"none\")] fn f() {}"),
        ("base/sync/src/b.rs", "use core::sync::atomic::AtomicU8;"),
        ("user/apps/src/b.rs", concat!("// TO", "DO(#7): later")),
        ("kernel/a/src/b.rs", "#[cfg(feature = \"x\")] fn f() {}"),
    ];
    for (path, sample) in good {
        assert_eq!(findings(path, sample, style::check_words), [""; 0], "{sample}");
    }
}

#[test]
fn registry_hosts() {
    let mut findings = Vec::new();
    style::check_hosts(Path::new("README.md"), concat!("fine\nsee https://crates", ".io/x\n"), &mut findings);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].line, 2);
}

#[test]
fn modules_of_tests_are_found() {
    let found = |path: &str, source: &str| File::new(Path::new(path), source).test_modules();
    let source = "#[cfg(test)]\nmod fake;\nmod real;\n";
    assert!(found("a/src/lib.rs", source).contains(&"a/src/fake.rs".into()));
    assert!(found("a/src/queue.rs", source).contains(&"a/src/queue/fake.rs".into()));
    assert_eq!(found("a/src/lib.rs", source).len(), 2);
}
