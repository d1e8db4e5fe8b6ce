//! No bytes make the decoder or the reader of recordings panic, and what is damaged is not
//! taken for whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use oomtrace::{
    event::{
        Event,
        decode::{DecodeError, Decoder},
        entry::{Entry, Tick},
        recording::{Reader, Writer},
    },
    provenance::Output,
    sinks::{Sink as _, pretty::Pretty},
};
use oomtrace_common::wire::{self, RecordHeader, kind};
use proptest::{collection::vec, prelude::*, sample};

use crate::support::{
    cases, engine,
    make::{lost, opening},
    recordings::{self, ALL},
};

/// Where the header keeps the length of the record.
const LEN_AT: usize = std::mem::offset_of!(RecordHeader, len);

fn kernel_records(entries: &[Entry]) -> impl Iterator<Item = &Bytes> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Kernel(bytes) => Some(bytes),
        _ => None,
    })
}

/// The longest record of each kind, from a kernel with every hook.
fn samples() -> BTreeMap<u16, Bytes> {
    let mut samples: BTreeMap<u16, Bytes> = BTreeMap::new();
    for record in kernel_records(&recordings::named("6.12-v2-fentry").entries) {
        let kind = u16::from_le_bytes([record[0], record[1]]);
        let longest = samples.entry(kind).or_default();
        if record.len() > longest.len() {
            *longest = record.clone();
        }
    }
    samples
}

/// A decoder that has seen a recording's session and symbols.
fn decoder() -> Decoder {
    let mut decoder = Decoder::default();
    for entry in &recordings::named("6.12-v2-fentry").entries {
        if matches!(entry, Entry::Session(_) | Entry::Symbols(_)) {
            decoder.decode(entry).unwrap();
        }
    }
    decoder
}

fn decode(decoder: &mut Decoder, record: &[u8]) -> Result<Option<Event>, DecodeError> {
    let _ = decoder.needs(record);
    decoder.decode(&Entry::Kernel(Bytes::copy_from_slice(record)))
}

/// What damage has let through must not harm the state machine either.
fn handle(event: Event) {
    let mut engine = engine();
    let mut out = Vec::new();
    for before in &recordings::named("6.12-v2-fentry").events[..2] {
        engine.handle(before.clone(), &mut out);
    }
    engine.handle(event, &mut out);
    if let Some(stopped) = recordings::named("6.12-v2-fentry").events.last() {
        engine.handle(stopped.clone(), &mut out);
    }
}

#[test]
fn there_is_a_sample_of_every_kind() {
    let kinds: Vec<u16> = samples().into_keys().collect();
    let all = [
        kind::SIGKILL,
        kind::MARK_VICTIM,
        kind::EXIT,
        kind::OOM_KILL,
        kind::IMAGE,
    ];
    assert_eq!(kinds, all);
}

#[test]
fn every_recorded_record_is_whole() {
    for recording in &*ALL {
        let mut decoder = Decoder::default();
        for entry in &recording.entries {
            let decoded = decoder.decode(entry);
            assert!(decoded.is_ok(), "{}: {decoded:?}", recording.name);
        }
        for record in kernel_records(&recording.entries) {
            let needs = decoder.needs(record);
            assert!(needs.symbols.is_empty(), "{}: {needs:?}", recording.name);
        }
    }
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    let mut decoder = decoder();
    for record in samples().values() {
        assert!(decode(&mut decoder, record).is_ok());
        for len in 0..record.len() {
            let cut = decode(&mut decoder, &record[..len]);
            assert!(cut.is_err(), "cut at {len}: {cut:?}");
        }
    }
}

#[test]
fn a_record_that_is_said_to_be_shorter_never_panics() {
    let mut decoder = decoder();
    let header = size_of::<RecordHeader>();
    for record in samples().values() {
        for len in header..record.len() {
            let mut cut = record[..len].to_vec();
            cut[LEN_AT..LEN_AT + 4].copy_from_slice(&(len as u32).to_le_bytes());
            let _ = decode(&mut decoder, &cut);
        }
        let mut bare = record[..header].to_vec();
        bare[LEN_AT..LEN_AT + 4].copy_from_slice(&(header as u32).to_le_bytes());
        assert!(decode(&mut decoder, &bare).is_err());
    }
}

#[test]
fn no_altered_byte_of_a_record_makes_it_panic() {
    let mut decoder = decoder();
    for record in samples().values() {
        let mut altered = record.to_vec();
        for at in 0..record.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, record[at] ^ 4] {
                altered[at] = value;
                let _ = decode(&mut decoder, &altered);
            }
            altered[at] = record[at];
        }
    }
}

#[test]
fn another_layout_and_an_unknown_kind_are_named() {
    let mut decoder = decoder();
    let mut record = samples()[&kind::EXIT].to_vec();
    record[2] = 99;
    assert_eq!(
        decode(&mut decoder, &record),
        Err(DecodeError::Version { got: 99 })
    );
    record[2] = wire::VERSION as u8;
    record[0] = 99;
    assert_eq!(decode(&mut decoder, &record), Err(DecodeError::Kind(99)));
}

/// The first entries of a recording, as a recording of their own.
fn short() -> Vec<u8> {
    let entries = &recordings::named("6.12-v2-fentry").entries;
    let mut writer = Writer::new(Vec::new()).unwrap();
    for entry in &entries[..12] {
        writer.write(entry).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_recording_is_written_as_it_was_read() {
    for recording in &*ALL {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for entry in &recording.entries {
            writer.write(entry).unwrap();
        }
        let written = writer.finish().unwrap();
        assert!(written == recording.bytes, "{}", recording.name);
    }
}

#[test]
fn a_recording_cut_anywhere_is_noticed() {
    let whole = short();
    assert!(recordings::read(&whole).is_ok());
    for len in 0..whole.len() {
        assert!(recordings::read(&whole[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_recording_that_lacks_a_whole_entry_is_noticed() {
    let whole = short();
    let ticks = [tick_alone(), tick_alone()].concat();
    let magic = &whole[..12];
    // Two entries, and an end that says so; then one of them is taken out.
    let end = [&[255, 8, 0, 0, 0][..], &2_u64.to_le_bytes()].concat();
    assert!(recordings::read(&[magic, &ticks, &end].concat()).is_ok());
    assert!(recordings::read(&[magic, &tick_alone(), &end].concat()).is_err());
}

/// One entry as it stands in a recording.
fn tick_alone() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let now = Tick {
        boottime_ns: 1,
        realtime_ns: 2,
    };
    writer.write(&Entry::Tick(now)).unwrap();
    let whole = writer.finish().unwrap();
    whole[12..whole.len() - 13].to_vec()
}

#[test]
fn no_altered_byte_of_a_recording_makes_it_panic() {
    let mut altered = short();
    for at in 0..altered.len() {
        let was = altered[at];
        for value in [0, 0xff, was ^ 1] {
            altered[at] = value;
            let Ok(reader) = Reader::new(&*altered) else {
                continue;
            };
            // An error ends it: nothing more is read of what is damaged.
            let read: Vec<_> = reader.collect();
            let errors = read.iter().filter(|entry| entry.is_err()).count();
            assert!(errors == 0 || (errors == 1 && read.last().unwrap().is_err()));
        }
        altered[at] = was;
    }
}

/// A recording may be anybody's.
#[test]
fn what_a_recording_says_of_its_tracer_does_not_move_the_cursor() {
    const EVIL: &str = "\x1b[2J\n\u{202e}";
    let mut engine = engine();
    let mut out = Vec::new();
    for mut event in opening() {
        match &mut event {
            Event::Session(session) => EVIL.clone_into(&mut session.version),
            Event::Attached(attached) => EVIL.clone_into(&mut attached.oom_hook),
            _ => {}
        }
        engine.handle(event, &mut out);
    }
    engine.handle(lost(EVIL, 1, 1, 2), &mut out);
    let mut text = Vec::new();
    let mut pretty = Pretty::new(&mut text, false);
    for output in out {
        if let Output::Record(record) = output {
            pretty.write(&record).unwrap();
        }
    }
    drop(pretty);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains(['\x1b', '\u{202e}']), "{text:?}");
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn no_bytes_make_the_decoder_panic(
        bytes in vec(any::<u8>(), 0..600),
        kind in 0..8_u16,
        framed in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if framed && bytes.len() >= size_of::<RecordHeader>() {
            let len = bytes.len() as u32;
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            bytes[2..4].copy_from_slice(&wire::VERSION.to_le_bytes());
            bytes[LEN_AT..LEN_AT + 4].copy_from_slice(&len.to_le_bytes());
        }
        let _ = decode(&mut Decoder::default(), &bytes);
    }

    #[test]
    fn damage_in_several_places_harms_nobody(
        which in any::<sample::Index>(),
        damage in vec((any::<sample::Index>(), any::<u8>()), 1..24),
    ) {
        let samples: Vec<Bytes> = samples().into_values().collect();
        let mut record = which.get(&samples).to_vec();
        for (at, value) in damage {
            // The frame is checked by other tests.
            let at = at.index(record.len());
            if at >= size_of::<RecordHeader>() {
                record[at] = value;
            }
        }
        if let Ok(Some(event)) = decode(&mut decoder(), &record) {
            handle(event);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in vec(any::<u8>(), 0..400),
        begun in any::<bool>(),
    ) {
        let mut file = Vec::new();
        if begun {
            file.extend_from_slice(b"OOMTRACE\x01\0\0\0");
        }
        file.extend(bytes);
        prop_assert!(recordings::read(&file).is_err());
    }
}
