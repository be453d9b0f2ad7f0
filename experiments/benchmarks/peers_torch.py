"""The models of `peers` in PyTorch, written idiomatically."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch  # pyright: ignore[reportMissingImports]  # an extra that only benchmarks and tests/parity need
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


def cnn(classes: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(7 * 7 * 64, 256), nn.ReLU(), nn.Linear(256, classes)),
    )


class Block(nn.Module):
    """A residual block like torchvision's BasicBlock."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def resnet(classes: int) -> nn.Module:
    blocks, before = [], 64
    for stage in range(4):
        for i in range(2):
            width = 64 * 2**stage
            blocks.append(Block(before, width, 2 if stage and not i else 1))
            before = width
    stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


class Attention(nn.Module):
    """A GPT like nanoGPT's."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(D, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class GPT(nn.Module):
    def __init__(self, classes: int, layers: int, heads: int, width: int, context: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(classes, width), nn.Embedding(context, width)
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers + 1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for i, (attention, up, down) in enumerate(zip(self.attention, self.up, self.down, strict=True)):
            x = x + attention(self.norms[2 * i](x))
            x = x + down(F.gelu(up(self.norms[2 * i + 1](x)), approximate="tanh"))
        return self.norms[-1](x) @ self.tokens.weight.T


class LSTM(nn.Module):
    def __init__(self, width: int, classes: int):
        super().__init__()
        self.layers, self.head = nn.LSTM(width, 256, 2, batch_first=True), nn.Linear(256, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[0][:, -1])


def run(
    name: str, batch: int, shape: tuple[int, ...], classes: int, *, compiled: bool, half: bool
) -> Callable[[int], None]:
    """Training steps of a model, on a GPU where there is one; see `peers.Run`."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as in JAX
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("gpt"):
        size = (6, 6, 384, 256) if name == "gpt" else (4, 4, 128, 64)
        model: nn.Module = GPT(classes, *size)
        x, y = torch.randint(classes, (2, batch, *shape))
    else:
        model = LSTM(shape[-1], classes) if name == "lstm" else {"cnn": cnn, "resnet": resnet}[name](classes)
        x, y = (
            torch.randn(batch, *(shape if name == "lstm" else (shape[-1], *shape[:-1]))),
            torch.arange(batch) % classes,
        )
    model, x, y = model.to(device), x.to(device), y.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device == "cuda")
    forward = torch.compile(model) if compiled else model

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = F.cross_entropy(forward(x).flatten(0, -2), y.flatten())
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return steps
