//! Sets `cfg(loom)` for this package alone, so that no flag for the whole build has to be remembered.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
