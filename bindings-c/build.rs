//! Gives the shared library the name by which programs look for it: by minor version until 1.0.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version =
        |part: &str| std::env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap_or_default();
    let (major, minor) = (version("MAJOR"), version("MINOR"));
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => println!(
            "cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libemberform.{major}.{minor}.dylib"
        ),
        Ok("windows") => {}
        _ => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libemberform.so.{major}.{minor}");
            // The linker's own marks of sections are no part of the interface.
            println!("cargo:rustc-cdylib-link-arg=-Wl,-z,start-stop-visibility=hidden");
        }
    }
}
