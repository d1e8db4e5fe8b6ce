//! Blobs made by hand, blobs damaged on purpose, and the kernel that runs the tests.

mod blob;
mod damage;
mod functions;
mod kernel;

use self::blob::Blob;
use super::{Absent, Btf, BtfError, Field, Index, Wanted, format::Kind};

type Outcome = Result<(), BtfError>;

/// Builds the index of a blob for one path, and follows the path.
fn lookup(blob: &Blob, path: &str) -> Result<Result<Field, Absent>, BtfError> {
    let mut wanted = Wanted::new();
    wanted.path(path)?;
    Btf::parse(blob.bytes())?.index(&wanted)?.lookup(path)
}

fn field(blob: &Blob, path: &str) -> Result<Option<(u32, u32)>, BtfError> {
    Ok(lookup(blob, path)?
        .ok()
        .map(|field| (field.offset, field.size)))
}

fn absent(blob: &Blob, path: &str) -> Result<Option<Absent>, BtfError> {
    Ok(lookup(blob, path)?.err())
}

#[test]
fn finds_members_and_nested_members() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let inner = blob.structure("inner", 8, &[("a", int, 0), ("b", int, 4)]);
    let pointer = blob.pointer(inner);
    blob.structure(
        "outer",
        24,
        &[("p", pointer, 0), ("i", inner, 8), ("z", int, 16)],
    );
    assert_eq!(field(&blob, "outer.p")?, Some((0, 8)));
    assert_eq!(field(&blob, "outer.i")?, Some((8, 8)));
    assert_eq!(field(&blob, "outer.i.b")?, Some((12, 4)));
    assert_eq!(field(&blob, "outer.z")?, Some((16, 4)));
    Ok(())
}

#[test]
fn a_path_ends_at_a_pointer() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let inner = blob.structure("inner", 4, &[("a", int, 0)]);
    let pointer = blob.pointer(inner);
    blob.structure("outer", 8, &[("p", pointer, 0)]);
    assert!(matches!(
        absent(&blob, "outer.p.a")?,
        Some(Absent::NotAStruct { .. })
    ));
    assert!(matches!(
        absent(&blob, "outer.p[0]")?,
        Some(Absent::NotAnArray(_))
    ));
    Ok(())
}

#[test]
fn what_is_not_there_is_absent_and_says_why() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let array = blob.array(int, 2);
    blob.structure("s", 8, &[("a", array, 0)]);
    blob.enumeration("e", false, &[("TWO", 2)]);
    assert!(matches!(absent(&blob, "t.a")?, Some(Absent::NoType(name)) if name == "t"));
    assert!(
        matches!(absent(&blob, "s.b")?, Some(Absent::NoMember { member, .. }) if member == "b")
    );
    assert!(
        matches!(absent(&blob, "s.a[NONE]")?, Some(Absent::NoEnumerator(name)) if name == "NONE")
    );
    let out = absent(&blob, "s.a[TWO]")?;
    assert!(matches!(
        out,
        Some(Absent::OutOfBounds {
            index: 2,
            len: 2,
            ..
        })
    ));
    // A name that only begins like one that is there.
    assert_eq!(field(&blob, "s.aa")?, None);
    Ok(())
}

#[test]
fn searches_anonymous_structs_and_unions() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let deep = blob.structure("", 8, &[("x", int, 0), ("y", int, 4)]);
    let middle = blob.composite(Kind::Union, "", 8, &[("word", int, 0), ("", deep, 0)]);
    let middle = blob.link(Kind::Const, "", middle);
    blob.structure("s", 16, &[("first", int, 0), ("", middle, 8)]);
    assert_eq!(field(&blob, "s.word")?, Some((8, 4)));
    assert_eq!(field(&blob, "s.y")?, Some((12, 4)));
    assert_eq!(field(&blob, "s.z")?, None);
    Ok(())
}

#[test]
fn sees_through_typedefs_and_qualifiers() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let atomic = blob.structure("", 4, &[("counter", int, 0)]);
    let mut ty = blob.link(Kind::Typedef, "atomic_t", atomic);
    for kind in [
        Kind::Volatile,
        Kind::Const,
        Kind::Typedef,
        Kind::TypeTag,
        Kind::Restrict,
    ] {
        ty = blob.link(kind, "link", ty);
    }
    blob.structure("s", 8, &[("a", ty, 4)]);
    assert_eq!(field(&blob, "s.a.counter")?, Some((4, 4)));
    assert_eq!(field(&blob, "s.a")?, Some((4, 4)));
    assert_eq!(field(&blob, "atomic_t.counter")?, Some((0, 4)));
    Ok(())
}

#[test]
fn an_array_is_indexed_by_enumerator_or_number() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let element = blob.structure("element", 12, &[("a", int, 0), ("count", int, 8)]);
    let array = blob.array(element, 4);
    let rows = blob.array(array, 2);
    let open = blob.array(int, 0);
    blob.enumeration("", false, &[("ZERO", 0), ("THREE", 3)]);
    blob.structure(
        "s",
        176,
        &[("v", array, 8), ("m", rows, 64), ("open", open, 176)],
    );
    assert_eq!(field(&blob, "s.v")?, Some((8, 48)));
    assert_eq!(field(&blob, "s.v[ZERO]")?, Some((8, 12)));
    assert_eq!(field(&blob, "s.v[THREE].count")?, Some((52, 4)));
    assert_eq!(field(&blob, "s.v[2]")?, Some((32, 12)));
    assert_eq!(
        field(&blob, "s.m[1][THREE].count")?,
        Some((64 + 48 + 36 + 8, 4))
    );
    // A flexible array member: its length is not in BTF.
    assert_eq!(field(&blob, "s.open")?, Some((176, 0)));
    assert_eq!(field(&blob, "s.open[5]")?, Some((196, 4)));
    Ok(())
}

#[test]
fn the_first_alternative_that_exists_wins() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    blob.structure("s", 8, &[("old", int, 0), ("both", int, 4)]);
    assert_eq!(field(&blob, "s.new | s.old")?, Some((0, 4)));
    assert_eq!(field(&blob, "s.both | s.old")?, Some((4, 4)));
    assert_eq!(field(&blob, "none.a|s.old")?, Some((0, 4)));
    let reason = absent(&blob, "s.new | s.newer")?;
    assert!(matches!(reason, Some(Absent::NoMember { member, .. }) if member == "new"));
    Ok(())
}

#[test]
fn a_bit_field_is_absent_unless_it_is_whole_bytes() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 0);
    let fields = [
        ("plain", int, (0, 0)),
        ("bit", int, (1, 32)),
        ("odd", int, (8, 33)),
        ("byte", int, (8, 48)),
        ("twelve", int, (12, 48)),
    ];
    blob.bit_fields("s", 8, &fields);
    // The older form: no flag, an integer type of three bits.
    let three = blob.raw("three", (Kind::Int as u32) << 24, 4, &[3]);
    blob.composite(
        Kind::Struct,
        "old",
        4,
        &[("bits", three, 0), ("odd", int, 3)],
    );
    assert_eq!(field(&blob, "s.plain")?, Some((0, 4)));
    assert_eq!(field(&blob, "s.byte")?, Some((6, 1)));
    for path in ["s.bit", "s.odd", "s.twelve", "old.bits"] {
        assert_eq!(
            absent(&blob, path)?,
            Some(Absent::BitField(path.to_owned()))
        );
    }
    Ok(())
}

#[test]
fn a_definition_is_preferred_to_a_forward_declaration() -> Outcome {
    let mut blob = Blob::new();
    blob.link(Kind::Fwd, "s", 0);
    blob.link(Kind::Fwd, "only", 0);
    let int = blob.int("int", 4, 1);
    // Two definitions of one name, of which one knows more.
    blob.structure("s", 8, &[("a", int, 4)]);
    blob.structure("s", 8, &[("a", int, 4), ("b", int, 0)]);
    blob.link(Kind::Fwd, "s", 0);
    assert_eq!(field(&blob, "s.a")?, Some((4, 4)));
    assert_eq!(field(&blob, "s.b")?, Some((0, 4)));
    assert!(matches!(absent(&blob, "only.a")?, Some(Absent::NoType(_))));
    // A third that contradicts them: nobody can tell which is meant.
    blob.structure("s", 12, &[("a", int, 8)]);
    assert_eq!(
        absent(&blob, "s.a")?,
        Some(Absent::Ambiguous("s.a".to_owned()))
    );
    Ok(())
}

#[test]
fn types_far_apart_are_found() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    let mut last = int;
    for nth in 0..300 {
        let name = format!("s{nth}");
        last = blob.structure(&name, 4 * (nth + 2), &[("in", last, 4), ("own", int, 0)]);
    }
    assert_eq!(field(&blob, "s299.in.in.in")?, Some((12, 4 * 298)));
    assert_eq!(field(&blob, "s0.in")?, Some((4, 4)));
    assert_eq!(field(&blob, "s150.own")?, Some((0, 4)));
    Ok(())
}

#[test]
fn a_path_must_have_the_form_of_one() {
    let bad = [
        "",
        "s",
        "s.",
        ".a",
        "s..a",
        "s.a[",
        "s.a[]",
        "s.a[1",
        "s.a[1x]",
        "s.a[-1]",
        "s.a]",
        "s.a[1]b",
        "s.a |",
        "| s.a",
        "s[1].a",
        "s.a b",
        "s.a[99999999999]",
        "s->a",
    ];
    for path in bad {
        let error = Wanted::new().path(path).map(|_| ());
        assert!(
            matches!(error, Err(BtfError::Path { .. })),
            "{path:?}: {error:?}"
        );
    }
}

#[test]
fn a_name_that_was_not_announced_is_an_error() -> Outcome {
    let mut blob = Blob::new();
    let int = blob.int("int", 4, 1);
    blob.structure("s", 4, &[("a", int, 0)]);
    let btf = Btf::parse(blob.bytes())?;
    let index: Index<'_> = btf.index(&Wanted::new())?;
    assert!(matches!(index.field("s.a"), Err(BtfError::NotWanted { name }) if name == "s"));
    assert!(matches!(index.func("f"), Err(BtfError::NotWanted { .. })));
    assert!(matches!(
        index.enumerator("E"),
        Err(BtfError::NotWanted { .. })
    ));
    assert!(matches!(
        index.tracepoint_args("t"),
        Err(BtfError::NotWanted { .. })
    ));
    assert!(matches!(
        index.size_of("s"),
        Err(BtfError::NotWanted { .. })
    ));
    Ok(())
}
