//! Time, order, death and pipes of the virtual executor.

use super::*;
use crate::runtime;

/// What a run with some tasks that sleep and talk did, in order.
fn run_some(seed: u64) -> Vec<String> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (near, far) = (Rc::clone(&log), Rc::clone(&log));
    run(seed, async move {
        let (client, server) = pipe();
        runtime::spawn(async move {
            let (mut reader, mut writer, _shutdown) = server.split().unwrap();
            let mut buffer = [0; 64];
            loop {
                let got = reader.read(&mut buffer).await.unwrap();
                if got == 0 {
                    break;
                }
                far.borrow_mut().push(format!("{got} at {}", now_ns()));
                writer.write_all(&buffer[..got]).await.unwrap();
            }
        });
        let (mut reader, mut writer, _shutdown) = client.split().unwrap();
        runtime::spawn(async move { writer.write_all(&[7; 5000]).await.unwrap() });
        let (mut back, mut buffer) = (0, [0; 300]);
        while back < 5000 {
            runtime::sleep(Duration::from_micros(30)).await;
            let got = reader.read(&mut buffer).await.unwrap();
            assert!(buffer[..got].iter().all(|&byte| byte == 7));
            back += got;
        }
        near.borrow_mut().push(format!("done at {}", now_ns()));
    });
    log.take()
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    assert_eq!(run_some(5), run_some(5));
    assert_ne!(run_some(5), run_some(6));
}

#[test]
fn time_jumps_and_nobody_waits() {
    let took_ns = run(1, async {
        let began_ns = now_ns();
        runtime::sleep(Duration::from_secs(3600)).await;
        now_ns() - began_ns
    });
    assert!((3_600_000_000_000..3_600_001_000_000).contains(&took_ns), "{took_ns}");
}

#[test]
fn a_killed_group_is_gone_and_its_sockets_are_closed() {
    run(2, async {
        let (client, server) = pipe();
        let group = group();
        spawn_in(group, async move {
            let (mut reader, ..) = server.split().unwrap();
            // Started by a member, so a member itself.
            runtime::spawn(async move {
                reader.read(&mut [0; 8]).await.unwrap();
                panic!("nothing was sent and the task is dead");
            });
            std::future::pending::<()>().await;
        });
        runtime::sleep(Duration::from_millis(1)).await;
        kill(group);
        let (mut reader, mut writer, _shutdown) = client.split().unwrap();
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(writer.write_all(b"x").await.is_err());
    });
}

#[test]
#[should_panic(expected = "in a task")]
fn a_panic_in_a_task_ends_the_run() {
    run(3, async {
        runtime::spawn(async { panic!("in a task") });
        runtime::sleep(Duration::from_secs(1)).await;
    });
}

#[test]
#[should_panic(expected = "what never comes")]
fn waiting_for_what_never_comes_is_noticed() {
    run(4, std::future::pending::<()>());
}
