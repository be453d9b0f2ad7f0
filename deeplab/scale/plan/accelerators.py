"""Specifications of accelerators, as their makers publish them.

Sources: H100 and H200 SXM, https://www.nvidia.com/en-us/data-center/h100/ and .../h200/; A100 80 GB SXM,
https://www.nvidia.com/en-us/data-center/a100/; L4, https://www.nvidia.com/en-us/data-center/l4/; DGX A100 and H100 for
the network; https://cloud.google.com/compute/docs/gpus for that of the L4; TPUs, https://cloud.google.com/tpu/docs/v4,
.../v5e, .../v5p and .../v6e. NVIDIA's figures for tensor cores are halved where they assume sparsity.
"""

from __future__ import annotations

import dataclasses

from deeplab.core.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One device and its links to others. Memory is in bytes, bandwidths in bytes and peaks in FLOPs per second.

    Attributes:
      name: The maker's name.
      memory: Memory of a device.
      memory_bandwidth: Bandwidth between a device and its memory.
      half_peak: Peak of dense products in bfloat16 or float16.
      single_peak: Peak of products in float32 at JAX's default precision: TF32 on NVIDIA's devices, bfloat16 passes on
        Google's.
      link_bandwidth: Bandwidth at which a device receives along a ring through its domain.
      devices_per_domain: Devices joined by such links: the GPUs of a host, the chips of a pod.
      network_bandwidth: A device's share of its host's network, between domains.
    """

    name: str
    memory: float
    memory_bandwidth: float
    half_peak: float
    single_peak: float
    link_bandwidth: float
    devices_per_domain: int
    network_bandwidth: float

    def peak_flops(self, dtype: str) -> float:
        """Peak FLOPs per second of products of a dtype."""
        return self.half_peak if dtype in ("bfloat16", "float16") else self.single_peak

    def ring_bandwidth(self, devices_per_domain: int, num_domains: int) -> float:
        """Bytes per second that each device of a ring receives.

        Inside a domain that is `link_bandwidth`. Across domains, the ring's devices of one domain add up their shares
        of the network.

        Args:
          devices_per_domain: Devices of the ring in each domain.
          num_domains: Domains that the ring passes through.
        """
        network = self.network_bandwidth * devices_per_domain
        return self.link_bandwidth if num_domains == 1 else min(self.link_bandwidth, network)


# A ring through one axis of a TPU's torus receives from both sides, over two ports of 50 GB/s per direction (v4, v5e)
# or 100 GB/s (v5p, v6e). The network of v4 is not published; the value is that of v5p (50 Gbit/s a chip).
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
    """A row of `ACCELERATORS` by its name.

    Raises:
      UserError: No row has this name.

    Example:
      >>> accelerator("h100").memory
      80000000000.0
    """
    if name not in ACCELERATORS:
        hint = nearest(name, ACCELERATORS)
        raise UserError(f"unknown --accelerator {name}; {hint} Known: {', '.join(ACCELERATORS)}")
    return ACCELERATORS[name]
