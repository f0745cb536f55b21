#!/usr/bin/env python3
"""A training that may be ended at any moment: it goes on after its newest checkpoint, and its weights are the same to the last bit.

    python3 train.py                  twelve epochs, a checkpoint each in checkpoints/; then weights.bin
    python3 train.py --epochs 30      more of them
    python3 train.py --folders        each checkpoint is a folder of eight files

A network learns to tell two spirals apart (PyTorch, on the CPU). What makes it the same: one thread, deterministic algorithms, and in
the checkpoint all that the next epoch depends on, the state of the random generator (order of the points, dropout) with it.
A checkpoint is written beside, synced and renamed, so that there are whole ones only. Those of --folders are written straight into
place, as many libraries do: of these Spell puts back a whole one or none.
"""
import argparse
import hashlib
import math
import os
import pathlib
import shutil

import torch
from torch import nn

PARTS, KEEP = 8, 3


def spirals(count, generator):
    """Points of two spirals (x, y), and which of the two each belongs to."""
    turn = torch.linspace(0.5, 3 * math.pi, count)
    points = torch.stack([turn * torch.cos(turn), turn * torch.sin(turn)], 1) / (3 * math.pi)
    both = torch.cat([points, -points])
    return both + 0.02 * torch.randn(both.shape, generator=generator), torch.arange(2 * count) // count


def write(path, content):
    """Durable on return."""
    with open(path, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def save_file(folder, epoch, state):
    write(folder / ".part", state)
    (folder / ".part").rename(folder / f"epoch-{epoch}")


def save_folder(folder, epoch, state):
    target, names = folder / f"epoch-{epoch}", sorted(state)
    target.mkdir()
    for part in range(PARTS):
        write(target / f"part-{part}", {name: state[name] for name in names[part::PARTS]})


def load(path):
    if path.is_file():
        return torch.load(path)
    return {name: value for part in range(PARTS) for name, value in torch.load(path / f"part-{part}").items()}


def checkpoints(folder):
    """Their paths, oldest first."""
    return sorted(folder.glob("epoch-*"), key=lambda path: int(path.name.removeprefix("epoch-")))


def remove_old(folder):
    for path in checkpoints(folder)[:-KEEP]:
        gone = path.rename(folder / f".gone-{path.name}")  # at once, folders too
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folders", action="store_true", help="a folder of eight files each")
    parser.add_argument("--points", type=int, default=3000, help="of each spiral (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    points, labels = spirals(args.points, torch.Generator().manual_seed(args.seed))

    model = nn.Sequential(nn.Linear(2, 96), nn.ReLU(), nn.Dropout(0.05), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    folder = pathlib.Path("checkpoints")
    folder.mkdir(exist_ok=True)
    for rest in folder.glob(".gone-epoch-*"):  # of a removal that was cut short
        shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    epoch, found = 0, checkpoints(folder)
    if found:
        state = load(found[-1])
        epoch = state.pop("epoch")
        torch.set_rng_state(state.pop("generator"))
        optimizer.load_state_dict({"state": state.pop("moments"), "param_groups": state.pop("groups")})
        model.load_state_dict(state)
    print(f"going on after epoch {epoch}" if epoch else "beginning", flush=True)

    while epoch < args.epochs:
        total = 0.0
        for batch in torch.randperm(len(points)).split(16):
            loss = nn.functional.cross_entropy(model(points[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        epoch += 1
        moments = optimizer.state_dict()
        (save_folder if args.folders else save_file)(folder, epoch, {
            **model.state_dict(), "moments": moments["state"], "groups": moments["param_groups"], "epoch": epoch,
            "generator": torch.get_rng_state()})
        remove_old(folder)
        print(f"epoch {epoch}/{args.epochs}  loss {total / len(points):.4f}", flush=True)

    weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    pathlib.Path("weights.bin").write_bytes(weights)
    print(f"weights {hashlib.sha256(weights).hexdigest()}", flush=True)


if __name__ == "__main__":
    main()
