"""Images per second of a plain PyTorch training step, to compare with Fivefold's on the same card: torchvision's ResNet50 with
28 labels, BCE with logits, Adam, one batch that is already on the device.

pytorch_step.py [--device cuda:0] [--size 512] [--batch 32] [--steps 30] [--variants fp32,bf16,bf16_fused,bf16_compile]
  fp32          fp32 with tf32 allowed, NCHW
  bf16          bf16 autocast, channels-last, foreach Adam
  bf16_fused    the same with fused Adam
  bf16_compile  the same through torch.compile
"""

import argparse
import statistics
import time

import torch
import torchvision


def training_step(variant, device, size, batch):
    """Returns a function that trains one step and returns its loss."""
    torch.manual_seed(0)
    half = variant != "fp32"
    layout = torch.channels_last if half else torch.contiguous_format
    model = torchvision.models.resnet50(num_classes=28).to(device, memory_format=layout)
    images = torch.rand(batch, 3, size, size, device=device).contiguous(memory_format=layout)
    targets = (torch.rand(batch, 28, device=device) < 0.06).float()
    fused = variant in ("bf16_fused", "bf16_compile")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused or None)
    forward = torch.compile(model) if variant == "bf16_compile" else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(forward(images), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--variants", default="fp32,bf16,bf16_fused")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"PyTorch {torch.__version__} on {name}, {arguments.size} px, batch {arguments.batch}")
    for variant in arguments.variants.split(","):
        step = training_step(variant, device, arguments.size, arguments.batch)
        for _ in range(10 if device.type == "cuda" else 1):
            step()
        rates = []
        for _ in range(5):
            wait()
            start = time.perf_counter()
            for _ in range(arguments.steps):
                step()
            wait()
            rates.append(arguments.batch * arguments.steps / (time.perf_counter() - start))
        print(f"{variant:13s} {statistics.median(rates):8.1f} images/s  (min {min(rates):.1f}, max {max(rates):.1f})", flush=True)


if __name__ == "__main__":
    main()
