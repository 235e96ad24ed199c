//! Choosing a device, and checking it against the CPU.

use emberform::{Device, DeviceKind, Error, GpuChoice, Model};
use emberform_tests::{golden, open, software_gpu};

#[test]
fn the_list_says_what_auto_takes_and_why() {
    let list = Device::list();
    assert_eq!(list.iter().filter(|info| info.auto).count(), 1, "{list:#?}");
    assert!(list.iter().any(|info| info.kind == DeviceKind::Cpu));
    assert!(list.iter().all(|info| !info.why.is_empty()));
    assert!(
        list.iter().all(|info| !(info.auto && info.kind == DeviceKind::Software)),
        "auto never takes a software adapter"
    );
}

#[test]
fn a_software_gpu_must_be_asked_for_by_name() {
    let path = golden("bert-plain");
    if Device::list().iter().all(|info| matches!(info.kind, DeviceKind::Software | DeviceKind::Cpu))
    {
        let refused = Model::options().device(Device::Gpu(GpuChoice::Any)).open(&path);
        assert!(matches!(refused, Err(Error::Device { .. })), "{refused:?}");
        assert_eq!(open(&path, &Device::Auto).device().kind, DeviceKind::Cpu);
    }
    let by_name: Device = "gpu:llvmpipe".parse().expect("a device");
    assert_eq!(open(&path, &by_name).device().kind, DeviceKind::Software);
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for text in ["gpu:99", "gpu:no such card"] {
        let device: Device = text.parse().expect("it reads well");
        let refused = Model::options().device(device).open(golden("bert-plain"));
        assert!(matches!(refused, Err(Error::Device { .. })), "{text}: {refused:?}");
    }
    for text in ["", "gpus", "gpu:", "cuda:0", "cpu:1", "gpu:99999999999999999999999"] {
        let refused = text.parse::<Device>();
        assert!(matches!(refused, Err(Error::Argument { argument: "device", .. })), "{text}");
    }
    for text in ["auto", "cpu", "gpu", "gpu:1", "gpu:Radeon"] {
        assert_eq!(text.parse::<Device>().expect("a device").to_string(), text);
    }
}

#[test]
fn verify_finds_the_software_gpu_right() {
    for name in ["gemma3-pattern", "bert-plain", "llama-k-mix.gguf"] {
        let verification = open(&golden(name), &software_gpu()).verify().expect("a verification");
        println!("{name}: {verification}");
        assert!(verification.passed(), "{verification}");
        assert!(verification.steps.len() >= 3);
        assert_eq!(verification.steps[0].name, "embed");
    }
}
