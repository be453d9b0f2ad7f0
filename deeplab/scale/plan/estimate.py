"""What a training step needs of a mesh of devices that need not exist: memory, FLOPs, traffic, time."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from deeplab.scale.plan import collectives as traffic
from deeplab.scale.plan import costs
from deeplab.scale.plan.accelerators import Accelerator
from deeplab.scale.plan.advice import Change, changes
from deeplab.scale.plan.collectives import Collective
from deeplab.scale.plan.memory import Memory, part
from deeplab.scale.plan.residuals import UNOPTIMIZED, recomputed, residuals


class TrainState(Protocol):
    """What a plan knows of a state: abstract arrays with their shardings."""

    @property
    def params(self) -> Any: ...
    @property
    def opt_state(self) -> Any: ...


Objective = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`(params, state, batch) -> (loss, auxiliary)`, whose gradient a step takes."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A step on a mesh, in numbers. Bytes and seconds are those of one device, FLOPs those of all.

    Attributes:
      mesh: sizes by axis.
      accelerator: what each device is.
      batch_size: examples a step.
      num_params: of the model.
      params_bytes: of all parameters together.
      memory: of a device.
      remat: whether the backward pass computes most of the products again, and not a part such as attention.
      flops: of a step: products, convolutions, elementwise functions and what is computed again.
      model_flops: three times the products of a forward pass, by which MFU is defined: a backward pass takes twice as
        many, and nothing is counted for what is computed again.
      dtype: of most of the products.
      compute_seconds: sum over operations of max(FLOPs / peak, bytes / bandwidth), and one pass over the state.
      network_seconds: sum over collectives of bytes received / bandwidth of the ring.
      collectives: what a step sends.
      notes: what could not be known.
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
        """Of a step, nothing sent while anything is computed: what overlaps makes it shorter."""
        return self.compute_seconds + self.network_seconds

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation: model FLOPs over what the devices could do in that time.

        Source: Chowdhery et al. 2022 (PaLM), https://arxiv.org/abs/2204.02311, appendix B.
        """
        return self.model_flops / (self.seconds * self.num_devices * self.accelerator.peak(self.dtype))

    @property
    def moved(self) -> dict[str, float]:
        """Bytes that a device receives in a step, by kind of collective."""
        total: dict[str, float] = collections.defaultdict(float)
        for one in self.collectives:
            total[one.kind] += one.moved
        return dict(total)

    @property
    def warnings(self) -> list[str]:
        """Collectives that move more than all parameters weigh: activations, most likely, that lack a constraint."""
        found = []
        for one in sorted(self.collectives, key=lambda c: -c.nbytes * c.times):
            if one.moved > 0 and one.nbytes * one.times > self.params_bytes:
                found.append(
                    f"{one.kind} of {one.nbytes * one.times / 1e9:,.1f} GB for {one.where or 'an unnamed operation'}, "
                    f"more than all parameters ({self.params_bytes / 1e9:,.2f} GB): activations travel where "
                    "parameters should; constrain them to the batch's axes (jax.lax.with_sharding_constraint)"
                )
        return found

    @property
    def advice(self) -> list[Change]:
        """What to change, the most bytes saved first; nothing where it fits."""
        return [] if self.fits else changes(self.memory, self.mesh, self.batch_size, self.dtype, self.remat)


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

    Memory: arguments from their shardings, exact; a gradient as large as the parameters; `residuals`; what one
    operation reads and writes, or what a block that is computed again needs at once, as far as it grows with the batch
    and split over all devices; the largest array that is gathered for a layer, or reduced after it. It is all at once,
    as in a model whose layers are a scan, where gradients are laid out before residuals are let go; a model of separate
    layers needs somewhat less. Two compiled programs are made, without optimisation.

    Time: each product or memory-bound operation at the accelerator's peak or bandwidth, work divided evenly,
    elementwise functions free as parts of their neighbours; the optimizer reads and writes its arrays once; collectives
    at the bandwidth of a ring, one after another, without latency. Real steps take longer: compare plans, and do not
    promise their times.

    Args:
      step: `(state, batch) -> (state, metrics)`.
      objective: whose gradient the step takes, of each microbatch.
      state: abstract, with shardings.
      batch: likewise; its leading axis is the batch.
      mesh: of (virtual) devices.
      accelerator: what to measure against.
      accumulate: microbatches of a step, one after another: residuals are those of one, and gradients are there twice.
    """
    shardings = jax.tree.map(lambda s: s.sharding, state)
    with jax.set_mesh(mesh):
        lowered = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None), keep_unused=True).lower(state, batch)
        compiled = lowered.compile(compiler_options=UNOPTIMIZED)
        one = _of_size(batch, 1 / accumulate)
        kept = residuals(objective, state.params, state, one)
        program, wider = (jax.make_jaxpr(step)(state, b) for b in (batch, _of_size(batch, 2)))
        forward = costs.operations(jax.make_jaxpr(objective)(state.params, state, one))
    operations, again = costs.operations(program, wider), recomputed(program, wider)
    sent, unknown = traffic.collectives(compiled.as_text() or "", mesh.size)
    params = jax.tree.leaves(state.params)
    memory = Memory(
        params=part(params),
        moments=part(state.opt_state),
        variables=part(state) - part(params) - part(state.opt_state),
        batch=part(batch),
        gradients=part(params) * (2 if accumulate > 1 else 1),
        residuals=sum(r.nbytes for r in kept),
        temporaries=max([again, *(op.split for op in operations)]) // mesh.size,
        buffers=max((c.nbytes for c in sent if c.kind in ("all-gather", "reduce-scatter")), default=0),
    )
    products: collections.Counter[str] = collections.Counter()
    for op in operations:
        products[op.dtype] += int(op.flops) if op.product else 0
    model_flops = 3 * accumulate * costs.flops(forward, products=True)
    return Plan(
        mesh=dict(mesh.shape),
        accelerator=accelerator,
        batch_size=jax.tree.leaves(batch)[0].shape[0],
        num_params=sum(p.size for p in params),
        params_bytes=sum(map(costs.nbytes, params)),
        memory=memory,
        remat=costs.flops(operations, products=True) > 7 / 6 * model_flops,  # of a forward pass, the half
        flops=costs.flops(operations),
        model_flops=model_flops,
        dtype=max(products, key=products.__getitem__, default="float32"),
        compute_seconds=_compute_seconds(operations, memory, mesh, accelerator),
        network_seconds=sum(one.moved / _bandwidth(one, accelerator) for one in sent if one.moved),
        collectives=sent,
        notes=[f"a loop of unknown length in {where or 'the step'} is counted once" for where in unknown],
    )


def _of_size(batch: Any, factor: float) -> Any:
    return jax.tree.map(lambda s: s.update(shape=(int(factor * s.shape[0]), *s.shape[1:])), batch)


def _compute_seconds(operations: Sequence[costs.Operation], memory: Memory, mesh: Mesh, on: Accelerator) -> float:
    parts = mesh.shape["model"]
    # The optimizer reads parameters, moments and gradients, and writes all but the last.
    seconds = (2 * (memory.params + memory.moments) + memory.gradients) / on.bandwidth
    for op in operations:
        # A product reads whole parameters, gathered; a norm of them, or of gradients, a device's part.
        whole = op.whole / parts if op.product else op.whole / (parts * mesh.shape["fsdp"])
        read = op.times * (op.split / mesh.size + whole) / on.bandwidth
        seconds += max(read, op.flops / mesh.size / on.peak(op.dtype) if op.product else 0.0)
    return seconds


def _bandwidth(one: Collective, on: Accelerator) -> float:
    domains = collections.Counter(device // on.domain for device in one.group)
    return on.ring(min(domains.values()), len(domains))
