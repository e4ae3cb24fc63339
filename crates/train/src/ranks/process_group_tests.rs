//! Ranks as threads: what they exchange, and what they see of one that ends.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::Fingerprint;

use super::{CHUNK, ProcessGroup, WaitLimit};
use crate::engine::kernels::check::numbers;
use crate::error::Error;
use crate::ranks::World;

/// What each of `count` ranks makes of its team, in order.
pub(crate) fn on_ranks<T: Send>(count: u32, rank: impl Fn(World) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let spawn = |number| {
            let rank = &rank;
            scope.spawn(move || rank(World::new(number, count).unwrap()))
        };
        let ranks: Vec<_> = (0..count).map(spawn).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

static NEVER: AtomicBool = AtomicBool::new(false);

fn rendezvous(world: World, folder: &Path) -> ProcessGroup {
    ProcessGroup::rendezvous(world, folder, &NEVER).unwrap()
}

fn message(result: Result<Vec<Vec<u8>>, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn numbers_are_added_in_order_of_rank_and_all_get_the_same_bits() {
    // More than a chunk, so that the last one is shorter.
    let len = CHUNK + 1000;
    let own = |rank: u32| -> Vec<f32> { numbers(len, u64::from(rank) + 1) };
    for count in [1, 2, 3, 5] {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = own(0);
        for rank in 1..count {
            expected.iter_mut().zip(own(rank)).for_each(|(sum, number)| *sum += number);
        }
        let sums = on_ranks(count, |world| {
            let mut group = rendezvous(world, folder.path());
            let mut numbers = own(world.rank().rank());
            group.all_reduce(&mut numbers).unwrap();
            group.all_reduce(&mut []).unwrap();
            numbers
        });
        let bits = |numbers: &[f32]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
        assert!(sums.iter().all(|sum| bits(sum) == bits(&expected)), "{count}");
        assert!(!folder.path().join("ranks.txt").exists());
    }
}

#[test]
fn all_know_what_each_has() {
    let folder = tempfile::tempdir().unwrap();
    let known = on_ranks(3, |world| {
        let rank = world.rank().rank();
        let mut group = rendezvous(world, folder.path());
        group.barrier().unwrap();
        let all = group.all_gather(vec![7; usize::try_from(rank).unwrap()]).unwrap();
        let flags = [group.any(rank == 2).unwrap(), group.any(false).unwrap()];
        let stopped = if rank == 1 { Err(Error::Interrupted { step: 5 }) } else { Ok(()) };
        let agreed = [group.agree_on_stop(stopped), group.agree_on_stop(Ok(()))];
        (
            all,
            flags,
            group.sum_counts(u64::from(rank)).unwrap(),
            agreed.map(|agreed| agreed.is_ok()),
        )
    });
    let expected = (vec![vec![], vec![7], vec![7, 7]], [true, false], 3, [false, true]);
    assert!(known.iter().all(|known| *known == expected), "{known:?}");
}

#[test]
fn a_rank_that_ends_is_named_to_all_others() {
    for (ended, last_words) in [(0, true), (0, false), (2, true), (2, false)] {
        let folder = tempfile::tempdir().unwrap();
        let seen = on_ranks(4, |world| {
            let mut group = rendezvous(world, folder.path());
            group.barrier().unwrap();
            if world.rank().rank() == ended {
                if last_words {
                    group.announce_failure(&Error::Stopped { what: "its disk" });
                }
                return None;
            }
            Some(message(group.all_gather(vec![1])))
        });
        let why = if last_words {
            "its disk was stopped before its end"
        } else {
            "its process has ended"
        };
        let expected = format!(
            "rank {ended} is lost: {why}; the same command goes on from the last checkpoint"
        );
        let others: Vec<_> = seen.into_iter().flatten().collect();
        assert_eq!(others, vec![expected; 3]);
    }
}

#[test]
fn a_sum_ends_with_the_rank_that_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let seen = on_ranks(3, |world| {
        let mut group = rendezvous(world, folder.path());
        if world.rank().rank() == 1 {
            return String::new();
        }
        group.all_reduce(&mut vec![1.0; 3 * CHUNK]).unwrap_err().to_string()
    });
    assert!(seen[0].starts_with("rank 1 is lost: its process has ended"), "{seen:?}");
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn other_settings_and_missing_ranks_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let seen = on_ranks(2, |world| {
        let settings = Fingerprint::of(if world.is_main_process() { b"one" } else { b"two" });
        let mut group = rendezvous(world, folder.path());
        group.check_same_settings(Fingerprint::of(b"same")).unwrap();
        group.check_same_settings(settings).unwrap_err().to_string()
    });
    let why = "rank 1 is lost: it has other settings or other data than rank 0";
    assert!(seen.iter().all(|text| text.starts_with(why)), "{seen:?}");
    // Two processes of another world.
    let seen = on_ranks(2, |world| {
        let world = if world.is_main_process() { world } else { World::new(1, 3).unwrap() };
        ProcessGroup::rendezvous(world, folder.path(), &NEVER).map(|_| ()).unwrap_err().to_string()
    });
    let why = "it has another world size than rank 0";
    assert!(seen.iter().all(|text| text.contains(why)), "{seen:?}");

    let stopped = AtomicBool::new(true);
    let wait = |rank, stop| {
        let world = World::new(rank, 2).unwrap();
        let wait_limit = WaitLimit { limit: Duration::from_millis(100), stop };
        let met = ProcessGroup::rendezvous_within(wait_limit, world, folder.path());
        met.map(|_| ()).unwrap_err()
    };
    let [first, second] = [0, 1].map(|rank| wait(rank, &NEVER).to_string());
    assert!(first.starts_with("rank 1 is lost: it did not come within 100ms"), "{first}");
    assert!(second.starts_with("rank 0 is lost: it did not write "), "{second}");
    assert!(
        wait(0, &stopped).kind() == ErrorKind::Interrupted
            && wait(1, &stopped).kind() == ErrorKind::Interrupted
    );
}

#[test]
fn what_a_killed_run_left_and_strangers_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    // Another program has the port of the run that was killed.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let launch = World::single().launch();
    let left =
        format!("{} 0123456789abcdef0123456789abcdef {launch}\n", other.local_addr().unwrap());
    fs::write(folder.path().join("ranks.txt"), left).unwrap();
    let hang_up = thread::spawn(move || drop(other.accept()));
    let met = on_ranks(2, |world| {
        if world.is_main_process() {
            thread::sleep(Duration::from_millis(200));
        }
        rendezvous(world, folder.path()).sum_counts(1).unwrap()
    });
    assert_eq!(met, [2, 2]);
    hang_up.join().unwrap();
}

/// A starter that is killed leaves its ranks for a while, in the midst of meeting each other. They joined the next
/// start as ranks of it and then stopped it, or removed the file by which its ranks find each other: rank 1 then
/// waited for ten minutes.
#[test]
fn ranks_of_a_start_that_was_killed_neither_join_the_next_one_nor_part_it() {
    let folder = tempfile::tempdir().unwrap();
    let of = |start: &str, rank: u32| {
        let rank = rank.to_string();
        let variables =
            [("MIXDOWN_RANK", &*rank), ("MIXDOWN_WORLD_SIZE", "2"), ("MIXDOWN_LAUNCH", start)];
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        World::from_environment(value).unwrap()
    };
    let file = folder.path().join("ranks.txt");
    let killed = AtomicBool::new(false);
    thread::scope(|scope| {
        let orphans = [0, 1, 0].map(|rank| {
            let (folder, killed, world) = (folder.path(), &killed, of("killed", rank));
            scope.spawn(move || {
                let wait_limit = WaitLimit { limit: Duration::from_secs(60), stop: killed };
                // Rank 1 meets one of the two; the other one waits until it is stopped.
                ProcessGroup::rendezvous_within(wait_limit, world, folder).map(|_| ())
            })
        });
        let leader =
            scope.spawn(|| rendezvous(of("next", 0), folder.path()).sum_counts(1).unwrap());
        thread::sleep(Duration::from_millis(100));
        // What an orphan that ends did.
        let _ = fs::remove_file(&file);
        killed.store(true, std::sync::atomic::Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
        let follower =
            scope.spawn(|| rendezvous(of("next", 1), folder.path()).sum_counts(1).unwrap());
        assert_eq!([leader.join().unwrap(), follower.join().unwrap()], [2, 2]);
        drop(orphans.map(|orphan| orphan.join().unwrap()));
    });
    assert!(!file.exists());
}
