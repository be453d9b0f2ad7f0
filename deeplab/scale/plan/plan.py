"""The plan of a training step: memory, FLOPs, communication and time on devices that need not exist."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from deeplab.scale.plan import costs
from deeplab.scale.plan.accelerators import Accelerator
from deeplab.scale.plan.advice import Suggestion, suggestions
from deeplab.scale.plan.collectives import Collective, find_collectives
from deeplab.scale.plan.memory import Memory, device_nbytes
from deeplab.scale.plan.residuals import UNOPTIMIZED, Residual, recomputed_nbytes, residuals


class TrainState(Protocol):
    """The part of a training state that a plan reads: abstract arrays with shardings."""

    @property
    def params(self) -> Any: ...
    @property
    def opt_state(self) -> Any: ...


Objective = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`(params, state, batch) -> (loss, auxiliary)`: the function whose gradient a step takes."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Costs of a training step on a mesh. Bytes and seconds are those of one device, FLOPs those of all devices.

    Attributes:
      mesh: Size of each mesh axis.
      accelerator: Kind of each device.
      batch_size: Examples of a step.
      num_params: Number of parameters.
      params_bytes: Bytes of all parameters together.
      memory: Memory of one device.
      remat: Whether at least half of the products of a forward pass are recomputed, so that blocks are rematerialized
        and not just a part of them such as attention.
      flops: FLOPs of a step: products, convolutions, elementwise functions and everything that is recomputed.
      model_flops: The part of `flops` that counts for MFU, see `costs.model_flops`.
      dtype: Dtype of most of the products.
      compute_seconds: Sum over operations of max(FLOPs / peak, bytes / bandwidth), and one pass over the state.
      network_seconds: Sum over collectives of received bytes / bandwidth of the ring.
      collectives: Collective operations of a step.
      notes: What could not be determined.
    """

    mesh: Mapping[str, int]
    accelerator: Accelerator
    batch_size: int
    num_params: int
    params_bytes: int
    memory: Memory
    remat: bool
    flops: float
    model_flops: float
    dtype: str
    compute_seconds: float
    network_seconds: float
    collectives: Sequence[Collective]
    notes: Sequence[str]

    @property
    def num_devices(self) -> int:
        return math.prod(self.mesh.values())

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.accelerator.memory

    @property
    def seconds(self) -> float:
        """Seconds of a step without overlap of computation and communication."""
        return self.compute_seconds + self.network_seconds

    @property
    def mfu(self) -> float:
        """Model FLOPs utilization: model FLOPs over the FLOPs that the devices could do in that time.

        Source: Chowdhery et al. 2022 (PaLM), https://arxiv.org/abs/2204.02311, appendix B.
        """
        return self.model_flops / (self.seconds * self.num_devices * self.accelerator.peak_flops(self.dtype))

    @property
    def received_bytes(self) -> dict[str, float]:
        """Bytes that a device receives in a step, by kind of collective."""
        total: dict[str, float] = collections.defaultdict(float)
        for collective in self.collectives:
            total[collective.kind] += collective.received_bytes
        return dict(total)

    @property
    def warnings(self) -> list[str]:
        """One line for each collective that is larger than all parameters: most likely of unconstrained activations."""
        found = []
        for one in sorted(self.collectives, key=lambda c: -c.nbytes * c.times):
            if one.received_bytes > 0 and one.nbytes * one.times > self.params_bytes:
                found.append(
                    f"{one.kind} of {one.nbytes * one.times / 1e9:,.1f} GB for {one.scope or 'an unnamed operation'}, "
                    f"more than all parameters ({self.params_bytes / 1e9:,.2f} GB): activations are sent where "
                    "parameters should be; constrain them to the batch's axes (jax.lax.with_sharding_constraint)"
                )
        return found

    @property
    def advice(self) -> list[Suggestion]:
        """Changes that save memory, the largest saving first; empty if the step fits."""
        return [] if self.fits else suggestions(self.memory, self.mesh, self.batch_size, self.dtype, self.remat)


def make_plan(
    step: Callable[..., Any],
    objective: Objective,
    state: TrainState,
    batch: Any,
    mesh: Mesh,
    accelerator: Accelerator,
    accumulate: int = 1,
) -> Plan:
    """Plans `step(state, batch)` by tracing and compiling it for the mesh; no array is allocated.

    Memory is the sum of: arguments, exact from their shardings; gradients as large as the parameters; `residuals`;
    operands and results of the largest operation, or of the largest recomputed block, as far as they grow with the
    batch, split over all devices; the largest array that is gathered or reduced. The sum is the peak of a model whose
    layers are a scan, where gradients are allocated before residuals are freed; a model of separate layers needs
    somewhat less. Two programs are compiled, without optimization.

    Time is the sum of: each product or memory-bound operation at the accelerator's peak or bandwidth, divided evenly
    over devices, with elementwise functions fused into them; one pass of the optimizer over its arrays; collectives at
    the bandwidth of a ring, one after another, without latency. Real steps take longer: compare plans with each other,
    not with a clock.

    Args:
      step: Training step, `(state, batch) -> (state, metrics)`.
      objective: Function whose gradient the step takes of each microbatch.
      state: Abstract training state with shardings.
      batch: Abstract batch with shardings; the leading axis of every leaf is the batch.
      mesh: Mesh of (virtual) devices.
      accelerator: Kind of the devices to plan for.
      accumulate: Number of microbatches of a step. Residuals are those of one microbatch, and gradients count twice.
    """
    shardings = jax.tree.map(lambda s: s.sharding, state)
    with jax.set_mesh(mesh):
        lowered = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None), keep_unused=True).lower(state, batch)
        compiled = lowered.compile(compiler_options=UNOPTIMIZED)
        kept = residuals(objective, state.params, state, _scaled(batch, 1 / accumulate))
        program, doubled = (jax.make_jaxpr(step)(state, b) for b in (batch, _scaled(batch, 2)))
    operations = costs.operations(program, doubled)
    sent, unknown = find_collectives(compiled.as_text() or "", mesh.size)
    temporaries = max([recomputed_nbytes(program, doubled), *(op.batch_bytes for op in operations)]) // mesh.size
    memory = _memory(state, batch, accumulate, kept, temporaries, sent)
    params = jax.tree.leaves(state.params)
    model_flops = costs.model_flops(operations)
    return Plan(
        mesh=dict(mesh.shape),
        accelerator=accelerator,
        batch_size=jax.tree.leaves(batch)[0].shape[0],
        num_params=sum(p.size for p in params),
        params_bytes=sum(map(costs.nbytes, params)),
        memory=memory,
        remat=costs.recomputed_flops(operations) > model_flops / 6,  # a forward pass is a third of them
        flops=costs.flops(operations),
        model_flops=model_flops,
        dtype=_product_dtype(operations),
        compute_seconds=_compute_seconds(operations, memory, mesh, accelerator),
        network_seconds=sum(c.received_bytes / _ring_bandwidth(c, accelerator) for c in sent if c.received_bytes),
        collectives=sent,
        notes=[f"a loop of unknown length in {scope or 'the step'} is counted once" for scope in unknown],
    )


def _memory(
    state: TrainState,
    batch: Any,
    accumulate: int,
    kept: Sequence[Residual],
    temporaries: int,
    sent: Sequence[Collective],
) -> Memory:
    params, optimizer_state = device_nbytes(state.params), device_nbytes(state.opt_state)
    return Memory(
        params=params,
        optimizer_state=optimizer_state,
        variables=device_nbytes(state) - params - optimizer_state,
        batch=device_nbytes(batch),
        gradients=params * (2 if accumulate > 1 else 1),
        residuals=sum(residual.nbytes for residual in kept),
        temporaries=temporaries,
        buffers=max((c.nbytes for c in sent if c.kind in ("all-gather", "reduce-scatter")), default=0),
    )


def _scaled(batch: Any, factor: float) -> Any:
    return jax.tree.map(lambda s: s.update(shape=(int(factor * s.shape[0]), *s.shape[1:])), batch)


def _product_dtype(operations: Sequence[costs.Operation]) -> str:
    products: collections.Counter[str] = collections.Counter()
    for op in operations:
        products[op.dtype] += int(op.flops) if op.is_product else 0
    return max(products, key=products.__getitem__, default="float32")


def _compute_seconds(operations: Sequence[costs.Operation], memory: Memory, mesh: Mesh, on: Accelerator) -> float:
    model_axis = mesh.shape["model"]
    # The optimizer reads parameters, its state and gradients, and writes all but the last.
    seconds = (2 * (memory.params + memory.optimizer_state) + memory.gradients) / on.memory_bandwidth
    for op in operations:
        # A product reads whole (gathered) parameters; a norm of parameters or gradients reads a device's shard.
        fixed = op.fixed_bytes / model_axis if op.is_product else op.fixed_bytes / (model_axis * mesh.shape["fsdp"])
        transfer = op.times * (op.batch_bytes / mesh.size + fixed) / on.memory_bandwidth
        seconds += max(transfer, op.flops / mesh.size / on.peak_flops(op.dtype) if op.is_product else 0.0)
    return seconds


def _ring_bandwidth(collective: Collective, on: Accelerator) -> float:
    domains = collections.Counter(device // on.devices_per_domain for device in collective.group)
    return on.ring_bandwidth(min(domains.values()), len(domains))
