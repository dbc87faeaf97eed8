use super::*;
use crate::arena::CHUNK_BYTES;
use crate::io::{Copied, FileEvent, PIECE_BYTES, SLOT_FILE_BYTES, SegmentCopy};

fn clock() -> Clock {
    Clock { wall_us: || 1, monotonic_ns: || 1 }
}

fn io(folder: &Path) -> UringIo {
    let folder = folder.to_path_buf();
    UringIo::new(&UringSettings { folder, worker_cpus: vec![0], clock: clock() }).unwrap()
}

fn next(io: &mut UringIo) -> Completion {
    loop {
        if let Some(completion) = io.complete() {
            return completion;
        }
        io.wait().unwrap();
    }
}

fn read_all(io: &mut UringIo) -> Region {
    let region = Region::new(BYTES as usize).unwrap();
    io.read(Transfer { ticket: 3, segment: 1, offset: 0, region, from: 0, bytes: BYTES as usize });
    let Completion::Read { transfer, result: Ok(()) } = next(io) else { panic!() };
    assert_eq!(transfer.ticket, 3);
    transfer.region
}

/// Not a whole number of the pieces that zeros are written in.
const BYTES: u64 = crate::limits::SEGMENT_BYTES_MIN + 4096;

#[test]
fn a_prepared_segment_takes_a_batch_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    io.prepare(1, BYTES);
    assert!(matches!(next(&mut io), Completion::Prepared { segment: 1, result: Ok(()) }));
    assert_eq!(io.segments().unwrap(), vec![(1, BYTES)]);

    let mut buffer = Buffer { region: Region::new(1 << 20).unwrap(), index: 0 };
    buffer.region[4096..8192].fill(7);
    io.register(std::slice::from_ref(&buffer));
    let write = BatchWrite { batch: 5, segment: 1, offset: 8192, buffer, from: 4096, bytes: 4096 };
    io.write(write);
    let Completion::Written { batch: 5, result: Ok(()), .. } = next(&mut io) else { panic!() };
    let Completion::Flushed { batch: 5, result: Ok(()) } = next(&mut io) else { panic!() };

    let back = read_all(&mut io);
    assert!(back[8192..12288].iter().all(|&byte| byte == 7));
    assert_eq!(back.iter().filter(|&&byte| byte != 0).count(), 4096);

    io.erase_from(1, 8192).unwrap();
    let back = read_all(&mut io);
    assert!(back.iter().all(|&byte| byte == 0));
    io.remove(FileId::log(1)).unwrap();
    assert_eq!(io.segments().unwrap(), vec![]);
}

#[test]
fn a_segment_that_cannot_be_made_is_an_error_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    io.prepare(1, 1 << 60);
    assert!(matches!(next(&mut io), Completion::Prepared { segment: 1, result: Err(_) }));
    assert_eq!(io.segments().unwrap(), vec![]);
}

#[test]
fn a_folder_that_is_missing_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("missing");
    let settings = UringSettings { folder, worker_cpus: vec![], clock: clock() };
    assert_eq!(UringIo::new(&settings).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn overwritten_sectors_and_slots_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    io.prepare(1, BYTES);
    assert!(matches!(next(&mut io), Completion::Prepared { result: Ok(()), .. }));
    let mut region = Region::new(1 << 20).unwrap();
    region[..4096].fill(9);
    io.overwrite(Transfer { ticket: 1, segment: 1, offset: 4096, region, from: 0, bytes: 4096 });
    assert!(matches!(next(&mut io), Completion::Overwritten { result: Ok(()), .. }));
    let back = read_all(&mut io);
    assert!(back[4096..8192].iter().all(|&byte| byte == 9));
    assert_eq!(back.iter().filter(|&&byte| byte != 0).count(), 4096);

    for file in [SlotFile::Anchors, SlotFile::Manifest] {
        assert_eq!(io.slots(file).unwrap(), None);
        io.make_slots(file).unwrap();
        io.write_slot(file, 1, &[5; SECTOR_BYTES]);
        let Completion::SlotWritten { file: own, result: Ok(()) } = next(&mut io) else { panic!() };
        assert_eq!(own, file);
        let slots = io.slots(file).unwrap().unwrap();
        assert_eq!(slots, [[0; SECTOR_BYTES], [5; SECTOR_BYTES]].concat());
    }
}

#[test]
fn a_replaced_segment_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    assert_eq!(io.replace(1, &[1; 8192]).unwrap(), None);
    let kept = io.replace(1, &[2; 8192]).unwrap().unwrap();
    assert_eq!(std::fs::read(folder.path().join(kept)).unwrap(), [1; 8192]);
    let again = io.replace(1, &[3; 4096]).unwrap().unwrap();
    assert_eq!(std::fs::read(folder.path().join(again)).unwrap(), [2; 8192]);
    assert_eq!(io.segments().unwrap(), vec![(1, 4096)]);
}

fn event(io: &mut UringIo) -> FileEvent {
    match next(io) {
        Completion::File(event) => event,
        other => panic!("{other:?}"),
    }
}

fn piece(file: FileId, nth: u64, bytes: usize) -> Piece {
    let mut region = Region::new(PIECE_BYTES).unwrap();
    region.fill(nth as u8 + 1);
    Piece { file, offset: nth * PIECE_BYTES as u64, region, from: 0, bytes }
}

#[test]
fn a_file_is_made_piece_by_piece_mapped_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    let (file, last) = (FileId::columns(7), SECTOR_BYTES);
    io.create_file(file);
    assert!(matches!(event(&mut io), FileEvent::Created { result: Ok(()), .. }));
    // More than may be under way at once.
    for nth in 0..6 {
        io.write_file(piece(file, nth, PIECE_BYTES));
    }
    for _ in 0..6 {
        assert!(matches!(event(&mut io), FileEvent::Written { result: Ok(()), .. }));
    }
    io.write_file(piece(file, 6, last));
    assert!(matches!(event(&mut io), FileEvent::Written { result: Ok(()), .. }));
    io.seal_file(file);
    let FileEvent::Sealed { file: sealed, result: Ok(()) } = event(&mut io) else { panic!() };
    assert_eq!(sealed, file);
    let bytes = 6 * PIECE_BYTES + last;
    assert_eq!(io.files().unwrap(), [(file, bytes as u64)]);
    assert_eq!(io.segments().unwrap(), []);

    let mapped = io.map_file(file).unwrap();
    assert_eq!(mapped.len(), bytes);
    mapped.populate(0..bytes).unwrap();
    mapped.populate(5..5).unwrap();
    let is_whole = |mapped: &[u8]| {
        let mut pieces = mapped.chunks(PIECE_BYTES).enumerate();
        pieces.all(|(nth, piece)| piece.iter().all(|&byte| byte == nth as u8 + 1))
    };
    assert!(is_whole(&mapped));
    io.remove_file(file);
    assert!(matches!(event(&mut io), FileEvent::Removed { result: Ok(()), .. }));
    assert_eq!(io.files().unwrap(), []);
    assert!(is_whole(&mapped), "what is mapped stays readable");
}

#[test]
fn files_that_are_not_as_they_should_be_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    let file = FileId::state(1);
    assert_eq!(io.map_file(file).unwrap_err().kind(), io::ErrorKind::NotFound);
    io.write_file(piece(file, 0, PIECE_BYTES));
    assert!(matches!(event(&mut io), FileEvent::Written { result: Err(_), .. }), "never made");
    io.seal_file(file);
    assert!(matches!(event(&mut io), FileEvent::Sealed { result: Err(_), .. }));
    io.remove_file(file);
    assert!(matches!(event(&mut io), FileEvent::Removed { result: Err(_), .. }));
    std::fs::write(folder.path().join("state-0000000001.chk"), b"x").unwrap();
    io.create_file(file);
    let FileEvent::Created { result: Err(error), .. } = event(&mut io) else { panic!("it exists") };
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_file_that_is_given_up_and_a_segment_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    let file = FileId::columns(1);
    io.create_file(file);
    event(&mut io);
    io.write_file(piece(file, 0, PIECE_BYTES));
    event(&mut io);
    io.remove_file(file);
    assert!(matches!(event(&mut io), FileEvent::Removed { result: Ok(()), .. }));
    io.write_file(piece(file, 1, PIECE_BYTES));
    assert!(matches!(event(&mut io), FileEvent::Written { result: Err(_), .. }));
    io.prepare(1, BYTES);
    assert!(matches!(next(&mut io), Completion::Prepared { result: Ok(()), .. }));
    let names = |io: &UringIo| {
        let info = format!("/proc/self/fdinfo/{}", io.ring.as_raw_fd());
        std::fs::read_to_string(info).unwrap()
    };
    assert!(names(&io).contains("log-0000000001.seg"), "{}", names(&io));
    io.remove_file(FileId::log(1));
    assert!(matches!(event(&mut io), FileEvent::Removed { result: Ok(()), .. }));
    assert!(!names(&io).contains("log-0000000001.seg"), "nothing keeps its space");
    assert_eq!((io.files().unwrap(), io.segments().unwrap()), (vec![], vec![]));
}

#[test]
fn nothing_is_under_way_in_a_ring_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = FileId::columns(1);
    let mut io = io(folder.path());
    io.create_file(file);
    event(&mut io);
    for nth in 0..3 {
        io.write_file(piece(file, nth, PIECE_BYTES));
    }
    drop(io);
    let bytes = std::fs::metadata(folder.path().join(file.to_string())).unwrap().len();
    assert_eq!(bytes, 3 * PIECE_BYTES as u64, "what waited was written too");
}

fn copy(io: &mut UringIo, into: &Path) -> io::Result<Copied> {
    let segments = vec![
        SegmentCopy { segment: 1, bytes: BYTES },
        SegmentCopy { segment: 2, bytes: 3 * 4096 },
        SegmentCopy { segment: 3, bytes: 0 },
    ];
    io.copy_folder(FolderCopy {
        into: into.to_path_buf(),
        sealed: vec![(FileId::state(4), PIECE_BYTES as u64 + 4096)],
        segments,
        segment_bytes: BYTES,
        slots: vec![(SlotFile::Anchors, Box::new([6; SLOT_FILE_BYTES]))],
    });
    match next(io) {
        Completion::Copied { result } => result,
        other => panic!("{other:?}"),
    }
}

/// Three segments of letters and a state file of more than one piece.
fn fill(folder: &Path) {
    for (segment, letter) in [(1, b'a'), (2, b'b'), (3, b'c')] {
        let name = FileId::log(segment).to_string();
        std::fs::write(folder.join(name), vec![letter; BYTES as usize]).unwrap();
    }
    let state = vec![b's'; PIECE_BYTES + 4096];
    std::fs::write(folder.join(FileId::state(4).to_string()), state).unwrap();
}

fn assert_copied(own: &Path, copy: &Path) {
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in [FileId::state(4).to_string(), FileId::log(1).to_string()] {
        assert!(read(own, &name) == read(copy, &name), "{name}");
    }
    for (segment, bytes) in [(2, 3 * 4096), (3, 0)] {
        let cut = read(copy, &FileId::log(segment).to_string());
        assert_eq!(cut.len() as u64, BYTES);
        assert!(cut[..bytes] == read(own, &FileId::log(segment).to_string())[..bytes]);
        assert!(cut[bytes..].iter().all(|&byte| byte == 0));
    }
    assert_eq!(read(copy, "anchor"), [6; SLOT_FILE_BYTES]);
}

#[test]
fn a_copy_links_what_is_sealed_and_is_not_harmed_by_what_becomes_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (own, into) = (folder.path().join("own"), folder.path().join("copy"));
    std::fs::create_dir(&own).unwrap();
    fill(&own);
    let mut io = io(&own);
    let copied = copy(&mut io, &into).unwrap();
    assert_copied(&own, &into);
    assert_eq!((copied.files_linked, copied.files_copied), (1, 4));
    assert_eq!(copied.bytes_copied, BYTES + 3 * 4096 + SLOT_FILE_BYTES as u64);

    let region = Region::new(1 << 20).unwrap();
    io.overwrite(Transfer { ticket: 1, segment: 1, offset: 0, region, from: 0, bytes: 4096 });
    assert!(matches!(next(&mut io), Completion::Overwritten { result: Ok(()), .. }));
    io.remove_file(FileId::state(4));
    assert!(matches!(event(&mut io), FileEvent::Removed { result: Ok(()), .. }));
    let (again, whole) = (folder.path().join("again"), |name| std::fs::read(into.join(name)));
    assert!(whole(FileId::log(1).to_string()).unwrap().iter().all(|&byte| byte == b'a'));
    assert_eq!(whole(FileId::state(4).to_string()).unwrap().len(), PIECE_BYTES + 4096);

    let missing = copy(&mut io, &again).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(missing.to_string().contains("state-0000000004.chk"), "{missing}");
    let there = copy(&mut io, &into).unwrap_err();
    assert!(there.kind() == io::ErrorKind::AlreadyExists, "{there}");
}

#[test]
fn a_copy_on_another_file_system_is_one_of_bytes() {
    let (folder, other) = (tempfile::tempdir().unwrap(), Path::new("/dev/shm"));
    let device = |path: &Path| fs::stat(path).map(|stat| stat.st_dev).ok();
    if device(other).is_none_or(|device_other| device(folder.path()) == Some(device_other)) {
        eprintln!("skipped: /dev/shm is no other file system here");
        return;
    }
    fill(folder.path());
    let other = tempfile::tempdir_in(other).unwrap();
    let into = other.path().join("copy");
    let copied = copy(&mut io(folder.path()), &into).unwrap();
    assert_copied(folder.path(), &into);
    assert_eq!((copied.files_linked, copied.files_copied), (0, 5));
}

/// How many small pages of a region have memory.
fn pages_there(region: &Region) -> usize {
    let mut pages = vec![0_u8; region.len() / 4096];
    // SAFETY: the region is mapped, and there is a byte for each of its pages.
    let result = unsafe {
        libc::mincore(region.as_ptr().cast_mut().cast(), region.len(), pages.as_mut_ptr())
    };
    assert_eq!(result, 0);
    pages.iter().filter(|&&page| page & 1 == 1).count()
}

#[test]
fn memory_is_brought_in_changes_nothing_and_may_cease_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    for has_workers in [true, false] {
        if !has_workers {
            io.memory_calls.forget_workers();
        }
        let mut regions: Vec<_> = (0..5).map(|_| Region::new(CHUNK_BYTES).unwrap()).collect();
        regions[0][5] = 7;
        assert_eq!(pages_there(&regions[1]), 0);
        for (nth, region) in (0..).zip(&regions) {
            io.bring_in(Purpose::Chunk(nth), region.stretch(0..CHUNK_BYTES));
        }
        let mut there: Vec<u32> = (0..5)
            .map(|_| match next(&mut io) {
                Completion::BroughtIn { purpose: Purpose::Chunk(nth), result: Ok(()) } => nth,
                other => panic!("{other:?}"),
            })
            .collect();
        there.sort_unstable();
        assert_eq!(there, [0, 1, 2, 3, 4]);
        for region in &regions {
            assert_eq!(pages_there(region), CHUNK_BYTES / 4096);
        }
        assert_eq!((regions[0][5], regions[0].iter().filter(|byte| **byte != 0).count()), (7, 1));
        assert!(regions[4].iter().all(|byte| *byte == 0));

        io.bring_in(Purpose::Consolidation(9), regions[0].stretch(0..4096));
        drop(regions);
        let purpose = Purpose::Consolidation(9);
        let Completion::BroughtIn { purpose: got, .. } = next(&mut io) else { panic!() };
        assert_eq!(got, purpose);
    }
    let region = Region::new(CHUNK_BYTES).unwrap();
    io.memory_calls = MemoryCalls::new(&io.ring);
    io.bring_in(Purpose::Chunk(0), region.stretch(0..CHUNK_BYTES));
    drop((region, io));
}

#[test]
fn a_file_that_is_let_go_is_closed_by_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let mut io = io(folder.path());
    fill(folder.path());
    let state = folder.path().join(FileId::state(4).to_string());
    let is_open = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let mut open = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        open.any(|file| file == state)
    };
    for has_workers in [true, false] {
        if !has_workers {
            io.memory_calls.forget_workers();
        }
        let mut mapped = io.map_file(FileId::state(4)).unwrap();
        assert!(mapped[0] == b's' && is_open());
        while !mapped.release_some() {}
        io.let_go(mapped);
        while !io.memory_calls.is_idle() {
            io.wait().unwrap();
            assert!(io.complete().is_none(), "nobody is told");
        }
        assert!(!is_open());
    }
}
