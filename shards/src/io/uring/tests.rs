use super::*;

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
