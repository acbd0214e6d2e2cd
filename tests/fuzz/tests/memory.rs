//! No input makes anything reserve memory on its word: the corpora, under an allocator that counts. Alone in its
//! program, because the count is of the whole process.

use cap::Cap;
use fanwire_fuzz::TARGETS;
use std::alloc::System;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Above what the oracles and a shard need for inputs of a few KiB, and far below what a frame's header may announce
/// in the target `receive`.
const BYTES_MAX: usize = 16 << 20;

#[test]
fn no_input_costs_much_more_than_its_length() {
    // What a panic prints may need more than is left, for its backtrace.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        ALLOCATOR.set_limit(usize::MAX).expect("no limit is above all that is allocated");
        print(info);
    }));
    // Reserved and not used, as it would be on a header's word: the allocator sees that.
    let before = ALLOCATOR.allocated();
    let reserved = Vec::<u8>::with_capacity(2 * BYTES_MAX);
    assert!(ALLOCATOR.allocated() >= before + reserved.capacity());
    drop(reserved);
    for &(target, check) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            ALLOCATOR.set_limit(ALLOCATOR.allocated() + BYTES_MAX).unwrap();
            println!("{}", path.display());
            // Over the limit the allocator gives nothing, and the process ends with the size that was asked for.
            check(&data);
            ALLOCATOR.set_limit(usize::MAX).unwrap();
        }
    }
}
