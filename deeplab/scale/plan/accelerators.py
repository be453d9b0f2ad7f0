"""Accelerators by name, as their makers specify them: what a plan measures a program against.

Sources: H100 and H200 SXM, https://www.nvidia.com/en-us/data-center/h100/ and .../h200/; A100 80 GB SXM,
https://www.nvidia.com/en-us/data-center/a100/; L4, https://www.nvidia.com/en-us/data-center/l4/; DGX A100 and H100 for
the network; https://cloud.google.com/compute/docs/gpus for that of the L4; TPUs, https://cloud.google.com/tpu/docs/v4,
.../v5e, .../v5p and .../v6e. NVIDIA's figures for tensor cores are halved where they are those with sparsity.
"""

from __future__ import annotations

import dataclasses

from deeplab.core.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One device and its neighbourhood; bytes, bytes a second and FLOPs a second.

    Attributes:
      name: as its maker says it.
      memory: of the device.
      bandwidth: between this memory and the device.
      half: peak of products in bfloat16 or float16, dense.
      single: peak of products in float32 at JAX's default precision: TF32 on NVIDIA's, bfloat16 passes on Google's.
      link: what a device receives along a ring through its domain, in one direction of each link.
      domain: devices joined by such links: the GPUs of a host, the chips of a pod.
      network: a device's share of its host's network, between domains.
    """

    name: str
    memory: float
    bandwidth: float
    half: float
    single: float
    link: float
    domain: int
    network: float

    def peak(self, dtype: str) -> float:
        """FLOPs a second of products of this dtype."""
        return self.half if dtype in ("bfloat16", "float16") else self.single

    def ring(self, devices_per_domain: int, domains: int) -> float:
        """Bytes a second that each device of a ring receives.

        Inside a domain: `link`. Across domains: the devices that share one use their parts of the network together.
        """
        return self.link if domains == 1 else min(self.link, self.network * devices_per_domain)


# A TPU's ring through one axis of its torus receives from both sides, over two of its ports: v4 and v5e 50 GB/s a port
# and direction, v5p and v6e 100. The network of v4 is not published: that of v5p (50 Gbit/s a chip).
ACCELERATORS = {
    "h100": Accelerator("H100 SXM", 80e9, 3.35e12, 989.5e12, 494.7e12, 450e9, 8, 50e9),
    "h200": Accelerator("H200 SXM", 141e9, 4.8e12, 989.5e12, 494.7e12, 450e9, 8, 50e9),
    "a100": Accelerator("A100 80 GB SXM", 80e9, 2.039e12, 312e12, 156e12, 300e9, 8, 25e9),
    "l4": Accelerator("L4", 24e9, 300e9, 121e12, 60e12, 32e9, 8, 1.56e9),
    "v4": Accelerator("TPU v4", 32 * 2**30, 1.2e12, 275e12, 275e12, 100e9, 4096, 6.25e9),
    "v5e": Accelerator("TPU v5e", 16e9, 0.8e12, 197e12, 197e12, 100e9, 256, 3.125e9),
    "v5p": Accelerator("TPU v5p", 95 * 2**30, 2.765e12, 459e12, 459e12, 200e9, 8960, 6.25e9),
    "v6e": Accelerator("TPU v6e", 32e9, 1.6e12, 918e12, 918e12, 200e9, 256, 12.5e9),
}


def accelerator(name: str) -> Accelerator:
    """A row of `ACCELERATORS`.

    Raises:
      UserError: no row has this name.

    Example:
      >>> accelerator("h100").memory
      80000000000.0
    """
    if name not in ACCELERATORS:
        hint = nearest(name, ACCELERATORS)
        raise UserError(f"--accelerator {name} is none that is known; {hint} All: {', '.join(ACCELERATORS)}")
    return ACCELERATORS[name]
